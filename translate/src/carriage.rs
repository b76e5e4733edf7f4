//! Why a client is given an endpoint, or is not: the rules of load assignments, asked
//! of one endpoint.

use mainstem_model::{
    Address, Endpoint, Health, Hostname, NamespaceName, NetworkGatewayKey, Proxy, Resolution,
    Service, ServiceKey, Snapshot,
};

use crate::endpoint::{self, Audience, EndpointView, Gateways, Place};
use crate::{names, visible};

/// Why a client is not given an endpoint of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Omission {
    /// The service is not visible in the client's namespace.
    Hidden,
    /// The client means another service by this host name.
    Shadowed(ServiceKey),
    /// The service is for clients of the endpoint's own cluster.
    OtherCluster,
    /// The service is for clients of the endpoint's own node.
    OtherNode,
    /// Its address is none that can be told to this client.
    Unresolved,
    /// It takes no traffic, and the client has no use for such endpoints.
    Useless(Health),
    /// It takes no traffic, so that no gateway of its network stands in for it.
    NotBehindGateway(Health),
    /// Clients are told no endpoints: connections go where they were meant to go.
    Passthrough,
}

/// How the client reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// At its own address.
    Direct,
    /// At its own address in another network, to which no gateway is known.
    WithoutGateway,
    /// Through gateways of its network.
    Gateways(Vec<NetworkGatewayKey>),
}

/// What carries an endpoint to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// The cluster, and its load assignment.
    pub cluster: String,
    /// Whether the load assignment travels by EDS; else it stands inside the cluster.
    pub eds: bool,
    /// How the client reaches the endpoint.
    pub way: Way,
}

/// The service that a client in `namespace` means by `host`.
pub fn seen(snapshot: &Snapshot, namespace: &NamespaceName, host: &Hostname) -> Option<ServiceKey> {
    visible::chosen(snapshot, namespace, host).map(|service| service.key.clone())
}

/// How `proxy` is given an endpoint that the snapshot has.
///
/// # Errors
/// The first rule that leaves it out.
pub fn carriage(
    snapshot: &Snapshot,
    proxy: &Proxy,
    service: &Service,
    endpoint: &Endpoint,
) -> Result<Carriage, Omission> {
    if !service.visibility.includes(&proxy.namespace) {
        return Err(Omission::Hidden);
    }
    match seen(snapshot, &proxy.namespace, service.hostname()) {
        Some(other) if other != service.key => return Err(Omission::Shadowed(other)),
        _ => {}
    }
    let audience = Audience::of(proxy);
    let view = EndpointView::of(service, &Place::of(proxy, snapshot), audience);
    let set = snapshot.endpoints(&service.key).map(|set| &**set);
    let eds = match endpoint::resolution(service, set, audience) {
        Resolution::ClientSide => true,
        Resolution::Dns | Resolution::DnsRoundRobin => false,
        Resolution::Passthrough | Resolution::Alias => return Err(Omission::Passthrough),
    };
    endpoint::admits(service, endpoint, &view, eds)?;
    let way = way(snapshot, &view, endpoint)?;
    Ok(Carriage { cluster: names::outbound(endpoint.port, service.hostname()), eds, way })
}

fn way(snapshot: &Snapshot, view: &EndpointView, endpoint: &Endpoint) -> Result<Way, Omission> {
    if view.network.as_ref().is_none_or(|network| *network == endpoint.place.network) {
        return Ok(Way::Direct);
    }
    let gateways = Gateways::of(snapshot);
    let ways = gateways.to(&endpoint.place.network, &endpoint.place.cluster);
    match endpoint.health {
        _ if ways.is_empty() => Ok(Way::WithoutGateway),
        Health::Healthy | Health::Degraded => {
            Ok(Way::Gateways(ways.into_iter().map(|way| way.key.clone()).collect()))
        }
        health => Err(Omission::NotBehindGateway(health)),
    }
}

/// The listeners and route configurations through which clients may reach a service
/// port, of which each client has some.
pub fn resource_names(service: &Service, port: u16) -> (Vec<String>, Vec<String>) {
    let host_port = names::host_port(service.hostname(), port);
    let own = service.addresses.iter().flat_map(|(_, own)| own.iter());
    let mut listeners: Vec<_> = own.map(|address| names::listener(*address, port)).collect();
    listeners.extend([format!("0.0.0.0_{port}"), format!("::_{port}"), host_port.clone()]);
    listeners.sort();
    listeners.dedup();
    (listeners, vec![port.to_string(), host_port])
}

impl Way {
    /// The addresses that stand in a load assignment for the endpoint.
    pub fn addresses(&self, endpoint: &Endpoint) -> Vec<(Address, u16)> {
        match self {
            Self::Direct | Self::WithoutGateway => {
                vec![(endpoint.address.clone(), endpoint.target_port)]
            }
            Self::Gateways(ways) => {
                ways.iter().map(|way| (way.address.clone(), way.port)).collect()
            }
        }
    }
}
