//! Nodes and Namespaces: where things are.

use mainstem_model::{NamespaceName, NodeName};

use super::{Held, Store};
use crate::objects::{Namespace, Node};

impl Store {
    pub(super) fn put_node(&mut self, name: &str, node: Node) {
        let name = NodeName::from(name);
        let old = self.nodes.get(&name);
        let moved = old.is_none_or(|old| old.locality != node.locality);
        if old.is_none_or(|old| old.external != node.external || old.labels != node.labels) {
            self.touch_node_ports();
        }
        self.nodes.insert(name.clone(), node);
        if moved {
            self.touch_node(&name);
        }
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        let name = NodeName::from(name);
        if self.nodes.remove(&name).is_some() {
            self.touch_node_ports();
            self.touch_node(&name);
        }
    }

    fn touch_node(&mut self, name: &NodeName) {
        self.replace_pods_on(name);
        self.touch_slices_on(name);
    }

    fn touch_node_ports(&mut self) {
        self.touched.gateways |= !self.services.gateways.is_empty();
    }

    pub(super) fn put_namespace(&mut self, name: &str, namespace: Held<Namespace>) {
        let name = NamespaceName::from(name);
        let old = self.namespaces.get(&name);
        let preferred = old.and_then(|old| old.object.distribution);
        let changed = preferred != namespace.object.distribution;
        let selected = self.is_selected(&name);
        self.namespaces.insert(name.clone(), namespace);
        self.namespace_changed(&name, changed || selected != self.is_selected(&name));
    }

    pub(super) fn remove_namespace(&mut self, name: &str) {
        let name = NamespaceName::from(name);
        let selected = self.is_selected(&name);
        let Some(old) = self.namespaces.remove(&name) else { return };
        let changed = old.object.distribution.is_some() || selected != self.is_selected(&name);
        self.namespace_changed(&name, changed);
    }

    fn namespace_changed(&mut self, name: &NamespaceName, for_its_objects: bool) {
        self.touched.namespaces.insert(name.clone());
        if for_its_objects {
            self.touch_namespace(name);
        }
        if *name == self.system_namespace {
            self.system_namespace_changed();
        }
    }

    /// Touches every value of what is in the namespace.
    fn touch_namespace(&mut self, name: &NamespaceName) {
        let services = self.services.of(name).map(|(_, entry)| entry.key.clone());
        let keys: Vec<_> = services.chain(self.entries.keys_of(name)).collect();
        self.touched.services.extend(keys.iter().cloned());
        self.touched.endpoints.extend(keys);
        // Services elsewhere list the external names of this namespace.
        let names: Vec<_> = self.services.of(name).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.touch_names(name));
        let pods = self.pods.names().filter(|pod| pod.namespace == *name);
        let entries = self.entries.workload_names().filter(|entry| entry.namespace == *name);
        self.touched.workloads.extend(pods.chain(entries).cloned());
        self.touched.gateways = true;
    }

    /// The system namespace names the network where the configuration does not.
    fn system_namespace_changed(&mut self) {
        let held = self.namespaces.get(&self.system_namespace);
        let named = held.and_then(|held| held.object.network());
        let network = match self.configured_network.is_empty() {
            true => named.unwrap_or_default(),
            false => self.configured_network.clone(),
        };
        if network == self.network {
            return;
        }
        self.network = network;
        self.replace_all_pods();
        self.replace_all_entries();
        let all = self.services.iter().map(|(_, entry)| entry.key.clone());
        self.touched.endpoints.extend(all);
    }
}
