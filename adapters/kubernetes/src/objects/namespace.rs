//! Namespaces.

use mainstem_model::{Labels, NetworkId, TrafficDistribution};
use serde::Deserialize;

use super::service::{DISTRIBUTION, traffic_distribution};
use super::{Metadata, NETWORK};

/// What a Namespace says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Namespace {
    pub(crate) labels: Labels,
    /// For Services that say nothing themselves.
    pub(crate) distribution: Option<TrafficDistribution>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    #[serde(default)]
    metadata: Metadata,
}

impl Namespace {
    pub(super) fn read(raw: Raw) -> Self {
        let distribution = raw.metadata.annotation(DISTRIBUTION).map(traffic_distribution);
        Self { labels: raw.metadata.labels, distribution }
    }

    /// The network that the system namespace's label names.
    pub(crate) fn network(&self) -> Option<NetworkId> {
        self.labels.get(NETWORK).filter(|name| !name.is_empty()).map(NetworkId::from)
    }
}
