//! Memory registry: services and workloads that register themselves.
//!
//! ```text
//! API ─ register, heartbeat, deregister ─▶ store ─▶ book ─ changes ─▶ watch ─▶ UpdateSender
//!                                            │      (pure: who is there,    │
//!                                            │       until when)            └▶ state file
//!                                            └ lives as long as the process
//! ```
//!
//! A registration is one document of Mainstem's own form, services with their endpoints
//! and workloads, under a name of its own, with a time to live. Several registrations
//! bring endpoints of one service; the newest says what the service is.
//!
//! Invariants:
//! - What is not heard of for its time to live turns unhealthy, and only after
//!   `removeAfter` it goes. A heartbeat in between brings it back as it was.
//! - A registration that breaks a rule is refused as a whole, with every field that is
//!   wrong, and what was registered under its name before stays.
//! - The cost of a request follows the services that it touches.
//! - A restart of the adapter, or other settings, lose no registration; with a state file
//!   neither does a restart of the process. Times to live begin anew then.
//! - The number of registrations is bounded; what is too much is refused.

mod api;
mod book;
mod config;
mod state;
mod store;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mainstem_registry::{Adapter, UpdateSender};

pub use api::{Deregistration, Heartbeat, Registered, Registration, RegistrationName};
pub use book::{Listed, Owner, Refused};
pub use config::MemoryConfig;
pub use store::{Store, Stores};

/// The provider's name: registries are `memory/CLUSTER`.
pub const PROVIDER: &str = "memory";

/// Brings what is registered in a store.
#[derive(Debug)]
pub struct MemoryAdapter {
    config: MemoryConfig,
    stores: Stores,
}

impl MemoryAdapter {
    /// An adapter for the registry's own store among `stores`.
    pub fn new(config: MemoryConfig, stores: Stores) -> Self {
        Self { config, stores }
    }
}

impl Adapter for MemoryAdapter {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let store: Arc<Store> = self.stores.open(updates.registry());
        Box::pin(watch::follow(self.config, store, updates))
    }
}
