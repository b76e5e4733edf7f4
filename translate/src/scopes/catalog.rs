//! What a client sees, by port, address and name: what listeners and routes
//! are built from.
//!
//! ```text
//!  chosen services ─▶ ports      which are routed by requests, which share a wildcard listener
//!                  ─▶ addresses  which listen on an address of their own
//!                  ─▶ names      aliases and short names, and who owns which domain
//! ```

mod clashes;
mod exposure;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{ClusterId, Hostname, NamespaceName, Port, Service, Snapshot};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

pub(crate) use exposure::Exposure;

use super::domain::SearchDomain;
use crate::visible;

/// What of a client its listeners and routes depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CatalogKey {
    pub namespace: NamespaceName,
    /// A service's addresses are those of the client's own cluster, if there are any.
    pub cluster: ClusterId,
    pub domain: Option<SearchDomain>,
    pub reception: Reception,
}

/// How a client's calls come to be directed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reception {
    /// By interception: they still know where they were going.
    Intercepted,
    /// By listeners that bind this address.
    Bound(IpAddr),
    /// By the client itself, which asks for what it calls by name (gRPC).
    Proxyless,
}

impl CatalogKey {
    /// Where listeners bind, if nothing is intercepted.
    pub(crate) fn bound(&self) -> Option<IpAddr> {
        match self.reception {
            Reception::Bound(ip) => Some(ip),
            Reception::Intercepted | Reception::Proxyless => None,
        }
    }
}

/// A host name, and whether its address is that of another cluster only.
/// In order of who has an address that several claim.
type Holder = (bool, Hostname);

/// The services on one port that share something.
#[derive(Debug, Default)]
struct OnPort {
    /// Routed by request, by the route configuration of the port.
    routed: BTreeSet<Hostname>,
    /// With filter chains in the port's wildcard listener.
    wild: BTreeSet<Hostname>,
}

/// The service that a host name means, before and after.
#[derive(Debug)]
pub(crate) struct Redefined {
    pub before: Option<Arc<Service>>,
    pub after: Option<Arc<Service>>,
}

/// What changed in the last update.
#[derive(Debug, Default)]
pub(crate) struct CatalogChange {
    /// The services of host names that mean another one now.
    pub services: Vec<Redefined>,
    /// The host names whose domains may be others now.
    pub domains: BTreeSet<Hostname>,
}

/// The index of what a client sees.
#[derive(Debug)]
pub(crate) struct Catalog {
    key: CatalogKey,
    services: BTreeMap<Hostname, Arc<Service>>,
    ports: BTreeMap<u16, OnPort>,
    /// Sorted. Nearly all have one holder.
    addresses: BTreeMap<IpAddr, SmallVec<[Holder; 1]>>,
    /// By what they stand for: alias services, and other names of services.
    aliases: FxHashMap<Hostname, BTreeSet<Hostname>>,
    /// Services by the other names that they have.
    other_names: FxHashMap<Hostname, BTreeSet<Hostname>>,
    change: CatalogChange,
}

impl Catalog {
    /// What a client sees in a snapshot.
    pub(crate) fn new(key: CatalogKey, services: &[Arc<Service>]) -> Self {
        let mut catalog = Self {
            key,
            services: BTreeMap::new(),
            ports: BTreeMap::new(),
            addresses: BTreeMap::new(),
            aliases: FxHashMap::default(),
            other_names: FxHashMap::default(),
            change: CatalogChange::default(),
        };
        for service in services {
            catalog.list(service.clone());
        }
        catalog.compact();
        catalog
    }

    /// Gives room back: a tree that grew in order is half empty, one that is made at
    /// once is full.
    fn compact(&mut self) {
        fn full<T: Default + IntoIterator + FromIterator<T::Item>>(tree: &mut T) {
            *tree = std::mem::take(tree).into_iter().collect();
        }
        full(&mut self.services);
        full(&mut self.addresses);
        for on in self.ports.values_mut() {
            full(&mut on.routed);
            full(&mut on.wild);
        }
    }

    pub(crate) fn key(&self) -> &CatalogKey {
        &self.key
    }

    /// Brings it up to a snapshot in which `hosts` may mean other services.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, hosts: &[Hostname]) {
        let mut change = CatalogChange::default();
        for host in hosts {
            let before = self.services.get(host).cloned();
            let after = visible::chosen(snapshot, &self.key.namespace, host).cloned();
            if before.is_some() || after.is_some() {
                change.domains.extend(self.related(host));
                change.services.push(Redefined { before, after });
            }
        }
        for Redefined { before, after } in &change.services {
            if let Some(before) = before {
                self.unlist(before);
            }
            if let Some(after) = after {
                self.list(after.clone());
            }
        }
        for Redefined { before, after } in &change.services {
            if let Some(service) = before.as_ref().or(after.as_ref()) {
                change.domains.extend(self.related(service.hostname()));
            }
        }
        self.change = change;
    }

    /// What the last update changed.
    pub(crate) fn change(&self) -> &CatalogChange {
        &self.change
    }

    pub(crate) fn service(&self, host: &Hostname) -> Option<&Arc<Service>> {
        self.services.get(host)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The ports with a route configuration, a wildcard listener or both.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }

    /// The host names in the route configuration of a port, in order.
    pub(crate) fn routed(&self, port: u16) -> impl Iterator<Item = &Hostname> {
        self.ports.get(&port).into_iter().flat_map(|on| on.routed.iter())
    }

    /// The services with filter chains in the wildcard listener of a port, in order.
    pub(crate) fn wild(&self, port: u16) -> Vec<(&Service, &Port)> {
        let hosts = self.ports.get(&port).into_iter().flat_map(|on| on.wild.iter());
        hosts.filter_map(|host| self.service_port(host, port)).collect()
    }

    /// The services that listen on an address, in order of who has it.
    pub(crate) fn at(&self, ip: IpAddr, port: u16) -> Vec<(&Service, &Port)> {
        let holders = self.addresses.get(&ip).into_iter().flatten();
        let services = holders.filter_map(|(_, host)| self.service_port(host, port));
        services.filter(|(service, port)| self.exposure(service, port).own.contains(&ip)).collect()
    }

    /// How a port of a service is exposed to the client.
    pub(crate) fn exposure(&self, service: &Service, port: &Port) -> Exposure {
        Exposure::of(service, port, &self.key)
    }

    fn service_port(&self, host: &Hostname, port: u16) -> Option<(&Service, &Port)> {
        let service = self.services.get(host)?;
        Some((service, service.port(port)?))
    }

    fn list(&mut self, service: Arc<Service>) {
        let host = service.hostname().clone();
        for port in &service.ports {
            let exposure = self.exposure(&service, port);
            if exposure.routed || exposure.wild {
                let on = self.ports.entry(port.number).or_default();
                if exposure.routed {
                    on.routed.insert(host.clone());
                }
                if exposure.wild {
                    on.wild.insert(host.clone());
                }
            }
        }
        for (ip, holder) in self.holdings(&service) {
            let holders = self.addresses.entry(ip).or_default();
            if let Err(at) = holders.binary_search(&holder) {
                holders.insert(at, holder);
            }
        }
        self.list_names(&service);
        self.services.insert(host, service);
    }

    fn unlist(&mut self, service: &Service) {
        let host = service.hostname();
        for port in &service.ports {
            if let Some(on) = self.ports.get_mut(&port.number) {
                on.routed.remove(host);
                on.wild.remove(host);
                if on.routed.is_empty() && on.wild.is_empty() {
                    self.ports.remove(&port.number);
                }
            }
        }
        for (ip, holder) in self.holdings(service) {
            if let Some(holders) = self.addresses.get_mut(&ip) {
                holders.retain(|other| *other != holder);
                if holders.is_empty() {
                    self.addresses.remove(&ip);
                }
            }
        }
        self.unlist_names(service);
        self.services.remove(host);
    }

    /// The addresses of a service, and its place among others who have them.
    fn holdings(&self, service: &Service) -> Vec<(IpAddr, Holder)> {
        let own = service.addresses.get(&self.key.cluster).is_some_and(|all| !all.is_empty());
        let addresses = exposure::addresses(service, &self.key.cluster);
        let holder = || (!own, service.hostname().clone());
        addresses.into_iter().map(|ip| (ip, holder())).collect()
    }
}
