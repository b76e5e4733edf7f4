//! Connected proxies, and which of them a change may move.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use mainstem_model::{Address, EndpointSet, NamespaceName, Proxy, Service, Snapshot, WorkloadKey};
use rustc_hash::FxHashMap;

use super::placement::Placement;
use super::recipe::Changes;
use super::{Attached, ProxyId};

/// A connected proxy.
#[derive(Debug)]
pub(super) struct Member {
    pub proxy: Arc<Proxy>,
    pub attached: Weak<Attached>,
    pub placement: Placement,
    /// The namespace of its workload, whose services may select it.
    namespace: NamespaceName,
}

type Index<K> = FxHashMap<K, BTreeSet<ProxyId>>;

/// All connected proxies.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: FxHashMap<ProxyId, Member>,
    by_workload: Index<WorkloadKey>,
    by_namespace: Index<NamespaceName>,
    by_address: Index<IpAddr>,
}

impl Members {
    pub(super) fn insert(
        &mut self,
        id: ProxyId,
        proxy: Arc<Proxy>,
        attached: Weak<Attached>,
        placement: Placement,
        snapshot: &Snapshot,
    ) {
        let namespace = namespace_of(&proxy, snapshot);
        self.by_workload.entry(workload_key(&proxy)).or_default().insert(id);
        self.by_namespace.entry(namespace.clone()).or_default().insert(id);
        for ip in &proxy.addresses {
            self.by_address.entry(*ip).or_default().insert(id);
        }
        self.all.insert(id, Member { proxy, attached, placement, namespace });
    }

    pub(super) fn remove(&mut self, id: ProxyId) -> Option<Member> {
        let member = self.all.remove(&id)?;
        unlist(&mut self.by_workload, &workload_key(&member.proxy), id);
        unlist(&mut self.by_namespace, &member.namespace, id);
        for ip in &member.proxy.addresses {
            unlist(&mut self.by_address, ip, id);
        }
        Some(member)
    }

    pub(super) fn get(&self, id: ProxyId) -> Option<&Member> {
        self.all.get(&id)
    }

    pub(super) fn ids(&self) -> BTreeSet<ProxyId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Puts a proxy into other scopes.
    pub(super) fn moved(&mut self, id: ProxyId, placement: Placement, snapshot: &Snapshot) {
        let Some(member) = self.all.get_mut(&id) else { return };
        member.placement = placement;
        let namespace = namespace_of(&member.proxy, snapshot);
        if namespace != member.namespace {
            let before = std::mem::replace(&mut member.namespace, namespace.clone());
            unlist(&mut self.by_namespace, &before, id);
            self.by_namespace.entry(namespace).or_default().insert(id);
        }
    }

    /// The proxies whose own workload, or whose services, may be others now.
    pub(super) fn affected(&self, changes: &Changes<'_>, after: &Snapshot) -> BTreeSet<ProxyId> {
        let mut found = BTreeSet::new();
        let snapshots = [changes.before, after];
        for key in &changes.set.workloads {
            self.add(&mut found, self.by_workload.get(key));
            for workload in snapshots.iter().filter_map(|snapshot| snapshot.workload(key)) {
                self.add_addresses(&mut found, workload.addresses.iter());
            }
        }
        for key in &changes.set.services {
            let services = snapshots.iter().filter_map(|snapshot| snapshot.service(key));
            if services.into_iter().any(|service: &Arc<Service>| !service.selector.is_empty()) {
                self.add(&mut found, self.by_namespace.get(key.namespace()));
            }
        }
        for key in changes.set.services.union(&changes.set.endpoints) {
            for set in snapshots.iter().filter_map(|snapshot| snapshot.endpoints(key)) {
                self.add_addresses(&mut found, registered(set));
            }
        }
        found
    }

    /// The proxies that say to be in these namespaces.
    pub(super) fn claiming(&self, namespaces: &BTreeSet<NamespaceName>) -> Vec<ProxyId> {
        if namespaces.is_empty() {
            return Vec::new();
        }
        let members = self.all.iter();
        let claiming = members.filter(|(_, member)| namespaces.contains(&member.proxy.namespace));
        claiming.map(|(id, _)| *id).collect()
    }

    fn add(&self, found: &mut BTreeSet<ProxyId>, ids: Option<&BTreeSet<ProxyId>>) {
        found.extend(ids.into_iter().flatten());
    }

    fn add_addresses<'a>(
        &self,
        found: &mut BTreeSet<ProxyId>,
        addresses: impl Iterator<Item = &'a Address>,
    ) {
        for ip in addresses.filter_map(Address::ip) {
            self.add(found, self.by_address.get(&ip));
        }
    }
}

/// The addresses at which a service is registered without a workload.
fn registered(set: &EndpointSet) -> impl Iterator<Item = &Address> {
    let own = set.endpoints().iter().filter(|endpoint| endpoint.workload.is_none());
    own.flat_map(|endpoint| endpoint.addresses())
}

fn workload_key(proxy: &Proxy) -> WorkloadKey {
    WorkloadKey::new(proxy.cluster.clone(), proxy.namespace.clone(), &proxy.name)
}

fn namespace_of(proxy: &Proxy, snapshot: &Snapshot) -> NamespaceName {
    let workload = snapshot.workload_of(proxy);
    workload.map_or(&proxy.namespace, |workload| workload.key.namespace()).clone()
}

fn unlist<K: Hash + Eq>(index: &mut Index<K>, key: &K, id: ProxyId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
