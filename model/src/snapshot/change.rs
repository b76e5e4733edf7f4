//! What differs between two snapshots.

use std::collections::BTreeSet;

use crate::{ConfigKey, NamespaceName, ServiceKey, WorkloadKey};

/// The keys whose content changed, appeared or went. Revisions do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Services by definition.
    pub services: BTreeSet<ServiceKey>,
    /// Services by their endpoints.
    pub endpoints: BTreeSet<ServiceKey>,
    /// Workloads.
    pub workloads: BTreeSet<WorkloadKey>,
    /// Namespaces.
    pub namespaces: BTreeSet<NamespaceName>,
    /// Configuration objects.
    pub configs: BTreeSet<ConfigKey>,
    /// Network gateways.
    pub gateways: bool,
    /// Mesh settings.
    pub mesh: bool,
}

impl ChangeSet {
    /// Whether nothing changed that a resource could depend on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another's changes.
    pub fn merge(&mut self, other: &Self) {
        self.services.extend(other.services.iter().cloned());
        self.endpoints.extend(other.endpoints.iter().cloned());
        self.workloads.extend(other.workloads.iter().cloned());
        self.namespaces.extend(other.namespaces.iter().cloned());
        self.configs.extend(other.configs.iter().cloned());
        self.gateways |= other.gateways;
        self.mesh |= other.mesh;
    }
}
