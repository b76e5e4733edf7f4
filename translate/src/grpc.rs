//! What proxyless gRPC clients are told, where it differs from what Envoy is.
//!
//! ```text
//!  xds:///web.shop:80 ─▶ Listener web.shop:80 ─▶ RouteConfiguration outbound|80||web.shop…
//!                                                     └▶ Cluster, load assignment of that name
//! ```
//!
//! A gRPC client asks for all of these by name, and refuses a whole resource for
//! one thing in it that it does not understand. So they hold only what gRPC's
//! proposals name (grpc/proposal, the A numbers):
//! - A27: an `api_listener` whose routes come by RDS, ROUND_ROBIN, EDS; a cluster
//!   per name of LOGICAL_DNS (A37) where endpoints are host names.
//! - A32: the default of 1,024 concurrent requests is lifted, as for Envoy.
//! - A44: two retries of what surely did not reach the application.
//!
//! Load assignments (in [`endpoint`](crate::endpoint)): every address once, IP
//! addresses only, endpoints that take traffic only. gRPC uses neither degraded
//! endpoints nor weights of endpoints: the former are healthy ones of a later
//! priority, of the latter each gets a locality of its own.

use bytes::Bytes;
use mainstem_model::{
    Address, Endpoint, EndpointSet, Hostname, MeshSettings, Port, Resolution, Service,
};
use mainstem_proto::any;
use mainstem_proto::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster,
    circuit_breakers::Thresholds,
    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy},
};
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::config::listener::v3::{ApiListener, Listener};
use mainstem_proto::envoy::config::route::v3::{
    RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use mainstem_proto::envoy::extensions::filters::http::router::v3::Router;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
};
use prost::Message;

use crate::endpoint::{self, EndpointView, Gateways};
use crate::message::{ads, duration};
use crate::names;

/// How a gRPC client finds a service's endpoints: it resolves a name (the first
/// only) where no endpoint has an address.
pub(crate) fn resolution(service: &Service, endpoints: &[std::sync::Arc<Endpoint>]) -> Resolution {
    let any = |matches: fn(&Address) -> bool| endpoints.iter().any(|e| matches(&e.address));
    let named = |address: &Address| matches!(address, Address::Host(host) if !host.is_wildcard());
    match service.resolution {
        Resolution::Alias => Resolution::Alias,
        _ if any(|address| matches!(address, Address::Ip(_))) || !any(named) => {
            Resolution::ClientSide
        }
        _ => Resolution::DnsRoundRobin,
    }
}

/// The encoded listener `name`, which is a target without its scheme: calls go
/// by the routes of a service port.
pub(crate) fn listener(name: &str, host: &Hostname, port: u16) -> Bytes {
    let routes = names::outbound(port, host);
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: routes,
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(any(&manager)) }),
        ..Listener::default()
    };
    listener.encode_to_vec().into()
}

/// The encoded route configuration of a service port: whatever name the client
/// used for it, the listener has decided.
pub(crate) fn routes(host: &Hostname, port: u16) -> Bytes {
    let name = names::outbound(port, host);
    let retries = RetryPolicy {
        retry_on: "unavailable,cancelled".to_owned(),
        num_retries: Some(2),
        ..RetryPolicy::default()
    };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(name.clone())),
        retry_policy: Some(retries),
        ..RouteAction::default()
    };
    let every = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    };
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(every),
        action: Some(Action::Route(action)),
        ..Route::default()
    };
    let virtual_host = VirtualHost {
        name: names::host_port(host, port),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let routes =
        RouteConfiguration { name, virtual_hosts: vec![virtual_host], ..Default::default() };
    routes.encode_to_vec().into()
}

/// The encoded cluster of a service port that a client finds by `resolution`;
/// none for an alias, nor where there is no name to resolve on this port.
pub(crate) fn cluster(
    service: &Service,
    port: &Port,
    resolution: Resolution,
    endpoints: Option<&EndpointSet>,
    view: &EndpointView,
    gateways: &Gateways,
    mesh: &MeshSettings,
) -> Option<Bytes> {
    let name = names::outbound(port.number, service.hostname());
    let cluster = match resolution {
        Resolution::Alias => return None,
        Resolution::DnsRoundRobin => {
            let first = endpoint::inlined(service, port, endpoints, view, gateways, true);
            let first = ClusterLoadAssignment::decode(first).expect("the encoder writes messages");
            if first.endpoints.is_empty() {
                return None;
            }
            let base = base(name, DiscoveryType::LogicalDns, mesh);
            Cluster { load_assignment: Some(first), ..base }
        }
        _ => {
            let config = EdsClusterConfig { eds_config: Some(ads()), service_name: String::new() };
            let base = base(name, DiscoveryType::Eds, mesh);
            Cluster { eds_cluster_config: Some(config), ..base }
        }
    };
    Some(cluster.encode_to_vec().into())
}

fn base(name: String, kind: DiscoveryType, mesh: &MeshSettings) -> Cluster {
    let unlimited = Thresholds { max_requests: Some(u32::MAX), ..Thresholds::default() };
    Cluster {
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        connect_timeout: Some(duration(mesh.connect_timeout)),
        lb_policy: LbPolicy::RoundRobin.into(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![unlimited],
            ..CircuitBreakers::default()
        }),
        ..Cluster::default()
    }
}
