#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mainstem_model as model;
use mainstem_model::{
    Address, Endpoint, EndpointSet, Health, Labels, Locality, MeshSettings, NetworkGateway,
    NetworkGatewayKey, Origins, Port, Protocol, Resolution, Service, ServiceKey, Snapshot,
    TargetPort, TrafficDistribution, WorkloadKey,
};
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::reflect;
use pretty_assertions::assert_eq;
use prost::Message;
use serde_json::{Value, json};

use super::*;

fn port() -> Port {
    Port {
        number: 80,
        name: "http".into(),
        protocol: Protocol::Http,
        target: TargetPort::Number(8080),
    }
}

fn service() -> Service {
    let mut service = Service::new(ServiceKey::new("a.com", "n"), Origins::default());
    service.ports = vec![port()];
    service
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint::new(80, Address::parse(address), 8080, Origins::default())
}

fn set(endpoints: Vec<Endpoint>) -> EndpointSet {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    EndpointSet::new(ServiceKey::new("a.com", "n"), endpoints)
}

fn gateways(gateways: &[(&str, &str, &str)]) -> Gateways {
    let mut draft = Snapshot::new(MeshSettings::default()).edit();
    for (network, cluster, address) in gateways {
        let key = NetworkGatewayKey {
            network: (*network).into(),
            cluster: (*cluster).into(),
            address: Address::parse(address),
            port: 15443,
        };
        draft.put_gateway(Arc::new(NetworkGateway { key, origins: Origins::default() }));
    }
    Gateways::of(&draft.finish())
}

fn decoded(bytes: &Bytes) -> ClusterLoadAssignment {
    let message = ClusterLoadAssignment::decode(bytes.clone()).unwrap();
    assert_eq!(message.encode_to_vec(), bytes.to_vec(), "written as the generated message");
    message
}

fn built(service: &Service, endpoints: Vec<Endpoint>, view: &EndpointView) -> Value {
    let bytes =
        load_assignment(service, &port(), Some(&set(endpoints)), view, &Gateways::default());
    reflect::to_json(&decoded(&bytes)).unwrap()
}

/// `address priority locality weight` of each endpoint.
fn summary(bytes: &Bytes) -> Vec<String> {
    let message = decoded(bytes);
    let mut lines = Vec::new();
    for group in &message.endpoints {
        let members = reflect::to_json(group).unwrap();
        for member in members["lb_endpoints"].as_array().unwrap() {
            let address = &member["endpoint"]["address"]["socket_address"]["address"];
            let locality = members["locality"]["zone"].as_str().unwrap_or("-");
            lines.push(format!(
                "{} p{} {locality} {}",
                address.as_str().unwrap(),
                group.priority,
                member["load_balancing_weight"].as_u64().unwrap_or(1)
            ));
        }
    }
    lines
}

#[test]
fn an_assignment_tells_address_health_workload_weight_and_locality() {
    let mut rich = endpoint("10.0.0.1");
    rich.more_addresses = Some(Arc::new(vec![Address::parse("fd00::1")]));
    rich.weight = 3;
    rich.health = Health::Degraded;
    rich.place =
        model::Place { locality: Locality::new("eu", "eu-1", ""), ..model::Place::default() }
            .into();
    rich.workload = Some(WorkloadKey::new("c1".into(), "shop".into(), "web-6d4f-x2x9z"));
    rich.labels = Labels::from_iter([("app", "web"), ("pod-template-hash", "6d4f")]);
    let mut held = endpoint("unix:///run/app.sock");
    held.held = true;

    assert_eq!(
        built(
            &service(),
            vec![rich, held],
            &EndpointView { audience: Audience::IstioProxy, ..EndpointView::default() }
        ),
        json!({
            "cluster_name": "outbound|80||a.com",
            "endpoints": [
                {
                    "locality": { "region": "eu", "zone": "eu-1" },
                    "load_balancing_weight": 3,
                    "lb_endpoints": [{
                        "endpoint": {
                            "address": { "socket_address": { "address": "10.0.0.1", "port_value": 8080 } },
                            "additional_addresses": [
                                { "address": { "socket_address": { "address": "fd00::1", "port_value": 8080 } } },
                            ],
                        },
                        "health_status": "DEGRADED",
                        "metadata": { "filter_metadata": { "istio": { "workload": "web;shop;web;latest;c1" } } },
                        "load_balancing_weight": 3,
                    }],
                },
                {
                    "locality": {},
                    "priority": 1,
                    "load_balancing_weight": 1,
                    "lb_endpoints": [{
                        "endpoint": { "address": { "pipe": { "path": "/run/app.sock" } } },
                        "health_status": "HEALTHY",
                    }],
                },
            ],
        })
    );
}

fn resolved(endpoints: Option<&EndpointSet>) -> Resolution {
    resolution(&service(), endpoints, Audience::Envoy)
}

#[test]
fn host_names_are_left_out_of_eds_and_alone_make_a_dns_cluster() {
    let mixed = set(vec![endpoint("db.example.com"), endpoint("10.0.0.1")]);
    let bytes = load_assignment(
        &service(),
        &port(),
        Some(&mixed),
        &EndpointView::default(),
        &Gateways::default(),
    );
    assert_eq!(summary(&bytes), ["10.0.0.1 p0 - 1"]);
    assert_eq!(resolved(Some(&mixed)), Resolution::ClientSide);
    let names = set(vec![endpoint("db.example.com")]);
    assert_eq!(resolved(Some(&names)), Resolution::Dns);
    assert_eq!(resolved(Some(&set(vec![]))), Resolution::ClientSide);
}

#[test]
fn priorities_follow_held_tier_and_distance_without_gaps() {
    let mut service = service();
    service.distribution = TrafficDistribution::PreferSameNode;
    let at = |address: &str, locality: &str, node: &str| Endpoint {
        place: model::Place {
            locality: Locality::parse(locality),
            node: Some(node.into()),
            ..model::Place::default()
        }
        .into(),
        ..endpoint(address)
    };
    let mut second_tier = at("10.0.0.5", "eu/eu-1/a", "n1");
    second_tier.tier = 7;
    let mut held = at("10.0.0.6", "eu/eu-1/a", "n1");
    held.held = true;
    let endpoints = vec![
        at("10.0.0.1", "eu/eu-1/a", "n1"),
        at("10.0.0.2", "eu/eu-1/a", "n2"),
        at("10.0.0.3", "eu/eu-2/a", "n3"),
        at("10.0.0.4", "us/eu-1/a", "n1"),
        second_tier,
        held,
    ];
    let view = EndpointView {
        network: Some("".into()),
        locality: Some(Locality::parse("eu/eu-1/a")),
        node: Some("n1".into()),
        ..EndpointView::default()
    };
    let bytes =
        load_assignment(&service, &port(), Some(&set(endpoints)), &view, &Gateways::default());
    assert_eq!(
        summary(&bytes),
        [
            "10.0.0.1 p0 eu-1 1",
            "10.0.0.2 p1 eu-1 1",
            "10.0.0.3 p2 eu-2 1",
            "10.0.0.4 p3 eu-1 1",
            "10.0.0.5 p4 eu-1 1",
            "10.0.0.6 p5 eu-1 1",
        ]
    );
}

#[test]
fn a_node_local_service_has_the_endpoints_of_the_clients_node() {
    let service = Service { node_local: true, ..service() };
    let on = |address: &str, node: Option<&str>| Endpoint {
        place: model::Place { node: node.map(Into::into), ..model::Place::default() }.into(),
        ..endpoint(address)
    };
    let endpoints =
        set(vec![on("10.0.0.1", Some("n1")), on("10.0.0.2", Some("n2")), on("10.0.0.3", None)]);
    let from = |node: Option<&str>| {
        let view = EndpointView { node: node.map(Into::into), ..EndpointView::default() };
        summary(&load_assignment(&service, &port(), Some(&endpoints), &view, &Gateways::default()))
    };
    assert_eq!(from(Some("n1")), ["10.0.0.1 p0 - 1"]);
    assert_eq!(from(None), Vec::<String>::new());
}

#[test]
fn gateways_stand_in_for_endpoints_of_other_networks() {
    let there = |address: &str, network: &str, cluster: &str, weight| Endpoint {
        weight,
        place: model::Place {
            network: network.into(),
            cluster: cluster.into(),
            ..model::Place::default()
        }
        .into(),
        ..endpoint(address)
    };
    let mut ill = there("10.0.0.9", "east", "e1", 100);
    ill.health = Health::Unhealthy;
    let endpoints = set(vec![
        there("10.0.0.1", "west", "w1", 1),
        there("10.0.0.2", "east", "e1", 1),
        there("10.0.0.3", "east", "e1", 2),
        there("10.0.0.4", "east", "e2", 1),
        there("10.0.0.5", "nowhere", "n1", 1),
        ill,
    ]);
    let gateways = gateways(&[
        ("east", "e1", "1.1.1.1"),
        ("east", "e1", "1.1.1.2"),
        ("east", "e3", "1.1.1.3"),
        ("west", "w1", "2.2.2.2"),
        ("north", "n1", "gateway.example.com"),
    ]);
    let view = EndpointView { network: Some("west".into()), ..EndpointView::default() };
    let bytes = load_assignment(&service(), &port(), Some(&endpoints), &view, &gateways);
    // Two gateways for e1, three for e2: weights count sixfold.
    assert_eq!(
        summary(&bytes),
        [
            "10.0.0.5 p0 - 6",
            "10.0.0.1 p0 - 6",
            "1.1.1.1 p0 - 11",
            "1.1.1.2 p0 - 11",
            "1.1.1.3 p0 - 2",
        ]
    );
}

#[test]
fn an_address_that_two_networks_share_occurs_once() {
    let in_network = |network: &str| Endpoint {
        place: model::Place { network: network.into(), ..model::Place::default() }.into(),
        ..endpoint("10.0.0.1")
    };
    let endpoints = set(vec![in_network("a"), in_network("b")]);
    let view = EndpointView::default();
    let bytes = load_assignment(&service(), &port(), Some(&endpoints), &view, &Gateways::default());
    assert_eq!(summary(&bytes), ["10.0.0.1 p0 - 1"]);
}

#[test]
fn weights_of_a_priority_sum_to_32_bits_at_most() {
    let heavy = |address: &str, zone: &str, weight| Endpoint {
        weight,
        place: model::Place { locality: Locality::new("eu", zone, ""), ..model::Place::default() }
            .into(),
        ..endpoint(address)
    };
    let endpoints = vec![
        heavy("10.0.0.1", "a", u32::MAX),
        heavy("10.0.0.2", "a", u32::MAX / 2),
        heavy("10.0.0.3", "b", u32::MAX),
        heavy("10.0.0.4", "b", 1),
    ];
    let message = decoded(&load_assignment(
        &service(),
        &port(),
        Some(&set(endpoints)),
        &EndpointView::default(),
        &Gateways::default(),
    ));
    let weights: Vec<u64> =
        message.endpoints.iter().map(|group| group.load_balancing_weight.unwrap().into()).collect();
    assert!(weights.iter().sum::<u64>() <= u64::from(u32::MAX), "{weights:?}");
    // 1.5 to 1.
    assert_eq!(weights, [2_147_483_647, 1_431_655_766]);
}

#[test]
fn a_logical_dns_assignment_has_one_endpoint() {
    let endpoints = set(vec![endpoint("b.example.com"), endpoint("a.example.com")]);
    let view = EndpointView::default();
    let one = |only_first| {
        inlined(&service(), &port(), Some(&endpoints), &view, &Gateways::default(), only_first)
    };
    assert_eq!(summary(&one(true)), ["a.example.com p0 - 1"]);
    assert_eq!(summary(&one(false)), ["a.example.com p0 - 1", "b.example.com p0 - 1"]);
}

fn grpc() -> EndpointView {
    EndpointView { audience: Audience::Grpc, ..EndpointView::default() }
}

/// `priority zone/subzone weight: addresses` of each group.
fn groups_of(value: &Value) -> Vec<String> {
    let groups = value["endpoints"].as_array().into_iter().flatten();
    let line = |group: &Value| {
        let part = |name: &str| group["locality"][name].as_str().unwrap_or_default().to_owned();
        let members = group["lb_endpoints"].as_array().into_iter().flatten();
        let addresses: Vec<String> = members
            .map(|member| {
                assert_eq!(member["health_status"], "HEALTHY");
                let endpoint = &member["endpoint"];
                let further = endpoint["additional_addresses"].as_array().into_iter().flatten();
                let all = std::iter::once(&endpoint["address"])
                    .chain(further.map(|one| &one["address"]))
                    .map(|one| one["socket_address"]["address"].as_str().unwrap());
                all.collect::<Vec<_>>().join("+")
            })
            .collect();
        let priority = group["priority"].as_u64().unwrap_or_default();
        let weight = &group["load_balancing_weight"];
        format!(
            "p{priority} {}/{} {weight}: {}",
            part("zone"),
            part("sub_zone"),
            addresses.join(" ")
        )
    };
    groups.map(line).collect()
}

#[test]
fn grpc_gets_degraded_and_held_endpoints_as_healthy_ones_of_later_priorities_and_no_ill_ones() {
    let with = |address, health, held| Endpoint { health, held, ..endpoint(address) };
    let all = vec![
        with("10.0.0.1", Health::Healthy, true),
        with("10.0.0.2", Health::Degraded, false),
        with("10.0.0.3", Health::Healthy, false),
        with("10.0.0.4", Health::Unhealthy, false),
        with("10.0.0.5", Health::Draining, false),
    ];
    assert_eq!(
        groups_of(&built(&service(), all, &grpc())),
        ["p0 / 1: 10.0.0.3", "p1 / 1: 10.0.0.2", "p2 / 1: 10.0.0.1"]
    );
}

#[test]
fn grpc_gets_weights_of_endpoints_as_weights_of_localities() {
    let with = |address, weight, locality: &str| Endpoint {
        weight,
        place: model::Place { locality: Locality::parse(locality), ..model::Place::default() }
            .into(),
        ..endpoint(address)
    };
    let all = vec![
        with("10.0.0.1", 1, "eu/a"),
        with("10.0.0.2", 5, "eu/a"),
        with("10.0.0.3", 1, "eu/a"),
        with("10.0.0.4", 5, "eu/b/x"),
    ];
    assert_eq!(
        groups_of(&built(&service(), all, &grpc())),
        ["p0 a/ 2: 10.0.0.1 10.0.0.3", "p0 a/~5 5: 10.0.0.2", "p0 b/x~5 5: 10.0.0.4"]
    );
}

#[test]
fn grpc_gets_every_address_once_and_only_ip_addresses() {
    let dual = |address, more: &[&str]| Endpoint {
        more_addresses: Some(Arc::new(more.iter().map(|ip| Address::parse(ip)).collect())),
        ..endpoint(address)
    };
    let all = vec![
        dual("10.0.0.1", &["fd00::1", "10.0.0.2", "10.0.0.1"]),
        dual("10.0.0.2", &["fd00::1", "fd00::2"]),
        endpoint("unix:///run/s"),
        endpoint("a.example.com"),
    ];
    assert_eq!(
        groups_of(&built(&service(), all, &grpc())),
        ["p0 / 2: 10.0.0.1+fd00::1 10.0.0.2+fd00::2"]
    );
}
