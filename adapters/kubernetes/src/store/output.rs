//! The values, made of what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{
    Endpoint, EndpointSet, Health, Hostname, Key, Namespace, NamespaceName, NetworkGateway,
    NetworkGatewayKey, NodeName, RegistryUpdate, Rejected, Service, ServiceKey, Value, Workload,
    WorkloadKey,
};
use mainstem_registry::serviceentry::{endpoints_of, selects};

use super::services::{Entry, Loop};
use super::{Held, Store, Touched};
use crate::api::Kind;
use crate::convert::{self, Surroundings};
use crate::names::ObjectName;
use crate::objects::Addressing;

impl Store {
    /// What has changed since the last time, made anew.
    pub(crate) fn drain(&mut self) -> Vec<RegistryUpdate> {
        let touched = std::mem::take(&mut self.touched);
        let mut updates = touched.news;
        let said = |key, value: Option<Value>| match value {
            Some(value) => RegistryUpdate::Put(value),
            None => RegistryUpdate::Remove(key),
        };
        touched.services.iter().for_each(|key| self.check_names(key));
        for key in touched.services {
            updates.push(said(Key::Service(key.clone()), self.service_value(&key)));
        }
        for key in touched.endpoints {
            updates.push(said(Key::Endpoints(key.clone()), self.endpoints_value(&key)));
        }
        for name in touched.workloads {
            updates.push(said(Key::Workload(self.workload_key(&name)), self.workload_value(&name)));
        }
        for name in touched.namespaces {
            updates.push(said(Key::Namespace(name.clone()), self.namespace_value(&name)));
        }
        if touched.gateways {
            updates.extend(self.gateway_updates());
        }
        // What was rejected while values were made.
        updates.append(&mut self.touched.news);
        updates
    }

    /// Everything, and what could not be understood.
    pub(crate) fn all(&mut self) -> (Vec<Value>, Vec<Rejected>) {
        self.touched = Touched::default();
        let declared = self.entries.keys();
        let keys: BTreeSet<ServiceKey> =
            self.services.iter().map(|(_, entry)| entry.key.clone()).chain(declared).collect();
        let mut values = Vec::with_capacity(keys.len() * 2);
        for key in &keys {
            self.check_names(key);
            values.extend(self.service_value(key));
            values.extend(self.endpoints_value(key));
        }
        let workloads = self.pods.names().chain(self.entries.workload_names());
        let workloads: BTreeSet<&ObjectName> = workloads.collect();
        values.extend(workloads.into_iter().filter_map(|name| self.workload_value(name)));
        values.extend(self.namespaces.keys().filter_map(|name| self.namespace_value(name)));
        let gateways = self.all_gateways();
        self.gateways = gateways.keys().cloned().collect();
        values.extend(gateways.into_values().map(|gateway| Value::Gateway(Arc::new(gateway))));
        self.touched = Touched::default();
        (values, self.rejected.values().cloned().collect())
    }

    /// The Service that has this key, where its namespace is read.
    fn service_of(&self, key: &ServiceKey) -> Option<(ObjectName, &Entry)> {
        let name = self.settings.service_named(key.hostname())?;
        let here = name.namespace == *key.namespace() && self.is_selected(&name.namespace);
        let entry = self.services.get(&name).filter(|_| here)?;
        Some((name, entry))
    }

    /// Rejects a Service whose chain of external names loops, until it does not.
    fn check_names(&mut self, key: &ServiceKey) {
        // A ServiceEntry may bear a Service's host name in another namespace.
        let name = self.settings.service_named(key.hostname());
        let Some(name) = name.filter(|name| name.namespace == *key.namespace()) else { return };
        let loops =
            self.service_of(key).is_some_and(|(_, entry)| self.alias_of(entry) == Err(Loop));
        let text = name.to_string();
        if loops {
            let reason = "externalName leads, over other Services, back to this one";
            self.reject(Kind::Service, &text, reason.to_owned());
            self.looping.insert(name);
        } else if self.looping.remove(&name) {
            self.accept(Kind::Service, &text);
        }
    }

    fn alias_of(&self, entry: &Entry) -> Result<Option<Hostname>, Loop> {
        match &entry.held.object.addressing {
            Addressing::External(_) => self.end_of(entry.key.hostname().clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// The definition: of a Service, else of the oldest ServiceEntry.
    fn service_value(&self, key: &ServiceKey) -> Option<Value> {
        if let Some((name, entry)) = self.service_of(key) {
            let alias_of = self.alias_of(entry).ok()?;
            return Some(Value::Service(Arc::new(self.service(&name, entry, alias_of))));
        }
        let declared = self.entries.declared(key).next()?;
        let selected = self.is_selected(key.namespace());
        selected.then(|| Value::Service(declared.service.clone()))
    }

    fn service(&self, name: &ObjectName, entry: &Entry, alias_of: Option<Hostname>) -> Service {
        let host = entry.key.hostname();
        let aliases = match alias_of {
            Some(_) => BTreeSet::new(),
            None => {
                let names = self.names_leading_to(host);
                let read = names.iter().filter(|name| self.is_selected(&name.namespace));
                read.map(|name| self.settings.hostname(name)).collect()
            }
        };
        let Held { revision, object } = &entry.held;
        let namespace = self.namespaces.get(&name.namespace).map(|held| &held.object);
        let origins = self.settings.origins(Kind::Service.name(), name, revision);
        let names = convert::Names { alias_of, aliases };
        convert::service(&self.settings, &entry.key, object, namespace, names, origins)
    }

    /// The endpoints of a service: by its slices and the WorkloadEntries that it
    /// selects if it is a Service, and by ServiceEntries, which may join it. None
    /// if there are none.
    fn endpoints_value(&self, key: &ServiceKey) -> Option<Value> {
        let mut all: Vec<Arc<Endpoint>> = Vec::new();
        if let Some((name, entry)) = self.service_of(key) {
            let of_slices = self.slice_endpoints(&name, entry).into_iter();
            all.extend(of_slices.chain(self.selected_endpoints(&name, entry)).map(Arc::new));
        }
        if self.is_selected(key.namespace()) {
            for declared in self.entries.declared(key) {
                let selected = declared.endpoint_set(self.selectable(key.namespace()));
                all.extend_from_slice(selected.endpoints());
            }
        }
        if all.is_empty() {
            return None;
        }
        Some(Value::Endpoints(Arc::new(EndpointSet::new(key.clone(), all))))
    }

    fn slice_endpoints(&self, name: &ObjectName, entry: &Entry) -> Vec<Endpoint> {
        let namespace = &name.namespace;
        let pod = |pod: &str| self.pods.get(&ObjectName::new(namespace.clone(), pod));
        let around = Surroundings {
            pod: &pod,
            pod_at: &|address: IpAddr| self.pods.at(namespace, address),
            node: &|node: &NodeName| self.nodes.get(node),
            network: &self.network,
        };
        let slices = self.slices.of(name).map(|entry| (&entry.origins, &entry.slice));
        convert::from_slices(&self.settings, &entry.held.object, slices, &around)
    }

    fn selected_endpoints(&self, name: &ObjectName, entry: &Entry) -> Vec<Endpoint> {
        let mut workloads = self.entries.workloads_of(&name.namespace).peekable();
        let external = matches!(entry.held.object.addressing, Addressing::External(_));
        if external || workloads.peek().is_none() {
            return Vec::new();
        }
        let service = self.service(name, entry, None);
        let selected = workloads.filter(|workload| selects(&service, workload));
        selected.flat_map(|workload| endpoints_of(&service, workload)).collect()
    }

    /// The workloads that a ServiceEntry of this namespace may select: Pods that
    /// are ready, and WorkloadEntries.
    fn selectable<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Workload> {
        let ready = self.pods.of(namespace).filter(|pod| pod.health == Health::Healthy);
        ready.chain(self.entries.workloads_of(namespace)).map(|workload| &**workload)
    }

    fn workload_key(&self, name: &ObjectName) -> WorkloadKey {
        WorkloadKey::new(self.settings.cluster.clone(), name.namespace.clone(), &name.name)
    }

    /// A Pod, else a WorkloadEntry.
    fn workload_value(&self, name: &ObjectName) -> Option<Value> {
        let workload = self.pods.get(name).or_else(|| self.entries.workload(name))?;
        self.is_selected(&name.namespace).then(|| Value::Workload(workload.clone()))
    }

    fn namespace_value(&self, name: &NamespaceName) -> Option<Value> {
        let held = self.namespaces.get(name).filter(|_| self.is_selected(name))?;
        let object = ObjectName::new("", name.as_str());
        Some(Value::Namespace(Arc::new(Namespace {
            name: name.clone(),
            labels: held.object.labels.clone(),
            origins: self.settings.origins(Kind::Namespace.name(), &object, &held.revision),
        })))
    }

    fn all_gateways(&self) -> BTreeMap<NetworkGatewayKey, NetworkGateway> {
        let mut all = BTreeMap::new();
        for name in self.services.gateways.iter().filter(|name| self.is_selected(&name.namespace)) {
            let Some(Held { revision, object }) = self.services.get(name).map(|e| &e.held) else {
                continue;
            };
            let Some(gateway) = &object.gateway else { continue };
            let origins = self.settings.origins(Kind::Service.name(), name, revision);
            let nodes = self.nodes.values();
            for gateway in convert::gateways(&self.settings, gateway, nodes, &origins) {
                all.entry(gateway.key.clone()).or_insert(gateway);
            }
        }
        all
    }

    fn gateway_updates(&mut self) -> Vec<RegistryUpdate> {
        let now = self.all_gateways();
        let before = std::mem::replace(&mut self.gateways, now.keys().cloned().collect());
        let gone = before.into_iter().filter(|key| !now.contains_key(key));
        let mut updates: Vec<_> =
            gone.map(|key| RegistryUpdate::Remove(Key::Gateway(key))).collect();
        let values = now.into_values().map(|gateway| Value::Gateway(Arc::new(gateway)));
        updates.extend(values.map(RegistryUpdate::Put));
        updates
    }
}
