//! Endpoints from EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, Health, Labels, NetworkId, NodeName, Origins, Place, PortName, SharedPlace,
    Workload,
};

use super::{Settings, augmented};
use crate::objects::{Condition, Node, Service, Slice, SliceEndpoint};

/// What else is known in the slices' namespace.
pub(crate) struct Surroundings<'a> {
    /// The Pod of a name.
    pub(crate) pod: &'a dyn Fn(&str) -> Option<&'a Arc<Workload>>,
    /// The only Pod at an address.
    pub(crate) pod_at: &'a dyn Fn(IpAddr) -> Option<&'a Arc<Workload>>,
    /// A Node.
    pub(crate) node: &'a dyn Fn(&NodeName) -> Option<&'a Node>,
    /// The network of addresses that say nothing of it.
    pub(crate) network: &'a NetworkId,
}

/// The endpoints that a Service's slices say it has.
///
/// - An endpoint that names a Pod is withheld until the Pod is known; one that
///   names none is taken for the Pod that alone has its address, if one does.
/// - Ready ones are healthy; not-ready ones only where the Service publishes
///   them. On its way out an endpoint is draining while it serves and the Service
///   has persistent sessions, and otherwise left out.
/// - Of several with the same port and address, as while slices are rearranged, a
///   healthy one wins, then the first slice.
/// - The IPv4 and the IPv6 address of one Pod are one endpoint.
pub(crate) fn from_slices<'s>(
    settings: &'s Settings,
    service: &Service,
    slices: impl Iterator<Item = (&'s Origins, &'s Slice)>,
    around: &Surroundings<'s>,
) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for (origins, slice) in slices {
        let ports: Vec<_> =
            slice.ports.iter().filter_map(|port| service_port(service, port)).collect();
        for found in &slice.endpoints {
            let Some(health) = health(service, found.condition) else { continue };
            let Some(place) = Host::of(settings, found, around) else { continue };
            let at = |&(port, name, target): &(u16, &PortName, u16)| {
                place.endpoint(found.address, (port, name, target), health, origins)
            };
            all.extend(ports.iter().map(at));
        }
    }
    join_families(without_doubles(all), service.prefers_ipv6)
}

/// Number and name of the Service's port that a slice's port belongs to, and the
/// target port.
fn service_port<'s>(
    service: &'s Service,
    (name, target): &(PortName, u16),
) -> Option<(u16, &'s PortName, u16)> {
    let port = service.ports.iter().find(|port| port.name == *name)?;
    Some((port.number, &port.name, *target))
}

fn health(service: &Service, condition: Condition) -> Option<Health> {
    match condition {
        Condition::Ready => Some(Health::Healthy),
        Condition::NotReady => service.publish_not_ready.then_some(Health::Healthy),
        Condition::Draining => service.persistent_session.as_ref().map(|_| Health::Draining),
        Condition::Terminating => None,
    }
}

/// What an endpoint has from where it runs.
enum Host<'a> {
    Pod(&'a Workload),
    Elsewhere { place: SharedPlace, labels: Labels },
}

impl<'a> Host<'a> {
    fn of(
        settings: &'a Settings,
        found: &SliceEndpoint,
        around: &Surroundings<'a>,
    ) -> Option<Self> {
        let pod = match &found.pod {
            Some(name) => Some((around.pod)(name)?),
            None => (around.pod_at)(found.address),
        };
        if let Some(workload) = pod {
            return Some(Self::Pod(workload));
        }
        let node = found.node.clone();
        let known = node.as_ref().and_then(|name| (around.node)(name));
        let locality = known.map(|node| node.locality.clone()).unwrap_or_default();
        let network = around.network;
        let own = Labels::default();
        let labels = augmented(&own, &settings.cluster, network, &locality, node.as_ref());
        let place =
            Place { cluster: settings.cluster.clone(), network: network.clone(), locality, node };
        Some(Self::Elsewhere { place: place.into(), labels })
    }

    fn endpoint(
        &self,
        address: IpAddr,
        (port, port_name, target_port): (u16, &PortName, u16),
        health: Health,
        origins: &Origins,
    ) -> Endpoint {
        let bare = Endpoint {
            port_name: port_name.clone(),
            health,
            ..Endpoint::new(port, Address::Ip(address), target_port, origins.clone())
        };
        match self {
            Self::Pod(workload) => Endpoint {
                tls_mode: workload.tls_mode,
                place: workload.place(),
                workload: Some(workload.key.clone()),
                identity: workload.identity.clone(),
                labels: workload.labels.clone(),
                ..bare
            },
            Self::Elsewhere { place, labels } => {
                Endpoint { place: place.clone(), labels: labels.clone(), ..bare }
            }
        }
    }
}

fn without_doubles(mut all: Vec<Endpoint>) -> Vec<Endpoint> {
    // Stable, so that the order of slices decides between equals.
    all.sort_by(|a, b| (a.port, &a.address, a.health).cmp(&(b.port, &b.address, b.health)));
    all.dedup_by(|later, first| (later.port, &later.address) == (first.port, &first.address));
    all
}

fn is_ipv6(endpoint: &Endpoint) -> bool {
    endpoint.address.ip().is_some_and(|ip| ip.is_ipv6())
}

fn join_families(all: Vec<Endpoint>, prefers_ipv6: bool) -> Vec<Endpoint> {
    if all.iter().all(is_ipv6) || !all.iter().any(is_ipv6) {
        return all;
    }
    let mut joined: Vec<Endpoint> = Vec::with_capacity(all.len());
    let mut first_of = BTreeMap::new();
    let (preferred, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|endpoint| is_ipv6(endpoint) == prefers_ipv6);
    for endpoint in preferred {
        if let Some(workload) = endpoint.workload.clone() {
            let key = (endpoint.port, endpoint.target_port, endpoint.health, workload);
            first_of.entry(key).or_insert(joined.len());
        }
        joined.push(endpoint);
    }
    for endpoint in others {
        let workload = endpoint.workload.clone();
        let key = workload.map(|key| (endpoint.port, endpoint.target_port, endpoint.health, key));
        match key.and_then(|key| first_of.get(&key).copied()) {
            Some(first) => {
                let more = &mut joined[first].more_addresses;
                let mut addresses = more.as_deref().cloned().unwrap_or_default();
                addresses.push(endpoint.address);
                *more = Some(Arc::new(addresses));
            }
            None => joined.push(endpoint),
        }
    }
    joined
}
