//! The snapshot: everything that any response may depend on, at one moment.
//!
//! ```text
//! Snapshot ─ edit() ─▶ Draft ─ put/remove ─▶ finish() ─▶ Snapshot′ (generation + 1, knows its ChangeSet)
//! ```

mod change;
mod clashes;
mod draft;
mod few;
mod queries;
mod unloaded;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use change::ChangeSet;
pub use draft::Draft;
pub use queries::ServiceTarget;
pub use unloaded::Unloaded;

use change::History;
use clashes::Claims;
use few::Few;

use crate::{
    Config, ConfigKey, Conflict, EndpointSet, Hostname, MeshSettings, Namespace, NamespaceName,
    NetworkGateway, NetworkGatewayKey, RegistryId, RegistryState, Service, ServiceKey, Shards,
    Workload, WorkloadKey,
};

/// A snapshot's number: one more than its predecessor's.
pub type Generation = u64;

/// Everything merged, immutable. A clone copies pointers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    generation: Generation,
    mesh: Arc<MeshSettings>,
    services: Shards<ServiceKey, Arc<Service>>,
    endpoints: Shards<ServiceKey, Arc<EndpointSet>>,
    conflicts: Shards<ServiceKey, Arc<[Conflict]>>,
    workloads: Shards<WorkloadKey, Arc<Workload>>,
    namespaces: Shards<NamespaceName, Arc<Namespace>>,
    configs: Shards<ConfigKey, Arc<Config>>,
    gateways: Arc<BTreeMap<NetworkGatewayKey, Arc<NetworkGateway>>>,
    registries: Arc<BTreeMap<RegistryId, RegistryState>>,
    unloaded: Unloaded,
    index: Index,
    history: History,
}

/// What the snapshot can be asked for beside its keys. Derived, and kept by the [`Draft`].
#[derive(Clone, Debug, Default)]
struct Index {
    /// Services of a host name, in whatever namespace.
    by_hostname: Shards<Hostname, Few<ServiceKey>>,
    /// Services with a selector, by namespace.
    selecting: Shards<NamespaceName, Shards<ServiceKey, ()>>,
    /// Services that everybody may see.
    public: Shards<ServiceKey, ()>,
    /// Services that only some namespaces may see, by the namespace that may.
    restricted: Shards<NamespaceName, Shards<ServiceKey, ()>>,
    /// Services by the hash of (network, address) of an endpoint that no
    /// workload stands behind: who asks looks at the endpoints again, so a
    /// collision costs time and never gives a wrong answer.
    registered: Shards<u64, Few<ServiceKey>>,
    /// Workloads by the hash of (network, address), likewise.
    by_address: Shards<u64, Few<WorkloadKey>>,
    /// What of services another one might claim too.
    claims: Claims,
}

impl Snapshot {
    /// An empty snapshot of these mesh settings.
    pub fn new(mesh: MeshSettings) -> Self {
        Self { mesh: Arc::new(mesh), ..Self::default() }
    }

    /// Its number; a published snapshot has a higher one than all before it.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The settings of the whole mesh.
    pub fn mesh(&self) -> &Arc<MeshSettings> {
        &self.mesh
    }

    /// The registries and their states, by name.
    pub fn registries(&self) -> &BTreeMap<RegistryId, RegistryState> {
        &self.registries
    }

    /// What is not loaded, since nobody needs it.
    pub fn unloaded(&self) -> &Unloaded {
        &self.unloaded
    }

    /// Starts an edit; the snapshot itself stays as it is.
    pub fn edit(&self) -> Draft {
        Draft::of(self)
    }

    /// What changed after `generation` up to this snapshot; `None` when that is
    /// longer ago than it remembers, so that anything may have changed.
    pub fn changes_since(&self, generation: Generation) -> Option<ChangeSet> {
        match generation.cmp(&self.generation) {
            Ordering::Less => self.history.since(generation),
            Ordering::Equal => Some(ChangeSet::default()),
            Ordering::Greater => None,
        }
    }
}

#[cfg(test)]
mod tests;
