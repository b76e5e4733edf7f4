//! EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mainstem_model::{NamespaceName, NodeName, Origins};

use super::Store;
use super::index::Index;
use crate::api::Kind;
use crate::names::ObjectName;
use crate::objects::Slice;

/// The slices held, and by what they are found.
#[derive(Debug, Default)]
pub(super) struct Slices {
    held: BTreeMap<ObjectName, Entry>,
    of_service: Index<ObjectName, ObjectName>,
    /// By the Pods that they name, known or not.
    of_pod: Index<ObjectName, ObjectName>,
    /// By the addresses for which they name no Pod.
    of_address: Index<(NamespaceName, IpAddr), ObjectName>,
    /// By the Nodes of addresses for which they name no Pod.
    of_node: Index<NodeName, ObjectName>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slice: Slice,
    /// What all of its endpoints share.
    pub(super) origins: Origins,
}

impl Slices {
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.held.keys()
    }

    /// The slices of a Service, in order of name.
    pub(super) fn of<'a>(
        &'a self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.of_service.get(service).iter().filter_map(|name| self.held.get(name))
    }

    fn index(&mut self, name: &ObjectName, slice: &Slice, mut change: impl FnMut(Entrance<'_>)) {
        let within = |other: &std::sync::Arc<str>| ObjectName {
            namespace: name.namespace.clone(),
            name: other.clone(),
        };
        if let Some(service) = &slice.service {
            change(Entrance::Object(&mut self.of_service, within(service)));
        }
        for endpoint in &slice.endpoints {
            if let Some(pod) = &endpoint.pod {
                change(Entrance::Object(&mut self.of_pod, within(pod)));
                continue;
            }
            let address = (name.namespace.clone(), endpoint.address);
            change(Entrance::Address(&mut self.of_address, address));
            if let Some(node) = &endpoint.node {
                change(Entrance::Node(&mut self.of_node, node.clone()));
            }
        }
    }
}

/// One place where a slice is to be found.
enum Entrance<'a> {
    Object(&'a mut Index<ObjectName, ObjectName>, ObjectName),
    Address(&'a mut Index<(NamespaceName, IpAddr), ObjectName>, (NamespaceName, IpAddr)),
    Node(&'a mut Index<NodeName, ObjectName>, NodeName),
}

impl Entrance<'_> {
    fn open(self, name: &ObjectName) {
        match self {
            Self::Object(index, key) => index.insert(key, name.clone()),
            Self::Address(index, key) => index.insert(key, name.clone()),
            Self::Node(index, key) => index.insert(key, name.clone()),
        }
    }

    fn close(self, name: &ObjectName) {
        match self {
            Self::Object(index, key) => index.remove(&key, name),
            Self::Address(index, key) => index.remove(&key, name),
            Self::Node(index, key) => index.remove(&key, name),
        }
    }
}

impl Store {
    pub(super) fn put_slice(&mut self, name: &ObjectName, revision: &str, slice: Slice) {
        let origins = self.settings.origins(Kind::EndpointSlice.name(), name, revision);
        self.remove_slice(name);
        self.slices.index(name, &slice, |entrance| entrance.open(name));
        self.touch_slice(name, &slice);
        self.slices.held.insert(name.clone(), Entry { slice, origins });
    }

    pub(super) fn remove_slice(&mut self, name: &ObjectName) {
        let Some(Entry { slice, .. }) = self.slices.held.remove(name) else { return };
        self.slices.index(name, &slice, |entrance| entrance.close(name));
        self.touch_slice(name, &slice);
    }

    fn touch_slice(&mut self, name: &ObjectName, slice: &Slice) {
        let Some(service) = &slice.service else { return };
        self.touch_endpoints(&ObjectName {
            namespace: name.namespace.clone(),
            name: service.clone(),
        });
    }

    /// Touches the endpoints of a Service, if there is one.
    fn touch_endpoints(&mut self, service: &ObjectName) {
        if let Some(entry) = self.services.get(service) {
            self.touched.endpoints.insert(entry.key.clone());
        }
    }

    fn touch_slices(&mut self, names: &[ObjectName]) {
        for name in names {
            let service = self.slices.held.get(name).and_then(|entry| entry.slice.service.clone());
            if let Some(service) = service {
                let namespace = name.namespace.clone();
                self.touch_endpoints(&ObjectName { namespace, name: service });
            }
        }
    }

    /// Touches what names this Pod, or one of these addresses without a Pod.
    pub(super) fn touch_slices_of_pod(&mut self, pod: &ObjectName, addresses: &[IpAddr]) {
        let mut names = self.slices.of_pod.get(pod).to_vec();
        for address in addresses {
            let at = (pod.namespace.clone(), *address);
            names.extend_from_slice(self.slices.of_address.get(&at));
        }
        self.touch_slices(&names);
    }

    /// Touches what has addresses without a Pod on this Node.
    pub(super) fn touch_slices_on(&mut self, node: &NodeName) {
        let names = self.slices.of_node.get(node).to_vec();
        self.touch_slices(&names);
    }
}
