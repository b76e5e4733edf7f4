//! The adapter that the registry manager runs.

use std::future::Future;
use std::pin::Pin;

use mainstem_registry::{Adapter, UpdateSender};

use crate::config::KubernetesConfig;
use crate::watch;

/// Follows one Kubernetes cluster.
#[derive(Debug)]
pub struct KubernetesAdapter {
    config: KubernetesConfig,
}

impl KubernetesAdapter {
    /// An adapter for the cluster that the configuration names; it connects when
    /// it runs.
    pub fn new(config: KubernetesConfig) -> Self {
        Self { config }
    }
}

impl Adapter for KubernetesAdapter {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(watch::run(self.config, updates))
    }
}
