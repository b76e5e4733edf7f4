//! Scopes, and pure functions from snapshot and scope to Envoy resources.
//!
//! ```text
//!              ┌ cluster ┐
//!  Snapshot ──▶│ endpoint│──▶ bytes      pure: what a proxy is told
//!  view of     │ listener│
//!  the proxy   └ route   ┘
//!                   ▲
//!                scopes                  which proxies are told the same, and
//!                                        what a change makes build again
//! ```
//!
//! Sockets, streams and subscriptions are somebody else's: whoever serves
//! [attaches](Scopes::attach) each proxy, [updates](Scopes::update) with each
//! snapshot, and reads each proxy's [`Moment`].
//!
//! Invariants:
//! - Equal snapshots give equal bytes, whatever came before.
//! - A resource is encoded once per distinct content, and versioned by its hash.
//! - A change costs what it touches: an endpoint's change builds one service's
//!   load assignments again, and no cluster, listener or route.

mod carriage;
mod cluster;
mod endpoint;
mod entry;
mod grpc;
mod intern;
mod kind;
mod listener;
mod message;
mod names;
pub mod passing;
mod resource;
mod route;
mod scopes;
mod settings;
mod visible;
mod wire;

pub use carriage::{Carriage, Omission, Way, carriage, resource_names, seen};
pub use kind::Kind;
pub use resource::Resource;
pub use scopes::{Attached, Counts, Moment, Scopes, View};
pub use settings::Settings;
