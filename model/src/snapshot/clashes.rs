//! Where two services claim what a client can give to one of them only: an
//! address and port to listen on, a port without an address, or a name.
//!
//! ```text
//! Draft ─ claims of each definition ─▶ Claims ─ several at one? ─▶ who has it before whom ─▶ Conflict
//! ```
//!
//! Found when asked for, as collisions of workloads are. Who sees only one of the
//! two has no conflict, so visibility decides; and the winner is the one that
//! comes first in what proxies are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Snapshot;
use super::few::{Few, Listing};
use crate::{
    ClusterId, Conflict, ConflictKind, Hostname, NamespaceName, Port, Protocol, RegistryId,
    Resolution, Service, ServiceKey, Shards,
};

/// How many aliases of aliases are followed.
const LONGEST_CHAIN: usize = 16;

/// A place that clients reach a service port by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    /// An address of its own.
    Address(IpAddr, u16),
    /// A range of addresses.
    Range(IpNet, u16),
}

/// What services claim. Derived, and kept by the draft.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    places: Listing<Place, ServiceKey>,
    /// Ports of services without any address, by which only the first is reached
    /// with what has neither a host name nor a server name to tell.
    bare: Shards<u16, Shards<ServiceKey, ()>>,
}

impl Claims {
    /// Replaces what a service claims.
    pub(super) fn change(&mut self, before: Option<&Service>, after: Option<&Service>) {
        let Some(key) = before.or(after).map(|service| &service.key) else { return };
        let (old, new) = (before.map(places), after.map(places));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        old.difference(&new).for_each(|place| self.places.unlist(place, key));
        new.difference(&old).for_each(|place| self.places.list(*place, key));
        let (old, new) = (before.map(bare_ports), after.map(bare_ports));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        for port in old.symmetric_difference(&new) {
            let mut keys = self.bare.get(port).cloned().unwrap_or_default();
            if new.contains(port) {
                keys.insert(key.clone(), ());
            } else {
                keys.remove(key);
            }
            match keys.is_empty() {
                true => drop(self.bare.remove(port)),
                false => drop(self.bare.insert(*port, keys)),
            }
        }
    }
}

/// The ports that connections are made to; an alias has none of its own, and UDP
/// is not proxied.
fn ports(service: &Service) -> impl Iterator<Item = &Port> {
    let alias = service.resolution == Resolution::Alias;
    service.ports.iter().filter(move |port| !alias && port.protocol != Protocol::Udp)
}

fn places(service: &Service) -> BTreeSet<Place> {
    let of_port = |port: &Port| {
        let number = port.number;
        let all = service.addresses.values().flatten().filter(|ip| !ip.is_unspecified());
        let addresses = all.map(move |ip| Place::Address(*ip, number));
        let ranges = service.prefixes.iter().map(move |net| Place::Range(net.trunc(), number));
        addresses.chain(ranges).collect::<Vec<_>>()
    };
    ports(service).flat_map(of_port).collect()
}

/// Ports on which nothing tells this service from others: it has no address, and
/// a client says neither a host name (HTTP) nor a server name (TLS).
fn bare_ports(service: &Service) -> BTreeSet<u16> {
    let addressed = service.addresses.values().flatten().any(|ip| !ip.is_unspecified());
    if addressed || !service.prefixes.is_empty() {
        return BTreeSet::new();
    }
    let untold = |port: &&Port| !port.protocol.is_http() && !port.protocol.is_tls();
    ports(service).filter(untold).map(|port| port.number).collect()
}

/// A service that loses something to another one.
type Loss<'a> = (&'a Service, &'a Service);

impl Snapshot {
    /// Where a service does not get what it claims, since another one has it for
    /// clients that see both; in no order.
    pub fn clashes(&self) -> Vec<Conflict> {
        let mut all = self.clashing_places();
        all.extend(self.clashing_ports());
        all.extend(self.clashing_names());
        all
    }

    fn clashing_places(&self) -> Vec<Conflict> {
        let shared = self.index.claims.places.iter().filter(|(_, keys)| keys.iter().len() > 1);
        let mut found = BTreeSet::new();
        for (place, keys) in shared {
            let services = self.known(keys);
            for cluster in clusters(&services) {
                found.extend(at(*place, cluster, &services));
            }
        }
        found.into_iter().collect()
    }

    fn clashing_ports(&self) -> Vec<Conflict> {
        let shared = self.index.claims.bare.iter().filter(|(_, keys)| keys.len() > 1);
        let conflicts = shared.flat_map(|(number, keys)| {
            let mut services: Vec<_> =
                keys.keys().filter_map(|key| self.service(key)).map(|s| &**s).collect();
            services.sort_by_key(|service| &service.key);
            let lost = losses(&services, visible).into_iter().filter(|(winner, loser)| {
                opaque(loser, *number) && !(unmoved(winner) && unmoved(loser))
            });
            lost.filter_map(|loss| {
                let what = format!("opaque traffic to port {number}, for want of an address,");
                conflict(ConflictKind::ServicePort, loss, &what)
            })
            .collect::<Vec<_>>()
        });
        conflicts.collect()
    }

    fn clashing_names(&self) -> Vec<Conflict> {
        let shared = self.index.by_hostname.iter().filter(|(_, keys)| keys.iter().len() > 1);
        let conflicts = shared.flat_map(|(name, keys)| {
            let mut meant: Vec<_> =
                self.known(keys).into_iter().filter_map(|s| self.meaning(s)).collect();
            meant.sort_by_key(|service| preference(service, name));
            meant.dedup_by_key(|service| &service.key);
            let lost = losses(&meant, elsewhere);
            let what = format!("the name {name}");
            lost.into_iter()
                .filter_map(|loss| conflict(ConflictKind::ServiceName, loss, &what))
                .collect::<Vec<_>>()
        });
        conflicts.collect()
    }

    fn known(&self, keys: &Few<ServiceKey>) -> Vec<&Service> {
        keys.iter().filter_map(|key| self.service(key)).map(|service| &**service).collect()
    }

    /// What an alias stands for, through any number of aliases.
    fn meaning<'a>(&'a self, service: &'a Service) -> Option<&'a Service> {
        let mut meant = service;
        for _ in 0..LONGEST_CHAIN {
            match (meant.resolution, &meant.alias_of) {
                (Resolution::Alias, Some(next)) => {
                    let key = self.keys_of(next).next()?;
                    meant = self.service(key)?;
                }
                _ => return Some(meant),
            }
        }
        None
    }
}

/// All clusters in which one of the services has an address; a client of another
/// cluster sees what clients of these see.
fn clusters<'a>(services: &[&'a Service]) -> BTreeSet<&'a ClusterId> {
    services.iter().flat_map(|service| service.addresses.keys()).collect()
}

/// Who loses a place to whom, for clients in `cluster`: those that have it there
/// come before those that have it elsewhere.
fn at(place: Place, cluster: &ClusterId, services: &[&Service]) -> Vec<Conflict> {
    let here = |service: &&Service| match place {
        Place::Address(ip, _) => service.addresses_in(cluster).contains(&ip),
        Place::Range(..) => true,
    };
    let foreign = |service: &Service| service.addresses.get(cluster).is_none_or(<[_]>::is_empty);
    let mut holders: Vec<&Service> = services.iter().copied().filter(here).collect();
    holders.sort_by_key(|service| (foreign(service), &service.key));
    let (what, number) = match place {
        Place::Address(ip, port) => (format!("{ip} port {port} in cluster {cluster}"), port),
        Place::Range(net, port) => (format!("{net} port {port}"), port),
    };
    let tls = |s: &Service| s.port(number).is_some_and(|port| port.protocol.is_tls());
    // Server names tell those that speak TLS apart.
    let lost = losses(&holders, visible).into_iter().filter(|(winner, loser)| {
        // Nobody calls a service of another cluster by its address there, where
        // its host name leads to it.
        let by_name = foreign(loser) && loser.port(number).is_some_and(|p| p.protocol.is_http());
        let by_server_name = tls(winner) && tls(loser);
        !by_name && !by_server_name
    });
    lost.filter_map(|loss| conflict(ConflictKind::ServiceAddress, loss, &what)).collect()
}

/// The declared protocol says that nothing tells what is spoken apart. A service
/// that declares none is told by host name as far as it speaks HTTP.
fn opaque(service: &Service, port: u16) -> bool {
    service.port(port).is_some_and(|port| port.protocol != Protocol::Unspecified)
}

/// Its connections go where the client wanted, whoever they are counted for.
fn unmoved(service: &Service) -> bool {
    service.resolution == Resolution::Passthrough
}

/// In the order in which clients elsewhere choose among services that have a
/// name: whose own it is first, then as among those of one host name.
fn preference<'a>(
    service: &'a Service,
    name: &Hostname,
) -> (bool, &'a Hostname, bool, &'a NamespaceName) {
    let kubernetes = registry(service).is_some_and(|id| id.provider() == "kubernetes");
    (service.hostname() != name, service.hostname(), !kubernetes, service.namespace())
}

/// The namespaces that see the service; `None` if all do.
fn visible(service: &Service) -> Option<BTreeSet<&NamespaceName>> {
    service.visibility.namespaces().map(|names| names.iter().collect())
}

/// The same without its own, where it comes before all others of its name.
fn elsewhere(service: &Service) -> Option<BTreeSet<&NamespaceName>> {
    let mut names = visible(service)?;
    names.remove(service.namespace());
    Some(names)
}

/// Of services in order, those that some client does not get since it sees an
/// earlier one too, each with the first such.
fn losses<'a>(
    services: &[&'a Service],
    seen_by: impl Fn(&'a Service) -> Option<BTreeSet<&'a NamespaceName>>,
) -> Vec<Loss<'a>> {
    // The places in order of those who are first for all, and for some.
    let mut public: Option<usize> = None;
    let mut restricted: BTreeMap<&NamespaceName, usize> = BTreeMap::new();
    let mut lost = Vec::new();
    for (place, service) in services.iter().copied().enumerate() {
        let before = match seen_by(service) {
            None => {
                let first = public.into_iter().chain(restricted.values().copied()).min();
                public.get_or_insert(place);
                first
            }
            Some(names) if names.is_empty() => None,
            Some(names) => {
                let others = names.iter().filter_map(|name| restricted.get(name).copied());
                let first = public.into_iter().chain(others).min();
                for name in names {
                    restricted.entry(name).or_insert(place);
                }
                first
            }
        };
        lost.extend(before.map(|before| (services[before], service)));
    }
    lost
}

fn registry(service: &Service) -> Option<&RegistryId> {
    service.origins.first().map(|sourced| &sourced.origin.registry)
}

fn conflict(kind: ConflictKind, (winner, loser): Loss<'_>, what: &str) -> Option<Conflict> {
    Conflict::between(kind, winner, loser, what)
}

#[cfg(test)]
mod tests;
