//! Clusters that lead to the proxy's own workload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use mainstem_model::{Interception, MeshSettings, Protocol, Proxy};
use mainstem_proto::envoy::config::cluster::v3::{Cluster, cluster::DiscoveryType};
use mainstem_proto::envoy::config::core::v3::{BindConfig, ExtraSourceAddress};
use mainstem_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use prost::Message;

use super::options::{UpstreamHttp, base, original_destination, speaking};
use crate::message::{address, socket};
use crate::names;

/// The source of connections that a sidecar opens to its own workload: the
/// usual interception rules leave it alone, so that they are not intercepted again.
const OWN_SOURCE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const OWN_SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// The address families that a proxy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let v6 = proxy.addresses.iter().any(IpAddr::is_ipv6);
        Self { v4: !v6 || proxy.addresses.iter().any(IpAddr::is_ipv4), v6 }
    }

    /// Whether an address is of one of them.
    pub(crate) fn include(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// The one that is used first, then the other if there is one.
    pub(crate) fn pick<T>(self, v4: T, v6: T) -> (T, Option<T>) {
        match (self.v4, self.v6) {
            (true, true) => (v4, Some(v6)),
            (false, true) => (v6, None),
            (_, false) => (v4, None),
        }
    }
}

/// The cluster of one of the workload's own ports.
pub(crate) fn inbound(
    port: u16,
    protocol: Protocol,
    interception: Interception,
    families: Families,
    mesh: &MeshSettings,
) -> Bytes {
    let name = names::inbound(port);
    let cluster = match interception {
        Interception::None => Cluster {
            load_assignment: Some(loopback(&name, port, families)),
            ..base(name, DiscoveryType::Static, mesh)
        },
        intercepted => own_destination(name, intercepted, families, mesh),
    };
    // What a sidecar receives it passes on in the version it came in.
    let http = protocol.is_http() || protocol == Protocol::Unspecified;
    let http = if http { UpstreamHttp::AsReceived } else { UpstreamHttp::One };
    speaking(cluster, http).encode_to_vec().into()
}

/// The cluster of ports of the workload that no service knows.
pub(crate) fn inbound_passthrough(
    interception: Interception,
    families: Families,
    mesh: &MeshSettings,
) -> Bytes {
    let name = names::INBOUND_PASSTHROUGH.to_owned();
    let cluster = own_destination(name, interception, families, mesh);
    speaking(cluster, UpstreamHttp::AsReceived).encode_to_vec().into()
}

fn own_destination(
    name: String,
    interception: Interception,
    families: Families,
    mesh: &MeshSettings,
) -> Cluster {
    let cluster = original_destination(base(name, DiscoveryType::OriginalDst, mesh));
    // With TPROXY the connection keeps the client's address as its source.
    let bind = (interception == Interception::Redirect).then(|| own_source(families));
    Cluster { upstream_bind_config: bind, ..cluster }
}

fn own_source(families: Families) -> BindConfig {
    let (first, second) = families.pick(OWN_SOURCE_V4, OWN_SOURCE_V6);
    let extra = |ip| ExtraSourceAddress { address: Some(socket(ip, 0)), socket_options: None };
    BindConfig {
        source_address: Some(socket(first, 0)),
        extra_source_addresses: second.map(extra).into_iter().collect(),
        ..BindConfig::default()
    }
}

fn loopback(name: &str, port: u16, families: Families) -> ClusterLoadAssignment {
    let (ip, _) = families.pick(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let endpoint = Endpoint { address: Some(address(ip, port)), ..Endpoint::default() };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let locality =
        LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    }
}
