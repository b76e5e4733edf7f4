//! Which registration brings which key, and which keys a registration has a part in.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_model::{Key, NamespaceName, ServiceKey, WorkloadKey};

use super::brought::Brought;
use crate::api::RegistrationName;

/// Who brings what.
#[derive(Debug, Default)]
pub(super) struct Index {
    services: BTreeMap<ServiceKey, BTreeSet<RegistrationName>>,
    spaces: BTreeMap<NamespaceName, Space>,
}

/// What depends on each other within a namespace.
#[derive(Debug, Default)]
struct Space {
    workloads: BTreeMap<WorkloadKey, RegistrationName>,
    /// Services that some registration declares with a selector.
    selecting: BTreeSet<ServiceKey>,
}

impl Index {
    /// Takes in what a registration brings.
    pub(super) fn keep(&mut self, id: &RegistrationName, brought: &Brought) {
        for declared in brought.services() {
            let key = &declared.service.key;
            self.services.entry(key.clone()).or_default().insert(id.clone());
            if !declared.service.selector.is_empty() {
                self.space(key.namespace()).selecting.insert(key.clone());
            }
        }
        for workload in brought.workloads() {
            let key = &workload.key;
            self.space(key.namespace()).workloads.insert(key.clone(), id.clone());
        }
    }

    /// Leaves out what a registration brought.
    pub(super) fn forget(&mut self, id: &RegistrationName, brought: &Brought) {
        for declared in brought.services() {
            let key = &declared.service.key;
            if let Some(ids) = self.services.get_mut(key) {
                ids.remove(id);
                if ids.is_empty() {
                    self.services.remove(key);
                    self.space(key.namespace()).selecting.remove(key);
                }
            }
        }
        for workload in brought.workloads() {
            self.space(workload.key.namespace()).workloads.remove(&workload.key);
        }
        self.spaces.retain(|_, space| !(space.workloads.is_empty() && space.selecting.is_empty()));
    }

    fn space(&mut self, namespace: &NamespaceName) -> &mut Space {
        self.spaces.entry(namespace.clone()).or_default()
    }

    /// A workload of it that another registration brings already, and which.
    pub(super) fn taken<'a>(
        &'a self,
        id: &RegistrationName,
        brought: &'a Brought,
    ) -> Option<(&'a WorkloadKey, &'a RegistrationName)> {
        let mut all = brought.workloads().map(|workload| &workload.key);
        all.find_map(|key| Some((key, self.owner(key).filter(|owner| *owner != id)?)))
    }

    /// The registration that brings the workload.
    pub(super) fn owner(&self, key: &WorkloadKey) -> Option<&RegistrationName> {
        self.spaces.get(key.namespace())?.workloads.get(key)
    }

    /// The registrations that bring the service.
    pub(super) fn bringing(&self, key: &ServiceKey) -> impl Iterator<Item = &RegistrationName> {
        self.services.get(key).into_iter().flatten()
    }

    /// The workloads of a namespace.
    pub(super) fn workloads_of(
        &self,
        namespace: &NamespaceName,
    ) -> impl Iterator<Item = &WorkloadKey> {
        self.spaces.get(namespace).into_iter().flat_map(|space| space.workloads.keys())
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let services = self.services.keys();
        let services =
            services.flat_map(|key| [Key::Service(key.clone()), Key::Endpoints(key.clone())]);
        let workloads = self.spaces.values().flat_map(|space| space.workloads.keys().cloned());
        services.chain(workloads.map(Key::Workload))
    }

    /// The keys whose values change with what a registration brings.
    pub(super) fn touched_by(&self, brought: &Brought, touched: &mut BTreeSet<Key>) {
        for declared in brought.services() {
            let key = &declared.service.key;
            touched.extend([Key::Service(key.clone()), Key::Endpoints(key.clone())]);
        }
        for workload in brought.workloads() {
            touched.insert(Key::Workload(workload.key.clone()));
            let space = self.spaces.get(workload.key.namespace());
            let selecting = space.into_iter().flat_map(|space| &space.selecting);
            touched.extend(selecting.map(|key| Key::Endpoints(key.clone())));
        }
    }
}
