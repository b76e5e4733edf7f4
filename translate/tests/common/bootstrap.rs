//! Everything that a proxy is told, as a bootstrap that Envoy can check.

use mainstem_model::Proxy;
use mainstem_proto::reflect;
use mainstem_translate::Kind;
use serde_json::{Value, json};

use super::Told;

/// A resource as JSON.
pub fn json_of(kind: Kind, body: &[u8]) -> Value {
    let message = kind.type_url().rsplit('/').next().unwrap();
    reflect::encoded_to_json(message, body).unwrap()
}

fn all(told: &Told, kind: Kind) -> Vec<Value> {
    let of_kind = told.iter().filter(|((other, _), _)| *other == kind);
    of_kind.map(|(_, body)| json_of(kind, body)).collect()
}

/// Clusters and listeners as they are; a load assignment in a static cluster,
/// and a route configuration in a listener, of their own.
pub fn bootstrap(proxy: &Proxy, told: &Told) -> String {
    let mut clusters = all(told, Kind::Cluster);
    for (n, mut assignment) in all(told, Kind::LoadAssignment).into_iter().enumerate() {
        let name = format!("assignment-{n}");
        assignment["cluster_name"] = json!(name);
        clusters.push(json!({ "name": name, "type": "STATIC", "load_assignment": assignment }));
    }
    clusters.push(json!({
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
    }));
    let mut listeners = all(told, Kind::Listener);
    for (n, routes) in all(told, Kind::Route).into_iter().enumerate() {
        listeners.push(listener_of_routes(n, routes));
    }
    json!({
        "node": { "id": proxy.id, "cluster": "test" },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
            },
        },
        "static_resources": { "clusters": clusters, "listeners": listeners },
    })
    .to_string()
}

fn listener_of_routes(n: usize, routes: Value) -> Value {
    json!({
        "name": format!("routes-{n}"),
        "address": { "socket_address": { "address": "127.0.0.99", "port_value": 20000 + n } },
        "filter_chains": [{ "filters": [{
            "name": "http",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "routes",
                "route_config": routes,
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }],
            },
        }] }],
    })
}
