//! The aggregate controller: many registries merged into one snapshot.
//!
//! ```text
//! UpdateReceiver ─ Batch ─▶ held (per registry) ─ dirty keys ─▶ merge ─▶ Snapshot ─▶ one pointer ─▶ Snapshots
//!                                                  ▲   │
//!                    AggregateConfig ─ rules ──────┘   └ schedule: endpoints at once, the rest after quiet
//! ```
//!
//! - `settings`, `rules`: what each registry may do, and their total order;
//! - `held`: what each registry said last, and what an update of it touches;
//! - `merge`: the contributions to one service made into one, pure;
//! - `aggregate`: held state and snapshot together, still without time;
//! - `guard`, `control`: what is held of what registries withdraw, and the decisions
//!   that replicas share;
//! - `freshness`, `last_good`, `stored`: when a silent registry expires, and what is
//!   kept of each on disk;
//! - `schedule`, `readiness`, `status`: when to publish, when to be ready, since when;
//! - `testimony`: what is held, for who explains it;
//! - `publish`, `run`: the pointer and the loop.
//!
//! Invariants:
//! - The snapshot's content is a function of the configuration, of the control
//!   state and of what the registries hold, whatever the order in which it
//!   arrived; after any sequence of changes it equals one merged from scratch.
//! - A change costs what it touches: one endpoint merges one service again.
//! - A registry that fails keeps everything that it brought; what it withdraws all
//!   at once is held for a while.
//! - Wherever one registry wins over another, a conflict names the loser.
//! - Times stand beside the snapshot and decide no byte of it.

mod aggregate;
mod conflict_times;
mod control;
mod dirty;
#[cfg(test)]
mod fixtures;
mod freshness;
mod guard;
mod held;
mod last_good;
mod merge;
mod policy;
mod publish;
mod readiness;
mod rules;
mod run;
mod schedule;
mod settings;
mod status;
mod stored;
mod takeover;
mod testimony;

pub use aggregate::{Aggregate, Heard, Publication};
pub use conflict_times::ConflictTimes;
pub use control::{
    Answer, Cause, Change, Control, ControlState, ControlStore, Drain, EndpointId, EntryName,
    FileStore, Freeze, Frozen, Hold, HoldKey, InvalidEntry, InvalidGroup, Moment, ProxyGroup,
    Release, Scope, Shared, StoreError, StoreStatus, Stored, StoredEntry, Track, Write,
};
pub use dirty::Dirty;
pub use freshness::{Expiry, ExpiryAction};
pub use guard::{Guard, GuardMode};
pub use last_good::{LastGood, Refused, Restored, WriteError, write_atomically};
pub use merge::{Contribution, Merged, merge_service};
pub use policy::{Fields, Isolation, MergePolicy, Policies, PolicyFault, Sharing};
pub use publish::{NoMoreSnapshots, SnapshotPublisher, Snapshots};
pub use readiness::Readiness;
pub use rules::{RegistryRules, Rules};
pub use run::{Published, Publisher, channel, run};
pub use settings::{AggregateConfig, Debounce, HostRule, RegistrySettings, StateSettings};
pub use status::{LastGoodStatus, RegistryStatus, Statuses};
pub use testimony::{Questions, Statement, Testimony};
