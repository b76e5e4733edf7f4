//! Control state: what operators and protections decided, which no registry says.
//!
//! ```text
//! guard, operators ─ Change ─▶ Keeper ─ compare and swap ─▶ ControlStore (file, Kubernetes, Consul)
//!        ▲                       │                                │
//!        └──── ControlState ◀────┴──────────── watch ─────────────┘   every replica the same
//! ```
//!
//! - `state`: the value, and what a change makes of it;
//! - `decisions`: what operators decide, and what it comes to at a moment;
//! - `entry`: the value as named entries of text, which stores keep;
//! - `store`: what a store can do, and the one that is a file;
//! - `keeper`, `settle`: the loop between changes and store, and one exchange with it.
//!
//! Invariants:
//! - The state is a value; changes and merging are pure. Replicas that share a
//!   store come to the same state, whoever proposed what first.
//! - Times are absolute, in milliseconds: what ends, ends everywhere at once.
//! - While a store cannot be reached, changes take effect here and are brought
//!   to the store when it answers.

mod decisions;
mod entry;
mod keeper;
mod settle;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use decisions::{Drain, Freeze, Frozen, InvalidGroup, ProxyGroup, Release, Track};
pub use entry::{EntryName, InvalidEntry};
pub use keeper::{Control, Shared, StoreStatus};
pub use state::{Cause, Change, ControlState, EndpointId, Hold, HoldKey, Moment, Scope};
pub use store::{Answer, ControlStore, FileStore, StoreError, Stored, StoredEntry, Write};

pub(crate) use keeper::{Keeper, channel};
