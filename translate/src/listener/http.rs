//! Connections that carry requests.

use mainstem_model::{MeshSettings, Protocol};
use mainstem_proto::any;
use mainstem_proto::envoy::config::listener::v3::{Filter, filter};
use mainstem_proto::envoy::config::route::v3::RouteConfiguration;
use mainstem_proto::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use mainstem_proto::envoy::extensions::filters::http::router::v3::Router;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
    http_connection_manager::{RouteSpecifier, ServerHeaderTransformation, UpgradeConfig},
    http_filter,
};
use mainstem_proto::google::protobuf::Any;

use super::tcp::access_log;
use crate::message::{ZERO, ads};

const SERVER_NAME: &str = "istio-envoy";

/// Routes requests by the route configuration of this name.
pub(super) fn outbound(stat_prefix: String, route: String, mesh: &MeshSettings) -> Filter {
    let rds = Rds { config_source: Some(ads()), route_config_name: route };
    manager(HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: vec![router()],
        ..common(stat_prefix, mesh)
    })
}

/// Routes requests to the workload itself.
pub(super) fn inbound(
    stat_prefix: String,
    protocol: Protocol,
    routes: RouteConfiguration,
    mesh: &MeshSettings,
) -> Filter {
    let mut filters = Vec::new();
    if protocol == Protocol::GrpcWeb {
        filters.push(http_filter("envoy.filters.http.grpc_web", any(&GrpcWeb {})));
    }
    filters.push(router());
    manager(HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: filters,
        // The answering application says what serves.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        ..common(stat_prefix, mesh)
    })
}

fn common(stat_prefix: String, mesh: &MeshSettings) -> HttpConnectionManager {
    let websocket =
        UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() };
    HttpConnectionManager {
        stat_prefix,
        server_name: SERVER_NAME.to_owned(),
        use_remote_address: Some(false),
        normalize_path: Some(true),
        // How long a stream may be silent is the application's business.
        stream_idle_timeout: Some(ZERO),
        proxy_100_continue: true,
        upgrade_configs: vec![websocket],
        access_log: access_log(mesh),
        ..HttpConnectionManager::default()
    }
}

fn manager(config: HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    }
}

fn router() -> HttpFilter {
    http_filter("envoy.filters.http.router", any(&Router::default()))
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}
