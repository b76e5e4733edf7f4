//! What the source holds, and what of it changed. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mainstem_model::{
    Config, ConfigKey, EndpointSet, Key, NamespaceName, ObjectRef, RegistryUpdate, Rejected,
    ServiceKey, Value, Workload, WorkloadKey,
};
use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mainstem_registry::serviceentry::{Declared, Surroundings, selects};

use crate::convert::{self, Kind, Object};
use crate::handed_on::Excluded;

/// All objects in their last good form, by name.
#[derive(Debug)]
pub(crate) struct Store {
    around: Surroundings,
    excluded: Excluded,
    /// Versions as the source numbers them, those of malformed objects included.
    versions: BTreeMap<(Kind, String), String>,
    services: BTreeMap<String, Vec<Declared>>,
    /// The ServiceEntries that declare a service; the first by name defines it,
    /// all add endpoints.
    declaring: BTreeMap<ServiceKey, BTreeSet<String>>,
    /// Services with a selector, by namespace.
    selecting: BTreeMap<NamespaceName, BTreeSet<ServiceKey>>,
    workloads: BTreeMap<String, Arc<Workload>>,
    /// What passes through.
    configs: BTreeMap<ConfigKey, Arc<Config>>,
    by_namespace: BTreeMap<NamespaceName, BTreeSet<String>>,
    rejected: BTreeMap<ObjectRef, Rejected>,
    /// The services of ServiceEntries of which nothing is taken.
    returned: BTreeMap<String, Vec<ServiceKey>>,
    touched: BTreeSet<ServiceKey>,
    updates: Vec<RegistryUpdate>,
}

impl Store {
    pub(crate) fn new(around: Surroundings, excluded: Excluded) -> Self {
        Self {
            around,
            excluded,
            versions: BTreeMap::new(),
            services: BTreeMap::new(),
            declaring: BTreeMap::new(),
            selecting: BTreeMap::new(),
            workloads: BTreeMap::new(),
            configs: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            rejected: BTreeMap::new(),
            returned: BTreeMap::new(),
            touched: BTreeSet::new(),
            updates: Vec::new(),
        }
    }

    /// The versions of a kind's objects.
    pub(crate) fn versions(&self, kind: &Kind) -> HashMap<String, String> {
        let of_kind = self.versions.iter().filter(|((k, _), _)| k == kind);
        of_kind.map(|((_, name), version)| (name.clone(), version.clone())).collect()
    }

    /// Takes an answer in; what is malformed in it, if anything is.
    pub(crate) fn take(&mut self, kind: &Kind, answer: &DeltaDiscoveryResponse) -> Option<String> {
        let mut refused = Vec::new();
        for resource in &answer.resources {
            let id = (kind.clone(), resource.name.clone());
            let known = self.versions.get(&id);
            if !resource.version.is_empty() && known == Some(&resource.version) {
                let reason = self.rejected.get(&kind.object(&resource.name));
                refused.extend(reason.map(|rejected| refusal(&resource.name, &rejected.reason)));
                continue;
            }
            self.versions.insert(id, resource.version.clone());
            let body = resource.resource.as_ref();
            match convert::object(&self.around, &self.excluded, kind, &resource.name, body) {
                Ok(object) => self.put(kind, &resource.name, object),
                Err(reason) => {
                    refused.push(refusal(&resource.name, &reason));
                    self.reject(kind, &resource.name, reason);
                }
            }
        }
        for name in &answer.removed_resources {
            self.remove(kind, name);
        }
        (!refused.is_empty()).then(|| refused.join("; "))
    }

    /// Everything, as a complete state.
    pub(crate) fn whole(&mut self) -> (Vec<Value>, Vec<Rejected>) {
        self.touched.clear();
        self.updates.clear();
        let services = self.declaring.keys().flat_map(|key| self.values_of(key));
        let workloads = self.workloads.values().cloned().map(Value::Workload);
        let configs = self.configs.values().cloned().map(Value::Config);
        (
            services.chain(workloads).chain(configs).collect(),
            self.rejected.values().cloned().collect(),
        )
    }

    /// Removals that belong beside a complete state: what is rejected is spared by
    /// it, and of this nothing shall stay that was taken before.
    pub(crate) fn withheld(&self) -> Vec<RegistryUpdate> {
        let keys = self.returned.values().flatten();
        let gone = keys.filter(|key| !self.declaring.contains_key(*key));
        let keys = gone.flat_map(|key| [Key::Service(key.clone()), Key::Endpoints(key.clone())]);
        keys.map(RegistryUpdate::Remove).collect()
    }

    /// What changed since this or [`Store::whole`] was last asked.
    pub(crate) fn changes(&mut self) -> Vec<RegistryUpdate> {
        let mut updates = std::mem::take(&mut self.updates);
        for key in std::mem::take(&mut self.touched) {
            let values = self.values_of(&key);
            if values.is_empty() {
                updates.push(RegistryUpdate::Remove(Key::Service(key.clone())));
                updates.push(RegistryUpdate::Remove(Key::Endpoints(key)));
            }
            updates.extend(values.into_iter().map(RegistryUpdate::Put));
        }
        updates
    }

    fn put(&mut self, kind: &Kind, name: &str, object: Object) {
        self.accept(kind, name);
        match object {
            Object::Services(declared) => {
                self.remove_services(name);
                self.put_services(name, declared);
            }
            Object::Workload(workload) => {
                self.withdraw_workload(name);
                self.put_workload(name, workload);
            }
            Object::Config(config) => {
                self.updates.push(RegistryUpdate::Put(Value::Config(config.clone())));
                self.configs.insert(config.key.clone(), config);
            }
            // Said as a rejection, but to the source it is none: it did nothing wrong.
            Object::Returned(keys, why) => {
                self.withdraw(kind, name);
                if *kind == Kind::ServiceEntry {
                    self.returned.insert(name.to_owned(), keys);
                }
                self.reject(kind, name, why);
            }
        }
    }

    fn remove(&mut self, kind: &Kind, name: &str) {
        self.versions.remove(&(kind.clone(), name.to_owned()));
        self.accept(kind, name);
        self.withdraw(kind, name);
    }

    /// Nothing of the object stays.
    fn withdraw(&mut self, kind: &Kind, name: &str) {
        match kind {
            Kind::ServiceEntry => self.remove_services(name),
            Kind::WorkloadEntry => {
                if let Some(key) = self.withdraw_workload(name) {
                    self.updates.push(RegistryUpdate::Remove(Key::Workload(key)));
                }
            }
            Kind::Other(other) => {
                let key = convert::config_key(other, name);
                if self.configs.remove(&key).is_some() {
                    self.updates.push(RegistryUpdate::Remove(Key::Config(key)));
                }
            }
        }
    }

    fn reject(&mut self, kind: &Kind, name: &str, reason: String) {
        let rejected = Rejected { object: kind.object(name), reason };
        self.rejected.insert(rejected.object.clone(), rejected.clone());
        self.updates.push(RegistryUpdate::Reject(rejected));
    }

    fn accept(&mut self, kind: &Kind, name: &str) {
        if *kind == Kind::ServiceEntry {
            self.returned.remove(name);
        }
        let object = kind.object(name);
        if self.rejected.remove(&object).is_some() {
            self.updates.push(RegistryUpdate::Accept(object));
        }
    }

    fn put_services(&mut self, name: &str, declared: Vec<Declared>) {
        for Declared { service, .. } in &declared {
            let key = &service.key;
            self.declaring.entry(key.clone()).or_default().insert(name.to_owned());
            if !service.selector.is_empty() {
                let there = self.selecting.entry(key.namespace().clone()).or_default();
                there.insert(key.clone());
            }
            self.touched.insert(key.clone());
        }
        self.services.insert(name.to_owned(), declared);
    }

    fn remove_services(&mut self, name: &str) {
        for Declared { service, .. } in self.services.remove(name).unwrap_or_default() {
            let key = &service.key;
            self.touched.insert(key.clone());
            drop_from(&mut self.declaring, key, name);
            let selects = self.declared(key).any(|one| !one.service.selector.is_empty());
            if !selects {
                drop_from(&mut self.selecting, key.namespace(), key);
            }
        }
    }

    fn put_workload(&mut self, name: &str, workload: Arc<Workload>) {
        self.touch_selecting(&workload);
        let there = self.by_namespace.entry(workload.key.namespace().clone()).or_default();
        there.insert(name.to_owned());
        self.updates.push(RegistryUpdate::Put(Value::Workload(workload.clone())));
        self.workloads.insert(name.to_owned(), workload);
    }

    /// Takes a workload out of what services select.
    fn withdraw_workload(&mut self, name: &str) -> Option<WorkloadKey> {
        let old = self.workloads.remove(name)?;
        drop_from(&mut self.by_namespace, old.key.namespace(), name);
        self.touch_selecting(&old);
        Some(old.key.clone())
    }

    fn touch_selecting(&mut self, workload: &Workload) {
        let there = self.selecting.get(workload.key.namespace()).into_iter().flatten();
        let picking = |key: &&ServiceKey| {
            self.declared(key).any(|declared| selects(&declared.service, workload))
        };
        let touched: Vec<ServiceKey> = there.filter(picking).cloned().collect();
        self.touched.extend(touched);
    }

    fn declared<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a Declared> {
        let names = self.declaring.get(key).into_iter().flatten();
        let all = names.filter_map(|name| self.services.get(name)).flatten();
        all.filter(move |declared| declared.service.key == *key)
    }

    /// The service and its endpoints; nothing when no object declares it.
    fn values_of(&self, key: &ServiceKey) -> Vec<Value> {
        let Some(first) = self.declared(key).next() else { return Vec::new() };
        let names = self.by_namespace.get(key.namespace()).into_iter().flatten();
        let workloads: Vec<&Workload> =
            names.filter_map(|name| self.workloads.get(name)).map(AsRef::as_ref).collect();
        let sets = self.declared(key).map(|one| one.endpoint_set(workloads.iter().copied()));
        let all = sets.flat_map(|set| set.endpoints().to_vec()).collect();
        let endpoints = Arc::new(EndpointSet::new(key.clone(), all));
        vec![Value::Service(first.service.clone()), Value::Endpoints(endpoints)]
    }
}

fn refusal(name: &str, reason: &str) -> String {
    format!("{name} : {reason}")
}

fn drop_from<K: Ord, V: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    index: &mut BTreeMap<K, BTreeSet<V>>,
    key: &K,
    value: &Q,
) {
    if let Some(all) = index.get_mut(key) {
        all.remove(value);
        if all.is_empty() {
            index.remove(key);
        }
    }
}
