//! Control state: what operators and protections decided, which no registry says.
//!
//! ```text
//! guard, operators ─ Change ─▶ Keeper ─ compare and swap ─▶ ControlStore (file, Kubernetes, Consul)
//!        ▲                       │                                │
//!        └──── ControlState ◀────┴──────────── watch ─────────────┘   every replica the same
//! ```
//!
//! - `state`: the value, and what a change makes of it;
//! - `entry`: the value as named entries of text, which stores keep;
//! - `store`: what a store can do, and the one that is a file;
//! - `keeper`: the loop between changes and store.
//!
//! Invariants:
//! - The state is a value; changes and merging are pure. Replicas that share a
//!   store come to the same state, whoever proposed what first.
//! - Times are absolute, in milliseconds: what ends, ends everywhere at once.
//! - While a store cannot be reached, changes take effect here and are brought
//!   to the store when it answers.

mod entry;
mod keeper;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use entry::{EntryName, InvalidEntry};
pub use keeper::{Control, Shared};
pub use state::{
    Cause, Change, ControlState, Drain, EndpointId, Freeze, Hold, HoldKey, Moment, Release, Scope,
};
pub use store::{Answer, ControlStore, FileStore, StoreError, Stored, StoredEntry, Write};

pub(crate) use keeper::{Keeper, channel};
