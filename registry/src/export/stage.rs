//! The rules applied to a registry's updates, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Endpoint, EndpointSet, Key, Port, RegistryUpdate, Service, ServiceKey, Value, Workload,
};

use super::Export;

/// A native service.
#[derive(Debug, Default)]
struct Native {
    service: Option<Arc<Service>>,
    endpoints: Option<Arc<EndpointSet>>,
    /// Nobody needs it.
    unloaded: bool,
}

impl Native {
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.endpoints.is_none() && !self.unloaded
    }
}

/// What of a native service changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Service,
    Endpoints,
    Unloaded,
}

/// The native services that a registry holds, and the names that they have in the
/// mesh. What is left out by name is not held.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    export: Export,
    natives: BTreeMap<ServiceKey, Native>,
    /// Native services by their name in the mesh.
    groups: BTreeMap<ServiceKey, BTreeSet<ServiceKey>>,
}

impl Stage {
    pub(crate) fn new(export: Export) -> Self {
        Self { export, ..Self::default() }
    }

    pub(crate) fn export(&self) -> &Export {
        &self.export
    }

    /// What the aggregate is to hear of an update.
    pub(crate) fn apply(&mut self, update: RegistryUpdate) -> Vec<RegistryUpdate> {
        match update {
            RegistryUpdate::Put(value) => self.put(value),
            RegistryUpdate::Remove(key) => self.remove(key),
            RegistryUpdate::Replace { values, rejected } => {
                let values = self.replace(values);
                vec![RegistryUpdate::Replace { values, rejected }]
            }
            other => vec![other],
        }
    }

    fn put(&mut self, value: Value) -> Vec<RegistryUpdate> {
        match value {
            Value::Service(service) => {
                let key = service.key.clone();
                self.change(&key, |native| native.service = Some(service), Part::Service)
            }
            Value::Endpoints(set) => {
                let key = set.service.clone();
                self.change(&key, |native| native.endpoints = Some(set), Part::Endpoints)
            }
            Value::Unloaded(key) => {
                self.change(&key, |native| native.unloaded = true, Part::Unloaded)
            }
            Value::Workload(workload) => vec![match self.workload(&workload) {
                Some(workload) => RegistryUpdate::Put(Value::Workload(workload)),
                None => RegistryUpdate::Remove(Key::Workload(workload.key.clone())),
            }],
            other => vec![RegistryUpdate::Put(other)],
        }
    }

    fn remove(&mut self, key: Key) -> Vec<RegistryUpdate> {
        match key {
            Key::Service(key) => self.change(&key, |native| native.service = None, Part::Service),
            Key::Endpoints(key) => {
                self.change(&key, |native| native.endpoints = None, Part::Endpoints)
            }
            Key::Unloaded(key) => {
                self.change(&key, |native| native.unloaded = false, Part::Unloaded)
            }
            other => vec![RegistryUpdate::Remove(other)],
        }
    }

    /// Changes a native service, and says what its name in the mesh stands for now.
    fn change(
        &mut self,
        key: &ServiceKey,
        change: impl FnOnce(&mut Native),
        part: Part,
    ) -> Vec<RegistryUpdate> {
        let Some(target) = self.export.target(key) else { return Vec::new() };
        let shown = self.natives.get(key).is_none_or(|native| self.shows(native));
        self.hold(key, &target, change);
        let still = self.natives.get(key).is_none_or(|native| self.shows(native));
        let mut updates = Vec::new();
        if part == Part::Service {
            let service = self.service(&target).map(Value::Service);
            updates.push(said(Key::Service(target.clone()), service));
        }
        if part == Part::Unloaded {
            updates.push(said(Key::Unloaded(target.clone()), self.unloaded(&target)));
        }
        if part == Part::Endpoints || shown != still {
            let set = self.endpoints(&target).map(Value::Endpoints);
            updates.push(said(Key::Endpoints(target), set));
        }
        updates
    }

    fn hold(&mut self, key: &ServiceKey, target: &ServiceKey, change: impl FnOnce(&mut Native)) {
        let native = self.natives.entry(key.clone()).or_default();
        change(native);
        let group = self.groups.entry(target.clone()).or_default();
        if !native.is_empty() {
            group.insert(key.clone());
            return;
        }
        self.natives.remove(key);
        group.remove(key);
        if group.is_empty() {
            self.groups.remove(target);
        }
    }

    fn replace(&mut self, values: Vec<Value>) -> Vec<Value> {
        self.natives.clear();
        self.groups.clear();
        let mut all = Vec::new();
        for value in values {
            let key = match &value {
                Value::Service(service) => service.key.clone(),
                Value::Endpoints(set) => set.service.clone(),
                Value::Unloaded(key) => key.clone(),
                Value::Workload(workload) => {
                    all.extend(self.workload(workload).map(Value::Workload));
                    continue;
                }
                _ => {
                    all.push(value);
                    continue;
                }
            };
            let Some(target) = self.export.target(&key) else { continue };
            self.hold(&key, &target, |native| match value {
                Value::Service(service) => native.service = Some(service),
                Value::Endpoints(set) => native.endpoints = Some(set),
                Value::Unloaded(_) => native.unloaded = true,
                _ => {}
            });
        }
        for target in self.groups.keys() {
            all.extend(self.service(target).map(Value::Service));
            all.extend(self.endpoints(target).map(Value::Endpoints));
            all.extend(self.unloaded(target));
        }
        all
    }

    /// Whether its labels let it through; without a definition there are none to ask.
    fn shows(&self, native: &Native) -> bool {
        let labels = native.service.as_ref().map(|service| &service.labels);
        labels.is_none_or(|labels| self.export.service_left_out(labels).is_none())
    }

    /// The native services of a name, the first first.
    fn group(&self, target: &ServiceKey) -> Vec<&Native> {
        let keys = self.groups.get(target).into_iter().flatten();
        let mut keys: Vec<_> = keys.collect();
        keys.sort_by_key(|key| (*key != target, *key));
        let natives = keys.into_iter().filter_map(|key| self.natives.get(key));
        natives.filter(|native| self.shows(native)).collect()
    }

    fn service(&self, target: &ServiceKey) -> Option<Arc<Service>> {
        let group = self.group(target);
        let mut natives = group.iter().filter_map(|native| native.service.as_ref());
        let first = natives.next()?;
        let labels = self.export.labels(&first.labels);
        let mut ports = first.ports.clone();
        natives.for_each(|other| add_ports(&mut ports, &other.ports));
        if first.key == *target && first.labels == labels && first.ports == ports {
            return Some(first.clone());
        }
        let key = target.clone();
        Some(Arc::new(Service { key, labels, ports, ..Service::clone(first) }))
    }

    /// That a part of it is not loaded, if so.
    fn unloaded(&self, target: &ServiceKey) -> Option<Value> {
        let unloaded = self.group(target).iter().any(|native| native.unloaded);
        unloaded.then(|| Value::Unloaded(target.clone()))
    }

    fn endpoints(&self, target: &ServiceKey) -> Option<Arc<EndpointSet>> {
        let group = self.group(target);
        let sets: Vec<_> = group.iter().filter_map(|native| native.endpoints.as_ref()).collect();
        if sets.is_empty() {
            return None;
        }
        let all = sets.iter().flat_map(|set| set.endpoints());
        let all = all.filter_map(|endpoint| self.endpoint(endpoint)).collect();
        Some(Arc::new(EndpointSet::new(target.clone(), all)))
    }

    fn endpoint(&self, endpoint: &Arc<Endpoint>) -> Option<Arc<Endpoint>> {
        if self.export.endpoint_left_out(&endpoint.labels).is_some() {
            return None;
        }
        let labels = self.export.labels(&endpoint.labels);
        if labels == endpoint.labels {
            return Some(endpoint.clone());
        }
        Some(Arc::new(Endpoint { labels, ..Endpoint::clone(endpoint) }))
    }

    fn workload(&self, workload: &Arc<Workload>) -> Option<Arc<Workload>> {
        if self.export.endpoint_left_out(&workload.labels).is_some() {
            return None;
        }
        let labels = self.export.labels(&workload.labels);
        if labels == workload.labels {
            return Some(workload.clone());
        }
        Some(Arc::new(Workload { labels, ..Workload::clone(workload) }))
    }
}

fn said(key: Key, value: Option<Value>) -> RegistryUpdate {
    value.map_or(RegistryUpdate::Remove(key), RegistryUpdate::Put)
}

/// Adds ports whose number and name are free.
fn add_ports(ports: &mut Vec<Port>, more: &[Port]) {
    for port in more {
        if ports.iter().all(|own| own.number != port.number && own.name != port.name) {
            ports.push(port.clone());
        }
    }
    ports.sort_by_key(|port| port.number);
}
