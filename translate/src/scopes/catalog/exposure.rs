//! Where a service port is listened for, and whether its requests are routed.

use std::net::IpAddr;

use mainstem_model::{ClusterId, Port, Protocol, Resolution, Service};

use super::{CatalogKey, Reception};

/// How a service port is exposed to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exposure {
    /// In the route configuration of the port: HTTP by its wildcard listener.
    pub routed: bool,
    /// With a filter chain of its own in the port's wildcard listener.
    pub wild: bool,
    /// On listeners of its own, at these addresses.
    pub own: Vec<IpAddr>,
}

impl Exposure {
    /// - HTTP is routed by host name, so all services of a port share a listener;
    ///   so is everything that a proxyless client calls.
    /// - What cannot be told apart by requests needs an address of its own;
    ///   without one it gets a filter chain in the shared listener.
    /// - What is sniffed gets both: its listener, or its chain and its route.
    /// - Where listeners bind, only loopback addresses can be listened on, and one
    ///   of them is the shared one.
    pub(super) fn of(service: &Service, port: &Port, key: &CatalogKey) -> Self {
        if service.resolution == Resolution::Alias || port.protocol == Protocol::Udp {
            return Self::default();
        }
        if port.protocol.is_http() || key.reception == Reception::Proxyless {
            return Self { routed: true, ..Self::default() };
        }
        let mut own = addresses(service, &key.cluster);
        let bound = key.bound();
        own.retain(|ip| bound.is_none_or(|shared| ip.is_loopback() && *ip != shared));
        let wild = own.is_empty() || !service.prefixes.is_empty() && bound.is_none();
        let routed = own.is_empty() && port.protocol == Protocol::Unspecified;
        Self { routed, wild, own }
    }
}

/// The addresses at which clients in `cluster` call the service.
pub(super) fn addresses(service: &Service, cluster: &ClusterId) -> Vec<IpAddr> {
    let mut addresses = service.addresses_in(cluster);
    addresses.retain(|ip| !ip.is_unspecified());
    addresses
}
