//! Mesh Configuration Protocol registry adapter: ServiceEntries and
//! WorkloadEntries from a source, over xDS or as it was originally, and objects of
//! whatever other kind, which are held for others unread.
//!
//! ```text
//!  config, credentials ─▶ api ── ADS or ResourceSource ─▶ source   how to ask
//!                          ▲
//!  watch ──────────────────┘                              when: connect, ACK, reconnect
//!    │ answers
//!    ▼
//!  store ◀─ convert, handed_on                            what it means: pure
//!    │ RegistryUpdate
//!    ▼
//!  UpdateSender
//! ```
//!
//! Follows each kind by incremental or state-of-the-world ADS as a node with the metadata
//! `GENERATOR: api`, or by the original protocol, in which the source may be the one who
//! opens the stream. A new stream names the versions that
//! are held, so only what changed since comes again. A complete set is told as what differs
//! from the one before.
//!
//! Invariants:
//! - A lost stream removes nothing. An object goes when the source names it as
//!   removed, or when a complete set lacks it in which every object has a name.
//! - The registry is live only when every kind has been answered on the present
//!   stream and the answers have settled, since a source may split them.
//! - A malformed object rejects itself: its last good form stays, and its neighbours
//!   are taken. An incremental answer is refused by a NACK that names it.
//! - What another Mainstem exports keeps its origins, and nothing that this control
//!   plane exported itself comes back.
//! - Silence is noticed within seconds, by HTTP/2 pings.

mod api;
mod config;
pub mod convert;
mod credentials;
pub mod handed_on;
mod store;
mod watch;

use std::future::Future;
use std::pin::Pin;

use mainstem_model::RegistryId;
use mainstem_registry::{Adapter, UpdateSender};

pub use config::{McpConfig, Protocol, SinkError, TlsConfig};

/// The provider's name: registries are `mcp/CLUSTER`.
pub const PROVIDER: &str = "mcp";

/// Follows one source.
#[derive(Clone, Debug)]
pub struct McpAdapter {
    config: McpConfig,
}

impl McpAdapter {
    /// An adapter that has not asked anything yet.
    pub fn new(config: McpConfig) -> Self {
        Self { config }
    }

    /// The registry's identity.
    pub fn registry(&self) -> RegistryId {
        RegistryId::new(PROVIDER, self.config.cluster.as_str())
    }
}

impl Adapter for McpAdapter {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(watch::run(self.config, updates))
    }
}
