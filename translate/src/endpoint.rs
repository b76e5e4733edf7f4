//! Load assignments: a service port's endpoints as one client gets them.
//!
//! ```text
//!  EndpointSet ─ select ─▶ reachable endpoints ─ network ─▶ members ─ arrange ─▶ groups ─ encode ─▶ bytes
//!               port, node, address              gateways            priority,
//!               kind                             stand in            locality, weight
//! ```

mod arrange;
mod encode;
mod network;
mod view;

use bytes::Bytes;
use mainstem_model::{Address, Endpoint, EndpointSet, Health, Port, Resolution, Service};

pub(crate) use network::Gateways;
pub(crate) use view::{Audience, EndpointView, Needs, Place};

use crate::carriage::Omission;
use crate::{grpc, names};

/// The load assignment of a service port that is served by EDS.
///
/// Endpoints that have to be resolved first are left out: EDS carries none.
pub(crate) fn load_assignment(
    service: &Service,
    port: &Port,
    endpoints: Option<&EndpointSet>,
    view: &EndpointView,
    gateways: &Gateways,
) -> Bytes {
    let of_port = endpoints.map_or(&[][..], |set| set.of_port(port.number));
    let reachable = of_port.iter().filter(|endpoint| {
        on_node(service, endpoint, view)
            && in_cluster(service, endpoint, view)
            && is_assignable(endpoint, view.audience)
    });
    let members = network::members(reachable, view, gateways);
    encoded(service, port, &arrange::groups(service, members, view), view)
}

/// The load assignment that stands inside a cluster whose names the proxy resolves.
///
/// Unix sockets and wildcard names are left out: neither can be resolved. With
/// `only_first`, one endpoint is left: the first by priority, locality and address.
pub(crate) fn inlined(
    service: &Service,
    port: &Port,
    endpoints: Option<&EndpointSet>,
    view: &EndpointView,
    gateways: &Gateways,
    only_first: bool,
) -> Bytes {
    let of_port = endpoints.map_or(&[][..], |set| set.of_port(port.number));
    let resolvable = of_port.iter().filter(|endpoint| is_resolvable(endpoint));
    let resolvable = resolvable.filter(|endpoint| is_of_use(endpoint, view.audience));
    let members = network::members(resolvable, view, gateways);
    let mut groups = arrange::groups(service, members, view);
    if only_first {
        groups.truncate(1);
        groups.iter_mut().for_each(arrange::Group::keep_first);
    }
    encoded(service, port, &groups, view)
}

fn encoded(
    service: &Service,
    port: &Port,
    groups: &[arrange::Group<'_>],
    view: &EndpointView,
) -> Bytes {
    let name = names::outbound(port.number, service.hostname());
    encode::load_assignment(&name, groups, view.audience)
}

/// Whether a load assignment has the endpoint, networks aside; the first rule that
/// leaves it out.
pub(crate) fn admits(
    service: &Service,
    endpoint: &Endpoint,
    view: &EndpointView,
    eds: bool,
) -> Result<(), Omission> {
    let audience = view.audience;
    match () {
        () if eds && !on_node(service, endpoint, view) => Err(Omission::OtherNode),
        () if eds && !in_cluster(service, endpoint, view) => Err(Omission::OtherCluster),
        () if !is_of_use(endpoint, audience) => Err(Omission::Useless(endpoint.health)),
        () if eds && !is_assignable(endpoint, audience) => Err(Omission::Unresolved),
        () if !eds && !is_resolvable(endpoint) => Err(Omission::Unresolved),
        () => Ok(()),
    }
}

/// Whether an endpoint can stand in a load assignment inside a cluster.
fn is_resolvable(endpoint: &Endpoint) -> bool {
    match &endpoint.address {
        Address::Ip(_) => true,
        Address::Host(host) => !host.is_wildcard(),
        Address::Unix(_) => false,
    }
}

/// Whether an endpoint can stand in a load assignment that travels by EDS.
fn is_assignable(endpoint: &Endpoint, audience: Audience) -> bool {
    let readable = match endpoint.address {
        Address::Ip(_) => true,
        Address::Unix(_) => audience != Audience::Grpc,
        Address::Host(_) => false,
    };
    readable && is_of_use(endpoint, audience)
}

/// Envoy is told of endpoints that take no traffic; gRPC would only leave them out.
fn is_of_use(endpoint: &Endpoint, audience: Audience) -> bool {
    audience != Audience::Grpc || matches!(endpoint.health, Health::Healthy | Health::Degraded)
}

/// Whether a client on the view's node may use the endpoint.
fn on_node(service: &Service, endpoint: &Endpoint, view: &EndpointView) -> bool {
    !service.node_local || endpoint.place.node.is_some() && endpoint.place.node == view.node
}

/// Whether a client of the view's cluster may use the endpoint.
fn in_cluster(service: &Service, endpoint: &Endpoint, view: &EndpointView) -> bool {
    !service.cluster_local || view.cluster.as_ref() == Some(&endpoint.place.cluster)
}

/// How clients find the service's endpoints in fact: a client-side service all
/// of whose endpoints are host names is resolved by the proxy.
pub(crate) fn resolution(
    service: &Service,
    endpoints: Option<&EndpointSet>,
    audience: Audience,
) -> Resolution {
    let endpoints = endpoints.map_or(&[][..], EndpointSet::endpoints);
    if audience == Audience::Grpc {
        return grpc::resolution(service, endpoints);
    }
    let all_names = endpoints.iter().all(|e| matches!(e.address, Address::Host(_)));
    match service.resolution {
        Resolution::ClientSide if !endpoints.is_empty() && all_names => Resolution::Dns,
        declared => declared,
    }
}

#[cfg(test)]
mod tests;
