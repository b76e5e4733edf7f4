//! The objects held, which values a change touches, and making those anew.
//!
//! ```text
//! apply, remove, relist ─▶ tables + indexes ─▶ Touched ─▶ drain ─▶ RegistryUpdates
//!                                      └────────────────▶ all ──▶ one replacement
//! ```
//!
//! | change of | touches |
//! |---|---|
//! | Service | itself, its endpoints, the names that lead through it and where they end |
//! | EndpointSlice | its Service's endpoints |
//! | Pod | its workload; the endpoints that name or select it |
//! | Node | the Pods on it, and endpoints without a Pod there |
//! | Namespace | itself; what is in it, if its selection or preferences changed |
//! | ServiceEntry | the services of its hosts |
//! | WorkloadEntry | its workload, and the endpoints of what selects it |
//!
//! A change that leaves an object's content as it was touches only the value that
//! shows the object's revision.
//!
//! Invariant: the values depend on the objects alone, not on the order in which
//! they came; only rejected objects have a past, their last good version.

mod entries;
mod index;
mod output;
mod places;
mod pods;
mod services;
mod slices;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    NamespaceName, NetworkGatewayKey, NetworkId, NodeName, ObjectRef, RegistryUpdate, Rejected,
    Revision, ServiceKey,
};

use crate::api::Kind;
use crate::config::{KubernetesConfig, LabelSelector};
use crate::convert::Settings;
use crate::names::ObjectName;
use crate::objects::{Item, Namespace, Node, Object};
use entries::Entries;
use pods::Pods;
use services::Services;
use slices::Slices;

/// An object and the revision that it was read at.
#[derive(Debug)]
struct Held<T> {
    revision: Revision,
    object: T,
}

/// Everything that one cluster holds, as far as values depend on it.
#[derive(Debug)]
pub(crate) struct Store {
    settings: Settings,
    /// The network that the configuration names; empty if it names none.
    configured_network: NetworkId,
    /// The network of addresses that say nothing of it.
    network: NetworkId,
    system_namespace: NamespaceName,
    selectors: Vec<LabelSelector>,
    services: Services,
    slices: Slices,
    pods: Pods,
    nodes: BTreeMap<NodeName, Node>,
    namespaces: BTreeMap<NamespaceName, Held<Namespace>>,
    entries: Entries,
    rejected: BTreeMap<ObjectRef, Rejected>,
    /// The Services that are rejected for where their external names lead.
    looping: BTreeSet<ObjectName>,
    /// The network gateways that were last said.
    gateways: BTreeSet<NetworkGatewayKey>,
    touched: Touched,
}

/// What has to be made anew.
#[derive(Debug, Default)]
struct Touched {
    services: BTreeSet<ServiceKey>,
    endpoints: BTreeSet<ServiceKey>,
    workloads: BTreeSet<ObjectName>,
    namespaces: BTreeSet<NamespaceName>,
    gateways: bool,
    /// Rejections and acceptances, the later of an object after the earlier.
    news: Vec<RegistryUpdate>,
}

impl Store {
    pub(crate) fn new(settings: Settings, config: &KubernetesConfig) -> Self {
        Self {
            settings,
            configured_network: config.network.clone(),
            network: config.network.clone(),
            system_namespace: config.system_namespace.clone(),
            selectors: config.discovery_selectors.clone(),
            services: Services::default(),
            slices: Slices::default(),
            pods: Pods::default(),
            nodes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            entries: Entries::default(),
            rejected: BTreeMap::new(),
            looping: BTreeSet::new(),
            gateways: BTreeSet::new(),
            touched: Touched::default(),
        }
    }

    /// This object is new or changed. One that cannot be understood is rejected,
    /// and what was held of it stays.
    pub(crate) fn apply(&mut self, kind: Kind, item: Item) {
        let Item { name, revision, object } = item;
        let put = object.and_then(|object| self.put(&name, revision, object));
        match put {
            Ok(()) => self.accept(kind, &name.to_string()),
            Err(reason) => self.reject(kind, &name.to_string(), reason),
        }
    }

    fn put(&mut self, name: &ObjectName, revision: Revision, object: Object) -> Result<(), String> {
        match object {
            Object::Service(service) => self.put_service(name, Held { revision, object: service }),
            Object::Slice(slice) => self.put_slice(name, &revision, slice),
            Object::Pod(pod) if pod.over => self.remove_pod(name),
            Object::Pod(pod) => self.put_pod(name, &revision, &pod),
            Object::Node(node) => self.put_node(&name.name, node),
            Object::Namespace(namespace) => {
                self.put_namespace(&name.name, Held { revision, object: namespace });
            }
            Object::ServiceEntry(entry) => return self.put_service_entry(name, revision, *entry),
            Object::WorkloadEntry(entry) => return self.put_workload_entry(name, revision, *entry),
        }
        Ok(())
    }

    /// This object is gone.
    pub(crate) fn remove(&mut self, kind: Kind, name: &ObjectName) {
        self.accept(kind, &name.to_string());
        match kind {
            Kind::Service => self.remove_service(name),
            Kind::EndpointSlice => self.remove_slice(name),
            Kind::Pod => self.remove_pod(name),
            Kind::Node => self.remove_node(&name.name),
            Kind::Namespace => self.remove_namespace(&name.name),
            Kind::ServiceEntry => self.remove_service_entry(name),
            Kind::WorkloadEntry => self.remove_workload_entry(name),
        }
    }

    /// These are all objects of a kind; what is held beyond them is gone.
    pub(crate) fn relist(&mut self, kind: Kind, items: Vec<Item>) {
        let listed: BTreeSet<String> = items.iter().map(|item| item.name.to_string()).collect();
        for name in self.names(kind) {
            if !listed.contains(&name.to_string()) {
                self.remove(kind, &name);
            }
        }
        let rejected = self.rejected.keys().filter(|object| object.kind == kind.name());
        let gone: Vec<_> =
            rejected.filter(|object| !listed.contains(&*object.name)).cloned().collect();
        gone.iter().for_each(|object| self.accept(kind, &object.name));
        for item in items {
            self.apply(kind, item);
        }
    }

    fn names(&self, kind: Kind) -> Vec<ObjectName> {
        let bare = |name: &str| ObjectName::new("", name);
        match kind {
            Kind::Service => self.services.names().cloned().collect(),
            Kind::EndpointSlice => self.slices.names().cloned().collect(),
            Kind::Pod => self.pods.names().cloned().collect(),
            Kind::Node => self.nodes.keys().map(|name| bare(name.as_str())).collect(),
            Kind::Namespace => self.namespaces.keys().map(|name| bare(name.as_str())).collect(),
            Kind::ServiceEntry => self.entries.service_names().cloned().collect(),
            Kind::WorkloadEntry => self.entries.workload_names().cloned().collect(),
        }
    }

    /// This object, or (by the name `*`) this whole kind, cannot be understood.
    pub(crate) fn reject(&mut self, kind: Kind, name: &str, reason: String) {
        let object = ObjectRef { kind: kind.name(), name: Arc::from(name) };
        let rejected = Rejected { object: object.clone(), reason };
        if self.rejected.get(&object) != Some(&rejected) {
            self.touched.news.push(RegistryUpdate::Reject(rejected.clone()));
            self.rejected.insert(object, rejected);
        }
    }

    /// It can be understood, or is gone.
    pub(crate) fn accept(&mut self, kind: Kind, name: &str) {
        if self.rejected.is_empty() {
            return;
        }
        let object = ObjectRef { kind: kind.name(), name: Arc::from(name) };
        if self.rejected.remove(&object).is_some() {
            self.touched.news.push(RegistryUpdate::Accept(object));
        }
    }

    /// Whether the discovery selectors let the namespace in.
    fn is_selected(&self, namespace: &NamespaceName) -> bool {
        self.selectors.is_empty()
            || self.namespaces.get(namespace).is_some_and(|held| {
                self.selectors.iter().any(|selector| selector.matches(&held.object.labels))
            })
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
