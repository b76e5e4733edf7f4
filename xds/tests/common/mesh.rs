//! Resources of a small mesh.

use std::net::SocketAddr;

use mainstem_proto::any;
use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use mainstem_proto::envoy::config::core::v3::api_config_source::ApiType;
use mainstem_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use mainstem_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use mainstem_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use mainstem_proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
    SocketAddress, address,
};
use mainstem_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mainstem_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use mainstem_proto::envoy::config::listener::v3::{
    Filter, FilterChain, Listener, filter::ConfigType,
};
use mainstem_proto::envoy::config::route::v3::route::Action;
use mainstem_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use mainstem_proto::envoy::config::route::v3::route_match::PathSpecifier;
use mainstem_proto::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use mainstem_proto::envoy::extensions::filters::http::router::v3::Router;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use mainstem_proto::google::protobuf::Duration;
use mainstem_xds::Resource;

/// Whatever the stream is that asks for it.
pub fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// The cluster `xds` of the bootstrap, with a stream or a poll for each type.
pub fn per_type(api_type: ApiType) -> ConfigSource {
    let mut api = ApiConfigSource {
        api_type: api_type as i32,
        transport_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    };
    if api_type == ApiType::Rest {
        api.cluster_names = vec!["xds".into()];
        api.refresh_delay = Some(Duration { seconds: 0, nanos: 50_000_000 });
    } else {
        let envoy = EnvoyGrpc { cluster_name: "xds".into(), ..Default::default() };
        let service = GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(envoy)),
            ..Default::default()
        };
        api.grpc_services = vec![service];
    }
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        ..Default::default()
    }
}

pub fn cluster(name: &str) -> Cluster {
    cluster_from(name, ads())
}

/// A cluster whose endpoints come from there.
pub fn cluster_from(name: &str, source: ConfigSource) -> Cluster {
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source),
            ..Default::default()
        }),
        connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    }
}

pub fn load_assignment(name: &str, endpoints: &[SocketAddr]) -> ClusterLoadAssignment {
    let endpoint = |address: &SocketAddr| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(*address)),
            ..Default::default()
        })),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: endpoints.iter().map(endpoint).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Sends all HTTP requests by the named route configuration.
pub fn listener(name: &str, port: u16, route: &str) -> Listener {
    listener_from(name, port, route, ads())
}

/// A listener whose routes come from there.
pub fn listener_from(name: &str, port: u16, route: &str, source: ConfigSource) -> Listener {
    let router = http::HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    };
    let rds = http::Rds { config_source: Some(source), route_config_name: route.into() };
    let manager = http::HttpConnectionManager {
        stat_prefix: name.into(),
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![router],
        ..Default::default()
    };
    let filter =
        Filter { name: "http".into(), config_type: Some(ConfigType::TypedConfig(any(&manager))) };
    Listener {
        name: name.into(),
        address: Some(socket(([127, 0, 0, 1], port).into())),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}

/// Sends everything to one cluster.
pub fn routes(name: &str, cluster: &str) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..Default::default() }
}

pub fn resource_of_cluster(cluster: &Cluster) -> Resource {
    Resource::of(cluster.name.as_str(), cluster)
}

pub fn resource_of_endpoints(endpoints: &ClusterLoadAssignment) -> Resource {
    Resource::of(endpoints.cluster_name.as_str(), endpoints)
}

pub fn resource_of_listener(listener: &Listener) -> Resource {
    Resource::of(listener.name.as_str(), listener)
}

pub fn resource_of_routes(routes: &RouteConfiguration) -> Resource {
    Resource::of(routes.name.as_str(), routes)
}

fn socket(address: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    }
}
