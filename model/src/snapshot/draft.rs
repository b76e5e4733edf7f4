//! Edits of a snapshot, which keep its indexes and its change set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::queries::address_hash;
use super::{ChangeSet, Snapshot};
use crate::{
    Config, ConfigKey, Conflict, EndpointSet, Hostname, MeshSettings, Namespace, NamespaceName,
    NetworkGateway, NetworkGatewayKey, RegistryId, RegistryState, Service, ServiceKey, Shards,
    Workload, WorkloadKey,
};

/// A snapshot being made. Putting what stands there already changes nothing.
#[derive(Debug)]
pub struct Draft {
    next: Snapshot,
    changes: ChangeSet,
}

impl Draft {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self { next: snapshot.clone(), changes: ChangeSet::default() }
    }

    /// The snapshot as far as it is made.
    pub fn current(&self) -> &Snapshot {
        &self.next
    }

    /// What has changed so far.
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// The new snapshot, one generation on.
    pub fn finish(self) -> Snapshot {
        let Self { mut next, changes } = self;
        next.generation += 1;
        next.history = next.history.with(next.generation, changes);
        next
    }

    /// Sets the mesh settings.
    pub fn set_mesh(&mut self, mesh: MeshSettings) {
        if *self.next.mesh != mesh {
            self.next.mesh = Arc::new(mesh);
            self.changes.mesh = true;
        }
    }

    /// Sets a registry's state.
    pub fn put_registry(&mut self, id: RegistryId, state: RegistryState) {
        if self.next.registries.get(&id) != Some(&state) {
            Arc::make_mut(&mut self.next.registries).insert(id, state);
        }
    }

    /// All registries at once: those not in `states` are forgotten.
    pub fn set_registries(&mut self, states: BTreeMap<RegistryId, RegistryState>) {
        if *self.next.registries != states {
            self.next.registries = Arc::new(states);
        }
    }

    /// Forgets a registry's state.
    pub fn remove_registry(&mut self, id: &RegistryId) {
        if self.next.registries.contains_key(id) {
            Arc::make_mut(&mut self.next.registries).remove(id);
        }
    }

    /// Sets a service's definition.
    pub fn put_service(&mut self, service: Arc<Service>) {
        let before = self.next.services.get(&service.key);
        if before.is_some_and(|before| Arc::ptr_eq(before, &service)) {
            return;
        }
        let key = service.key.clone();
        let before = self.next.services.insert(key.clone(), service.clone());
        if before.as_ref().is_some_and(|before| before.same_content(&service)) {
            return;
        }
        self.next.index.claims.change(before.as_deref(), Some(&service));
        if before.as_ref().is_none_or(|before| !listed_alike(before, &service)) {
            if let Some(before) = before {
                self.unlist(&before);
            }
            self.list(&service);
        }
        self.changes.services.insert(key);
    }

    /// Removes a service's definition.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        if let Some(before) = self.next.services.remove(key) {
            self.next.index.claims.change(Some(&before), None);
            self.unlist(&before);
            self.changes.services.insert(key.clone());
        }
    }

    /// Sets all endpoints of a service.
    pub fn put_endpoints(&mut self, set: Arc<EndpointSet>) {
        let before = self.next.endpoints.get(&set.service);
        if before.is_some_and(|before| Arc::ptr_eq(before, &set)) {
            return;
        }
        let key = set.service.clone();
        let before = self.next.endpoints.insert(key.clone(), set.clone());
        if before.as_ref().is_some_and(|before| before.same_content(&set)) {
            return;
        }
        self.register(before.as_deref(), Some(&set));
        self.changes.endpoints.insert(key);
    }

    /// Removes all endpoints of a service.
    pub fn remove_endpoints(&mut self, key: &ServiceKey) {
        if let Some(before) = self.next.endpoints.remove(key) {
            self.register(Some(&before), None);
            self.changes.endpoints.insert(key.clone());
        }
    }

    /// Sets the conflicts of a service.
    pub fn put_conflicts(&mut self, key: &ServiceKey, conflicts: Vec<Conflict>) {
        if conflicts.is_empty() {
            self.next.conflicts.remove(key);
        } else if self.next.conflicts.get(key).is_none_or(|before| **before != *conflicts) {
            self.next.conflicts.insert(key.clone(), conflicts.into());
        }
    }

    /// Sets a workload.
    pub fn put_workload(&mut self, workload: Arc<Workload>) {
        let key = workload.key.clone();
        let before = self.next.workloads.insert(key.clone(), workload.clone());
        if before.as_ref().is_some_and(|before| before.same_content(&workload)) {
            return;
        }
        self.settle(before.as_deref(), Some(&workload));
        self.changes.workloads.insert(key);
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, key: &WorkloadKey) {
        if let Some(before) = self.next.workloads.remove(key) {
            self.settle(Some(&before), None);
            self.changes.workloads.insert(key.clone());
        }
    }

    /// Sets a namespace.
    pub fn put_namespace(&mut self, namespace: Arc<Namespace>) {
        let name = namespace.name.clone();
        let before = self.next.namespaces.insert(name.clone(), namespace.clone());
        if !before.is_some_and(|before| before.same_content(&namespace)) {
            self.changes.namespaces.insert(name);
        }
    }

    /// Removes a namespace.
    pub fn remove_namespace(&mut self, name: &NamespaceName) {
        if self.next.namespaces.remove(name).is_some() {
            self.changes.namespaces.insert(name.clone());
        }
    }

    /// Sets a configuration object.
    pub fn put_config(&mut self, config: Arc<Config>) {
        let key = config.key.clone();
        let before = self.next.configs.insert(key.clone(), config.clone());
        if !before.is_some_and(|before| before.same_content(&config)) {
            self.changes.configs.insert(key);
        }
    }

    /// Removes a configuration object.
    pub fn remove_config(&mut self, key: &ConfigKey) {
        if self.next.configs.remove(key).is_some() {
            self.changes.configs.insert(key.clone());
        }
    }

    /// Sets a network gateway.
    pub fn put_gateway(&mut self, gateway: Arc<NetworkGateway>) {
        let before = self.next.gateways.get(&gateway.key);
        self.changes.gateways |= !before.is_some_and(|before| before.same_content(&gateway));
        Arc::make_mut(&mut self.next.gateways).insert(gateway.key.clone(), gateway);
    }

    /// Removes a network gateway.
    pub fn remove_gateway(&mut self, key: &NetworkGatewayKey) {
        if self.next.gateways.contains_key(key) {
            Arc::make_mut(&mut self.next.gateways).remove(key);
            self.changes.gateways = true;
        }
    }

    /// A service is not loaded, or another registry's part of it. No resource depends
    /// on that: it is not among the changes.
    pub fn put_unloaded(&mut self, service: ServiceKey) {
        self.next.unloaded.insert(service);
    }

    /// All of a service is loaded.
    pub fn remove_unloaded(&mut self, service: &ServiceKey) {
        self.next.unloaded.remove(service);
    }

    fn list(&mut self, service: &Service) {
        let index = &mut self.next.index;
        let key = &service.key;
        for hostname in names(service) {
            index.by_hostname.list(hostname.clone(), key);
        }
        if !service.selector.is_empty() {
            add(&mut index.selecting, service.namespace(), key);
        }
        match service.visibility.namespaces() {
            None => drop(index.public.insert(key.clone(), ())),
            Some(names) => names.iter().for_each(|name| add(&mut index.restricted, name, key)),
        }
    }

    fn unlist(&mut self, service: &Service) {
        let index = &mut self.next.index;
        let key = &service.key;
        for hostname in names(service) {
            index.by_hostname.unlist(hostname, key);
        }
        remove(&mut index.selecting, service.namespace(), key);
        match service.visibility.namespaces() {
            None => drop(index.public.remove(key)),
            Some(names) => names.iter().for_each(|name| remove(&mut index.restricted, name, key)),
        }
    }

    fn settle(&mut self, before: Option<&Workload>, after: Option<&Workload>) {
        let Some(key) = before.or(after).map(|workload| &workload.key) else { return };
        let (before, after) = (before.map(places), after.map(places));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let index = &mut self.next.index.by_address;
        before.difference(&after).for_each(|place| index.unlist(place, key));
        after.difference(&before).for_each(|place| index.list(*place, key));
    }

    fn register(&mut self, before: Option<&EndpointSet>, after: Option<&EndpointSet>) {
        let Some(key) = before.or(after).map(|set| &set.service) else { return };
        let (before, after) = (registrations(before), registrations(after));
        let index = &mut self.next.index.registered;
        before.difference(&after).for_each(|place| index.unlist(place, key));
        after.difference(&before).for_each(|place| index.list(*place, key));
    }
}

/// Whether both are found in the same ways.
fn listed_alike(a: &Service, b: &Service) -> bool {
    a.key == b.key
        && a.aliases == b.aliases
        && a.visibility == b.visibility
        && a.selector.is_empty() == b.selector.is_empty()
}

/// Every name that leads to the service.
fn names(service: &Service) -> impl Iterator<Item = &Hostname> {
    std::iter::once(service.hostname()).chain(&service.aliases)
}

/// The hashes of a workload's addresses.
fn places(workload: &Workload) -> BTreeSet<u64> {
    workload.addresses.iter().map(|address| address_hash(&workload.network, address)).collect()
}

/// The address hashes of a set's endpoints without a workload.
fn registrations(set: Option<&EndpointSet>) -> BTreeSet<u64> {
    let endpoints = set.into_iter().flat_map(EndpointSet::endpoints);
    let own = endpoints.filter(|endpoint| endpoint.workload.is_none());
    own.flat_map(|endpoint| {
        endpoint.addresses().map(|address| address_hash(&endpoint.place.network, address))
    })
    .collect()
}

type ByNamespace = Shards<NamespaceName, Shards<ServiceKey, ()>>;

fn add(listing: &mut ByNamespace, at: &NamespaceName, key: &ServiceKey) {
    let mut keys = listing.get(at).cloned().unwrap_or_default();
    keys.insert(key.clone(), ());
    listing.insert(at.clone(), keys);
}

fn remove(listing: &mut ByNamespace, at: &NamespaceName, key: &ServiceKey) {
    let Some(keys) = listing.get(at) else { return };
    let mut keys = keys.clone();
    keys.remove(key);
    if keys.is_empty() {
        listing.remove(at);
    } else {
        listing.insert(at.clone(), keys);
    }
}
