//! Pods, held as the workloads that they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{Address, Labels, NamespaceName, NodeName, Workload};

use super::Store;
use super::index::Index;
use crate::convert;
use crate::names::ObjectName;
use crate::objects::Pod;

/// The Pods held, and by what they are found.
#[derive(Debug, Default)]
pub(super) struct Pods {
    held: BTreeMap<ObjectName, Entry>,
    on_node: Index<NodeName, ObjectName>,
    at_address: Index<(NamespaceName, IpAddr), ObjectName>,
}

#[derive(Debug)]
struct Entry {
    /// Shared with the snapshot, and in parts with every endpoint of the Pod.
    workload: Arc<Workload>,
    /// The Pod's own labels, without those of its place.
    labels: Labels,
}

impl Pods {
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.held.keys()
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        self.held.get(name).map(|entry| &entry.workload)
    }

    /// The Pod that alone has this address in its namespace. Those of the host's
    /// network share one: who is meant then cannot be told.
    pub(super) fn at(&self, namespace: &NamespaceName, address: IpAddr) -> Option<&Arc<Workload>> {
        match self.at_address.get(&(namespace.clone(), address)) {
            [only] => self.get(only),
            _ => None,
        }
    }

    /// Those of one namespace, in order.
    pub(super) fn of<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        let first = ObjectName::new(namespace.clone(), "");
        let all =
            self.held.range(first..).take_while(move |(name, _)| name.namespace == *namespace);
        all.map(|(_, entry)| &entry.workload)
    }
}

fn ips(workload: &Workload) -> Vec<IpAddr> {
    workload.addresses.iter().filter_map(Address::ip).collect()
}

/// Whether everything that endpoints take from a workload is the same.
fn same_for_endpoints(a: &Workload, b: &Workload) -> bool {
    let facts = |w: &Workload| {
        let place = (w.locality.clone(), w.network.clone(), w.node.clone());
        (w.labels.clone(), w.identity.clone(), w.tls_mode, w.weight, place)
    };
    facts(a) == facts(b) && a.addresses == b.addresses
}

impl Store {
    pub(super) fn put_pod(&mut self, name: &ObjectName, revision: &str, pod: &Pod) {
        let workload = convert::from_pod(&self.settings, name, revision, pod);
        self.hold_pod(name, workload, pod.labels.clone());
    }

    /// Places the workload and holds it in place of the one before.
    fn hold_pod(&mut self, name: &ObjectName, mut workload: Workload, labels: Labels) {
        let node = workload.node.as_ref().and_then(|node| self.nodes.get(node));
        convert::place(&mut workload, &labels, node, &self.network);
        self.touched.workloads.insert(name.clone());
        let old = self.unhold_pod(name);
        if let Some(node) = &workload.node {
            self.pods.on_node.insert(node.clone(), name.clone());
        }
        for ip in ips(&workload) {
            self.pods.at_address.insert((name.namespace.clone(), ip), name.clone());
        }
        let workload = Arc::new(workload);
        let entry = Entry { workload: workload.clone(), labels };
        self.pods.held.insert(name.clone(), entry);
        self.touch_pod(name, old.as_deref(), Some(&workload));
    }

    pub(super) fn remove_pod(&mut self, name: &ObjectName) {
        let Some(old) = self.unhold_pod(name) else { return };
        self.touched.workloads.insert(name.clone());
        self.touch_pod(name, Some(&old), None);
    }

    fn unhold_pod(&mut self, name: &ObjectName) -> Option<Arc<Workload>> {
        let Entry { workload, .. } = self.pods.held.remove(name)?;
        if let Some(node) = &workload.node {
            self.pods.on_node.remove(node, name);
        }
        for ip in ips(&workload) {
            self.pods.at_address.remove(&(name.namespace.clone(), ip), name);
        }
        Some(workload)
    }

    /// Touches what takes something from this Pod.
    fn touch_pod(&mut self, name: &ObjectName, old: Option<&Workload>, new: Option<&Workload>) {
        let both = old.zip(new);
        if !both.is_some_and(|(old, new)| same_for_endpoints(old, new)) {
            let addresses: Vec<_> = old.into_iter().chain(new).flat_map(ips).collect();
            self.touch_slices_of_pod(name, &addresses);
        }
        if !both.is_some_and(|(old, new)| old.same_content(new)) {
            for workload in old.into_iter().chain(new) {
                self.touch_entries_selecting(workload);
            }
        }
    }

    /// Places these Pods anew.
    fn replace_pods(&mut self, names: Vec<ObjectName>) {
        for name in names {
            if let Some(entry) = self.pods.held.get(&name) {
                let (workload, labels) = ((*entry.workload).clone(), entry.labels.clone());
                self.hold_pod(&name, workload, labels);
            }
        }
    }

    /// Places the Pods of a Node anew.
    pub(super) fn replace_pods_on(&mut self, node: &NodeName) {
        self.replace_pods(self.pods.on_node.get(node).to_vec());
    }

    /// Places all Pods anew.
    pub(super) fn replace_all_pods(&mut self) {
        self.replace_pods(self.pods.names().cloned().collect());
    }
}
