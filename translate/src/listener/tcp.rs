//! Opaque connections.

use mainstem_model::{MeshSettings, OutboundPolicy};
use mainstem_proto::any;
use mainstem_proto::envoy::config::accesslog::v3::{AccessLog, access_log};
use mainstem_proto::envoy::config::listener::v3::{Filter, filter};
use mainstem_proto::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use mainstem_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

use crate::names;

/// Passes bytes to a cluster.
pub(super) fn proxy(cluster: &str, mesh: &MeshSettings) -> Filter {
    let config = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log: access_log(mesh),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    }
}

/// Where connections go that nothing is known of.
pub(super) fn unknown(mesh: &MeshSettings) -> Filter {
    let cluster = match mesh.outbound_traffic_policy.mode {
        OutboundPolicy::AllowAny => names::PASSTHROUGH,
        OutboundPolicy::RegistryOnly => names::BLACK_HOLE,
    };
    proxy(cluster, mesh)
}

/// Access logs as the mesh settings want them, in Envoy's own format.
pub(super) fn access_log(mesh: &MeshSettings) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let config = FileAccessLog { path: mesh.access_log_file.clone(), access_log_format: None };
    vec![AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(any(&config))),
        filter: None,
    }]
}
