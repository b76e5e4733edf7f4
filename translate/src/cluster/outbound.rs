//! Clusters of services.

use bytes::Bytes;
use mainstem_model::{EndpointSet, MeshSettings, Port, Protocol, Resolution, Service};
use mainstem_proto::any;
use mainstem_proto::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, CustomClusterType, DiscoveryType, EdsClusterConfig},
};
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use mainstem_proto::envoy::extensions::clusters::dns::v3::DnsCluster;
use prost::Message;

use super::metadata;
use super::options::{UpstreamHttp, balanced, base, original_destination, speaking};
use crate::endpoint::{self, Audience, EndpointView, Gateways};
use crate::message::{ads, duration};
use crate::{grpc, names};

/// What of a client its outbound clusters depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OutboundView {
    /// Whether the client's connections still know where they were going, so
    /// that headless services need no endpoints.
    pub original_destination: bool,
    /// For endpoints that stand in the cluster itself.
    pub endpoints: EndpointView,
}

impl OutboundView {
    /// How this client finds a service's endpoints.
    pub(crate) fn resolution(
        &self,
        service: &Service,
        endpoints: Option<&EndpointSet>,
    ) -> Resolution {
        match endpoint::resolution(service, endpoints, self.endpoints.audience) {
            Resolution::Passthrough if !self.original_destination => Resolution::ClientSide,
            resolution => resolution,
        }
    }
}

/// The cluster of a service port; none for an alias, which has its target's,
/// nor for UDP.
///
/// `endpoints` are read only where names are resolved by the proxy.
pub(crate) fn outbound(
    service: &Service,
    port: &Port,
    endpoints: Option<&EndpointSet>,
    view: &OutboundView,
    gateways: &Gateways,
    mesh: &MeshSettings,
) -> Option<Bytes> {
    if port.protocol == Protocol::Udp {
        return None;
    }
    let resolution = view.resolution(service, endpoints);
    if view.endpoints.audience == Audience::Grpc {
        let view = &view.endpoints;
        return grpc::cluster(service, port, resolution, endpoints, view, gateways, mesh);
    }
    let name = names::outbound(port.number, service.hostname());
    let inlined = |one| endpoint::inlined(service, port, endpoints, &view.endpoints, gateways, one);
    let cluster = match resolution {
        Resolution::Alias => return None,
        Resolution::ClientSide => eds(name, mesh),
        Resolution::Passthrough => {
            original_destination(base(name, DiscoveryType::OriginalDst, mesh))
        }
        Resolution::Dns => dns(name, &inlined(false), false, mesh),
        Resolution::DnsRoundRobin => dns(name, &inlined(true), true, mesh),
    };
    let cluster =
        Cluster { metadata: Some(metadata::of(service, view.endpoints.audience)), ..cluster };
    Some(speaking(cluster, upstream_http(port.protocol)).encode_to_vec().into())
}

/// Drops every connection.
pub(crate) fn black_hole(mesh: &MeshSettings) -> Bytes {
    base(names::BLACK_HOLE.to_owned(), DiscoveryType::Static, mesh).encode_to_vec().into()
}

/// Connects to where the client wanted to go.
pub(crate) fn passthrough(mesh: &MeshSettings) -> Bytes {
    let cluster = base(names::PASSTHROUGH.to_owned(), DiscoveryType::OriginalDst, mesh);
    let cluster = speaking(original_destination(cluster), UpstreamHttp::AsReceived);
    cluster.encode_to_vec().into()
}

fn upstream_http(protocol: Protocol) -> UpstreamHttp {
    match protocol {
        protocol if protocol.is_http2() => UpstreamHttp::Two,
        Protocol::Unspecified => UpstreamHttp::AsReceived,
        _ => UpstreamHttp::One,
    }
}

fn eds(name: String, mesh: &MeshSettings) -> Cluster {
    let cluster = balanced(base(name, DiscoveryType::Eds, mesh));
    // Without a service name the assignment goes by the cluster's own.
    let config = EdsClusterConfig { eds_config: Some(ads()), service_name: String::new() };
    Cluster { eds_cluster_config: Some(config), ..cluster }
}

/// The proxy resolves the names: into an endpoint per answer (STRICT_DNS), or
/// `logical`, into one endpoint for them all (LOGICAL_DNS).
///
/// Written as the extension that has both, since the fields of the cluster
/// itself that these types read are deprecated.
fn dns(name: String, assignment: &Bytes, logical: bool, mesh: &MeshSettings) -> Cluster {
    let assignment = decode(assignment);
    let refresh = mesh.dns_refresh_rate;
    let config = DnsCluster {
        // Envoy refuses a rate below one millisecond.
        dns_refresh_rate: (refresh.duration().as_millis() > 0).then(|| duration(refresh)),
        respect_dns_ttl: true,
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        // A logical cluster without an endpoint is refused.
        all_addresses_in_single_endpoint: logical && !assignment.endpoints.is_empty(),
        ..DnsCluster::default()
    };
    let kind = CustomClusterType {
        name: "envoy.clusters.dns".to_owned(),
        typed_config: Some(any(&config)),
    };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(kind)),
        load_assignment: Some(assignment),
        ..balanced(base(name, DiscoveryType::Static, mesh))
    }
}

fn decode(assignment: &Bytes) -> ClusterLoadAssignment {
    ClusterLoadAssignment::decode(assignment.clone()).expect("the encoder writes valid messages")
}
