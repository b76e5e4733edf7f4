#![allow(clippy::unwrap_used)]

use std::time::Duration;

use mainstem_proto::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
use mainstem_proto::envoy::config::listener::v3::{
    ApiListener, Filter, FilterChain, Listener, filter::ConfigType,
};
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource as WireResource,
};
use mainstem_proto::{any, type_url};
use pretty_assertions::assert_eq;
use prost::Message;

use super::*;

fn cluster(name: &str, service: Option<&str>) -> Cluster {
    let eds = service
        .map(|service| EdsClusterConfig { service_name: service.into(), ..Default::default() });
    Cluster { name: name.into(), eds_cluster_config: eds, ..Default::default() }
}

fn joined<'a>(part: impl Fn(usize) -> Option<&'a [u8]>) -> Vec<u8> {
    (0..).map_while(part).collect::<Vec<_>>().concat()
}

#[test]
fn its_parts_are_a_resource_in_either_protocol() {
    let message = cluster("c", Some("s"));
    let resource = Resource::of("c", &message)
        .with_aliases(["alias".into()])
        .with_ttl(Duration::from_millis(1500));

    let delta =
        DeltaDiscoveryResponse::decode(joined(|at| resource.delta_part(at)).as_slice()).unwrap();
    let wire = WireResource {
        name: "c".into(),
        aliases: vec!["alias".into()],
        version: Version::of(&message.encode_to_vec()).to_string(),
        ttl: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
        resource: Some(any(&message)),
        ..Default::default()
    };
    assert_eq!(delta, DeltaDiscoveryResponse { resources: vec![wire], ..Default::default() });

    let sotw = DiscoveryResponse::decode(joined(|at| resource.sotw_part(at)).as_slice()).unwrap();
    assert_eq!(sotw, DiscoveryResponse { resources: vec![any(&message)], ..Default::default() });
}

#[test]
fn its_body_is_never_copied() {
    let body = Bytes::from(cluster("c", None).encode_to_vec());
    let resource = Resource::new(&TypeUrl::CLUSTER, "c", body.clone());
    assert_eq!(resource.delta_part(1).unwrap().as_ptr(), body.as_ptr());
    assert_eq!(resource.any().value.as_ptr(), body.as_ptr());
}

#[test]
fn a_cluster_refers_to_its_load_assignment() {
    let referred = |cluster: Cluster| Resource::of("c", &cluster).referred().to_vec();
    assert_eq!(referred(cluster("c", Some("s"))), [Name::from("s")]);
    assert_eq!(referred(cluster("c", Some(""))), [Name::from("c")]);
    assert_eq!(referred(cluster("c", None)), []);
}

#[test]
fn a_listener_refers_to_its_route_configurations() {
    let manager = |route: &str| {
        let rds = Rds { route_config_name: route.into(), ..Default::default() };
        let manager = HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::Rds(rds)),
            ..Default::default()
        };
        any(&manager)
    };
    let chain = |route: &str| FilterChain {
        filters: vec![
            Filter {
                name: "other".into(),
                config_type: Some(ConfigType::TypedConfig(any(&cluster("r", None)))),
            },
            Filter {
                name: "http".into(),
                config_type: Some(ConfigType::TypedConfig(manager(route))),
            },
        ],
        ..Default::default()
    };
    let listener = Listener {
        filter_chains: vec![chain("b"), chain("a"), chain("b")],
        default_filter_chain: Some(chain("c")),
        api_listener: Some(ApiListener { api_listener: Some(manager("d")) }),
        ..Default::default()
    };
    let names = ["a", "b", "c", "d"].map(Name::from);
    assert_eq!(Resource::of("l", &listener).referred(), names);
}

#[test]
fn garbage_refers_to_nothing() {
    for body in [&b"\x1a\xff\xff"[..], b"\xff", b"\x1b\x00", b"\x1a\x02\x1a\x09"] {
        assert_eq!(
            Resource::new(&TypeUrl::from(type_url::LISTENER), "l", body.to_vec()).referred(),
            []
        );
        assert_eq!(
            Resource::new(&TypeUrl::from(type_url::CLUSTER), "c", body.to_vec()).referred(),
            []
        );
    }
}

#[test]
fn a_bodiless_resource_names_what_it_is_about() {
    let mut bytes = Vec::new();
    bodiless("n", &["a".into()], "v", Some(Duration::from_secs(2)), &mut bytes);
    let wire = WireResource {
        name: "n".into(),
        aliases: vec!["a".into()],
        version: "v".into(),
        ttl: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..Default::default()
    };
    let decoded = DeltaDiscoveryResponse::decode(&*bytes).unwrap();
    assert_eq!(decoded.resources, [wire]);
}
