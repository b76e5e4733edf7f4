//! Consul registry adapter.
//!
//! Follows one datacenter's catalog and the health of its services by blocking
//! queries, and says what changed, service by service.
//!
//! ```text
//!  config, credentials ─▶ api ── pool ──▶ Consul      how to ask, what counts as an answer
//!                          ▲
//!  watch ──────────────────┘                          when to ask
//!    │ answers
//!    ▼
//!  catalog ◀─ convert                                 what it means: pure
//!    │ RegistryUpdate
//!    ▼
//!  UpdateSender
//! ```
//!
//! Invariants:
//! - A failed query removes nothing. A service goes when the catalog's list lacks
//!   it *and* the leader confirms that it has no instances; an instance goes when
//!   its service's answer, not filtered by missing rights, lacks it.
//! - What a peer exports is believed only while the peer is connected.
//! - An answer counts only with an index, from servers that know their leader,
//!   and from a catalog that holds its canary (the service `consul`).
//! - Silence is noticed by a probe of its own within seconds. Afterwards, and
//!   after every change of credentials, everything is asked from the start on
//!   new connections; the registry is live again when all has been answered.
//! - A malformed instance rejects itself; its last good endpoint stays.
//! - No more queries are open at once than configured; answers are bounded.

mod adapter;
pub mod api;
mod catalog;
mod config;
pub mod convert;
mod credentials;
mod index;
pub mod kv;
mod pool;
mod watch;

pub use adapter::{ConsulAdapter, PROVIDER};
pub use api::Traffic;
pub use config::{
    Consistency, ConsulConfig, HostnameTemplate, HostnameTemplateError, Secret, Selector, TlsConfig,
};
pub use index::CatalogIndex;
