//! The adapter as the registry manager sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mainstem_model::RegistryId;
use mainstem_registry::{Adapter, UpdateSender};

use crate::api::Traffic;
use crate::config::ConsulConfig;
use crate::watch;

/// The first part of these registries' identity: `consul/CLUSTER`.
pub const PROVIDER: &str = "consul";

/// The adapter of one Consul datacenter.
#[derive(Debug)]
pub struct ConsulAdapter {
    config: ConsulConfig,
    traffic: Arc<Traffic>,
}

impl ConsulAdapter {
    /// An adapter that has not asked anything yet.
    pub fn new(config: ConsulConfig) -> Self {
        Self { config, traffic: Arc::default() }
    }

    /// The registry's identity.
    pub fn registry(&self) -> RegistryId {
        RegistryId::new(PROVIDER, self.config.cluster.as_str())
    }

    /// What its queries cost; keep it before running the adapter.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }
}

impl Adapter for ConsulAdapter {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(watch::run(self.config, self.traffic, updates))
    }
}
