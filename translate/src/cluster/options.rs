//! What all clusters have alike.

use mainstem_model::MeshSettings;
use mainstem_proto::any;
use mainstem_proto::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, UpstreamConnectionOptions,
    circuit_breakers::Thresholds,
    cluster::{ClusterDiscoveryType, CommonLbConfig, DiscoveryType, LbPolicy},
};
use mainstem_proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, TcpKeepalive,
};
use mainstem_proto::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use mainstem_proto::envoy::r#type::v3::Percent;

use crate::message::duration;

/// Where a cluster keeps its HTTP options.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Which HTTP version goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpstreamHttp {
    /// HTTP/1.1, or no HTTP at all: Envoy's default.
    One,
    /// HTTP/2.
    Two,
    /// The one that came in.
    AsReceived,
}

/// A cluster of this name and type.
///
/// Traffic is not limited by Envoy's default of 1,024 connections and requests;
/// a limit is the user's decision. Endpoints that are known to be ill get no
/// traffic however few are left (panic threshold 0): health comes from
/// registries, and a whole service that is critical shall fail fast. Both are
/// the same for every service, so that health never changes a cluster.
pub(super) fn base(name: String, kind: DiscoveryType, mesh: &MeshSettings) -> Cluster {
    Cluster {
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        connect_timeout: Some(duration(mesh.connect_timeout)),
        circuit_breakers: Some(unlimited()),
        upstream_connection_options: keepalive(mesh),
        ..Cluster::default()
    }
}

/// Balancing over known endpoints.
pub(super) fn balanced(cluster: Cluster) -> Cluster {
    let threshold = Percent { value: 0.0 };
    Cluster {
        lb_policy: LbPolicy::LeastRequest.into(),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(threshold),
            ..CommonLbConfig::default()
        }),
        ..cluster
    }
}

/// Connecting to where the connection was going before it was intercepted.
pub(super) fn original_destination(cluster: Cluster) -> Cluster {
    Cluster { lb_policy: LbPolicy::ClusterProvided.into(), ..cluster }
}

pub(super) fn speaking(mut cluster: Cluster, http: UpstreamHttp) -> Cluster {
    let protocol = match http {
        UpstreamHttp::One => return cluster,
        UpstreamHttp::Two => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
                Http2ProtocolOptions::default(),
            )),
        }),
        UpstreamHttp::AsReceived => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(Http2ProtocolOptions::default()),
                http3_protocol_options: None,
            })
        }
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(protocol),
        ..HttpProtocolOptions::default()
    };
    cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), any(&options));
    cluster
}

fn unlimited() -> CircuitBreakers {
    let thresholds = Thresholds {
        max_connections: Some(u32::MAX),
        max_pending_requests: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        track_remaining: true,
        ..Thresholds::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() }
}

fn keepalive(mesh: &MeshSettings) -> Option<UpstreamConnectionOptions> {
    let settings = mesh.tcp_keepalive?;
    let keepalive = TcpKeepalive {
        keepalive_probes: settings.probes,
        keepalive_time: settings.time,
        keepalive_interval: settings.interval,
    };
    Some(UpstreamConnectionOptions {
        tcp_keepalive: Some(keepalive),
        ..UpstreamConnectionOptions::default()
    })
}
