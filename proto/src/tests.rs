#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use pretty_assertions::assert_eq;
use prost::Message;
use serde_json::json;

use crate::envoy::config::cluster::v3::Cluster;
use crate::envoy::config::core::v3::Metadata;
use crate::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter::ConfigType};
use crate::envoy::extensions::filters::http::router::v3::Router;
use crate::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
};
use crate::google::protobuf::{Any, Duration, Struct, Value, value::Kind};
use crate::{any, reflect, type_url};

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn six_keys() -> Struct {
    let value = |key: &str| Value { kind: Some(Kind::StringValue(key.to_uppercase())) };
    Struct { fields: KEYS.map(|key| (key.to_owned(), value(key))).into() }
}

fn metadata() -> Metadata {
    Metadata {
        filter_metadata: KEYS.map(|key| (key.to_owned(), six_keys())).into(),
        ..Default::default()
    }
}

fn cluster_with_metadata() -> Cluster {
    Cluster { name: "c".into(), metadata: Some(metadata()), ..Default::default() }
}

fn http_listener() -> Listener {
    let router = HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "inbound".into(),
        http_filters: vec![router],
        stream_idle_timeout: Some(Duration { seconds: 3, nanos: 0 }),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: "r".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let filter =
        Filter { name: "hcm".into(), config_type: Some(ConfigType::TypedConfig(any(&manager))) };
    Listener {
        name: "0.0.0.0_80".into(),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn a_message_with_maps_encodes_alike_every_time() {
    let encodings: BTreeSet<Vec<u8>> =
        (0..50).map(|_| cluster_with_metadata().encode_to_vec()).collect();
    assert_eq!(encodings.len(), 1);
}

#[test]
fn a_message_read_from_json_encodes_as_its_rust_type() {
    let cluster = cluster_with_metadata();
    let json = reflect::to_json(&cluster).unwrap();
    for _ in 0..50 {
        assert_eq!(reflect::any_from_json(type_url::CLUSTER, &json).unwrap(), any(&cluster));
    }
}

#[test]
fn packed_maps_inside_packed_messages_are_canonical_too() {
    let metadata = Metadata {
        typed_filter_metadata: [("k".to_owned(), any(&metadata()))].into(),
        ..Default::default()
    };
    let cluster = Cluster { metadata: Some(metadata), ..Default::default() };
    let json = reflect::to_json(&cluster).unwrap();
    assert_eq!(reflect::from_json::<Cluster>(&json).unwrap(), cluster);
}

#[test]
fn a_listener_with_an_http_connection_manager_survives_json() {
    let packed = any(&http_listener());
    let json = reflect::body_to_json(&packed).unwrap();
    assert_eq!(
        json["filter_chains"][0]["filters"][0]["typed_config"],
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "inbound",
            "rds": { "route_config_name": "r" },
            "stream_idle_timeout": "3s",
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
            }],
        })
    );
    assert_eq!(reflect::any_from_json(type_url::LISTENER, &json).unwrap(), packed);
    assert_eq!(packed.unpack::<Listener>().unwrap(), http_listener());
}

#[test]
fn an_any_as_json_carries_its_type() {
    let json =
        reflect::any_to_json(&any(&Cluster { name: "c".into(), ..Default::default() })).unwrap();
    assert_eq!(json, json!({ "@type": type_url::CLUSTER, "name": "c" }));
}

#[test]
fn unknown_fields_and_messages_are_errors() {
    let unknown = reflect::any_from_json(type_url::CLUSTER, &json!({ "nmae": "c" }));
    assert!(matches!(unknown, Err(reflect::ReflectError::FromJson { .. })), "{unknown:?}");
    let foreign = reflect::any_from_json("type.googleapis.com/a.B", &json!({}));
    assert!(matches!(foreign, Err(reflect::ReflectError::UnknownMessage(_))), "{foreign:?}");
}

#[test]
fn an_any_of_another_type_is_not_unpacked() {
    let error = any(&metadata()).unpack::<Cluster>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unpacking \"type.googleapis.com/envoy.config.core.v3.Metadata\" as envoy.config.cluster.v3.Cluster"
    );
}

#[test]
fn cloning_an_any_shares_its_body() {
    let one = any(&cluster_with_metadata());
    let two = one.clone();
    assert_eq!(one.value.as_ptr(), two.value.as_ptr());
}

#[test]
fn an_independent_decoder_reads_the_same_message() {
    use envoy_types::pb::envoy::config::listener::v3::Listener as Theirs;
    let bytes = http_listener().encode_to_vec();
    let theirs = Theirs::decode(bytes.as_slice()).unwrap();
    assert_eq!(theirs.name, "0.0.0.0_80");
    assert_eq!(theirs.encode_to_vec(), bytes);
}

#[test]
fn type_urls_are_those_of_the_messages() {
    use crate::envoy::config::{
        core::v3::TypedExtensionConfig, endpoint::v3::ClusterLoadAssignment, route::v3 as route,
    };
    use crate::envoy::{
        extensions::transport_sockets::tls::v3::Secret, service::runtime::v3::Runtime,
    };
    assert_eq!(type_url::of::<Listener>(), type_url::LISTENER);
    assert_eq!(type_url::of::<Cluster>(), type_url::CLUSTER);
    assert_eq!(type_url::of::<ClusterLoadAssignment>(), type_url::CLUSTER_LOAD_ASSIGNMENT);
    assert_eq!(type_url::of::<route::RouteConfiguration>(), type_url::ROUTE_CONFIGURATION);
    assert_eq!(
        type_url::of::<route::ScopedRouteConfiguration>(),
        type_url::SCOPED_ROUTE_CONFIGURATION
    );
    assert_eq!(type_url::of::<route::VirtualHost>(), type_url::VIRTUAL_HOST);
    assert_eq!(type_url::of::<Secret>(), type_url::SECRET);
    assert_eq!(type_url::of::<TypedExtensionConfig>(), type_url::EXTENSION_CONFIG);
    assert_eq!(type_url::of::<Runtime>(), type_url::RUNTIME);
    assert_eq!(type_url::of::<Any>(), "type.googleapis.com/google.protobuf.Any");
}
