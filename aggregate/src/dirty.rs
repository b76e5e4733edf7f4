//! Which merged values may have changed.

use std::collections::BTreeSet;

use mainstem_model::{Key, RegistryId, ServiceKey};
use rustc_hash::FxHashSet;

/// What has to be merged again, and how soon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services of which nothing but endpoints changed.
    pub endpoints: FxHashSet<ServiceKey>,
    /// Services whose definition changed.
    pub services: FxHashSet<ServiceKey>,
    /// Services of which only revisions changed.
    pub revisions: FxHashSet<ServiceKey>,
    /// Keys of everything else.
    pub others: FxHashSet<Key>,
    /// Registries whose state or counts changed.
    pub registries: BTreeSet<RegistryId>,
    /// Mesh settings.
    pub mesh: bool,
}

impl Dirty {
    /// Whether nothing has to be merged or published.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.registries.is_empty() && !self.settles()
    }

    /// Whether something is among it that waits for a moment of quiet.
    pub fn settles(&self) -> bool {
        !(self.services.is_empty() && self.revisions.is_empty() && self.others.is_empty())
            || self.mesh
    }

    /// Every service that has to be merged again, each once.
    pub(crate) fn merged(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().chain(&self.endpoints).chain(&self.revisions)
    }

    /// Marks a key; `content` tells whether more than its revision changed.
    pub(crate) fn mark(&mut self, key: &Key, content: bool) {
        match key {
            Key::Service(service) | Key::Endpoints(service) if !content => {
                self.mark_revision(service.clone());
            }
            Key::Service(service) => self.mark_service(service.clone()),
            Key::Endpoints(service) => self.mark_endpoints(service.clone()),
            other => drop(self.others.insert(other.clone())),
        }
    }

    // A service stands in the weightiest of the three sets alone.

    fn mark_service(&mut self, service: ServiceKey) {
        self.endpoints.remove(&service);
        self.revisions.remove(&service);
        self.services.insert(service);
    }

    fn mark_endpoints(&mut self, service: ServiceKey) {
        self.revisions.remove(&service);
        if !self.services.contains(&service) {
            self.endpoints.insert(service);
        }
    }

    fn mark_revision(&mut self, service: ServiceKey) {
        if !self.services.contains(&service) && !self.endpoints.contains(&service) {
            self.revisions.insert(service);
        }
    }
}

/// What waits to be published: a service's endpoints wait with its definition,
/// so that a new service arrives whole.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Endpoints of services that are not settling, and their registries' counts.
    pub(crate) at_once: Dirty,
    /// Everything else.
    pub(crate) settling: Dirty,
}

impl Pending {
    pub(crate) fn add(&mut self, dirty: Dirty) {
        let settles = dirty.settles();
        let Dirty { endpoints, services, revisions, others, registries, mesh } = dirty;
        for service in services {
            self.at_once.endpoints.remove(&service);
            self.settling.mark_service(service);
        }
        for service in endpoints {
            if !self.settling.services.contains(&service) {
                self.settling.revisions.remove(&service);
                self.at_once.endpoints.insert(service);
            }
        }
        for service in revisions {
            if !self.at_once.endpoints.contains(&service) {
                self.settling.mark_revision(service);
            }
        }
        self.settling.others.extend(others);
        self.settling.mesh |= mesh;
        let with = if settles { &mut self.settling } else { &mut self.at_once };
        with.registries.extend(registries);
    }

    /// Takes what is published at once.
    pub(crate) fn take_at_once(&mut self) -> Dirty {
        std::mem::take(&mut self.at_once)
    }

    /// Takes everything.
    pub(crate) fn take_all(&mut self) -> Dirty {
        let mut all = std::mem::take(&mut self.settling);
        let Dirty { endpoints, registries, .. } = std::mem::take(&mut self.at_once);
        all.endpoints = endpoints;
        all.registries.extend(registries);
        all
    }
}
