//! Who is told what, and what a change touches.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::mesh::*;
use common::random::Change;
use common::{endpoint, proxy, workload};
use mainstem_model::{
    Address, Endpoint, Health, Locality, Place, Protocol, Resolution, Sourced, TrafficDistribution,
    Visibility,
};
use mainstem_translate::{Attached, Kind};
use pretty_assertions::assert_eq;
use serde_json::json;

#[test]
fn an_endpoint_change_touches_one_load_assignment_and_who_sees_it() {
    let mut hidden = one_port("db.shop.svc.cluster.local", 80, Protocol::Http, "10.0.0.2");
    hidden.visibility = Visibility::Namespaces(["shop".into()].into());
    let mut mesh = Mesh::of(vec![put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")), put(hidden)]);
    let (shop, other) = (
        mesh.scopes.attach(sidecar()),
        mesh.scopes.attach(proxy("router~10.1.0.9~gw.other~x", "c1", json!({}))),
    );
    let before = shop.moment();

    let told =
        mesh.change(vec![endpoints("db.shop.svc.cluster.local", vec![endpoint(80, "10.1.0.7")])]);

    assert_eq!(told, [shop.id()].into());
    let expected = vec!["outbound|80||db.shop.svc.cluster.local".to_owned()];
    assert_eq!(changes(&shop.moment(), &before), [(Kind::LoadAssignment, expected)].into());
    assert!(names(&other, Kind::Cluster).iter().all(|name| !name.contains("db.shop")));
}

#[test]
fn a_write_that_changes_no_content_is_told_to_nobody() {
    let mut web = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    let mut mesh = Mesh::of(vec![put(web.clone())]);
    let _attached = mesh.scopes.attach(sidecar());
    web.origins = Sourced::only(&"kubernetes/c1".into(), "Service", WEB, "2");
    assert_eq!(mesh.change(vec![put(web)]), [].into());
}

#[test]
fn health_never_changes_a_cluster() {
    let ill = Endpoint { health: Health::Unhealthy, ..endpoint(80, "10.1.0.7") };
    let mut mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        endpoints(WEB, vec![endpoint(80, "10.1.0.7")]),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    let before = attached.moment();
    mesh.change(vec![endpoints(WEB, vec![ill])]);
    let kinds: Vec<Kind> = changes(&attached.moment(), &before).into_keys().collect();
    assert_eq!(kinds, [Kind::LoadAssignment]);
}

#[test]
fn proxies_that_are_told_the_same_share_it_across_namespaces_too() {
    let mesh = Mesh::of(vec![put(one_port(WEB, 80, Protocol::Http, "10.0.0.1"))]);
    let id = |n: u8, ns: &str| format!("sidecar~10.1.0.{n}~p{n}.{ns}~{ns}.svc.cluster.local");
    let attach = |n, ns| mesh.scopes.attach(proxy(&id(n, ns), "c1", json!({})));
    let (one, two, three) = (attach(1, "shop"), attach(2, "shop"), attach(3, "other"));
    assert_eq!(one.group(), two.group());
    assert_ne!(one.group(), three.group());
    for kind in [Kind::Cluster, Kind::LoadAssignment] {
        let (here, there) = (one.moment(), three.moment());
        let mut pairs = here.view(kind).iter().zip(there.view(kind).iter());
        assert!(pairs.all(|(a, b)| Arc::ptr_eq(a, b)), "{kind:?}");
    }
}

#[test]
fn namespaces_that_see_the_same_share_all_scopes_of_routers_until_one_sees_more() {
    let mut mesh = Mesh::of(vec![put(one_port(WEB, 80, Protocol::Http, "10.0.0.1"))]);
    let router = |ns: &str| {
        mesh.scopes.attach(proxy(&format!("router~10.1.0.9~gw.{ns}~x"), "c1", json!({})))
    };
    let (one, two) = (router("one"), router("two"));
    assert_eq!(one.group(), two.group());

    let mut shown = one_port("db.shop.svc.cluster.local", 80, Protocol::Http, "10.0.0.2");
    shown.visibility = Visibility::Namespaces(["two".into()].into());
    let told = mesh.change(vec![put(shown.clone())]);
    assert_eq!(told, [two.id()].into());
    assert_ne!(one.group(), two.group());
    let db = |attached: &Arc<Attached>| {
        names(attached, Kind::Cluster).iter().filter(|name| name.contains("db.shop")).count()
    };
    assert_eq!((db(&one), db(&two)), (0, 1));

    shown.visibility = Visibility::Public;
    assert_eq!(mesh.change(vec![put(shown)]), [one.id(), two.id()].into());
    assert_eq!(one.group(), two.group());
    assert_eq!((db(&one), db(&two)), (1, 1));
}

#[test]
fn only_what_depends_on_the_place_differs_from_node_to_node() {
    let mut local = one_port("agent.shop.svc.cluster.local", 80, Protocol::Http, "10.0.0.2");
    local.node_local = true;
    let mut near = one_port("near.shop.svc.cluster.local", 80, Protocol::Http, "10.0.0.3");
    near.distribution = TrafficDistribution::PreferSameZone;
    let at = |address: &str, node: &str, zone: &str| Endpoint {
        place: Place {
            node: Some(node.into()),
            locality: Locality::new("eu", zone, ""),
            ..Place::default()
        }
        .into(),
        ..endpoint(80, address)
    };
    let both = vec![at("10.1.0.7", "n1", "a"), at("10.1.0.8", "n2", "b")];
    let mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        put(local),
        put(near),
        endpoints(WEB, both.clone()),
        endpoints("agent.shop.svc.cluster.local", both.clone()),
        endpoints("near.shop.svc.cluster.local", both),
    ]);
    let on = |node: &str, locality: &str| {
        mesh.scopes.attach(sidecar_with(json!({"NODE_NAME": node, "LOCALITY": locality})))
    };
    let (first, second) = (on("n1", "eu/a"), on("n2", "eu/b"));
    assert_eq!(
        changes(&first.moment(), &second.moment()),
        [(
            Kind::LoadAssignment,
            vec![
                "outbound|80||agent.shop.svc.cluster.local".to_owned(),
                "outbound|80||near.shop.svc.cluster.local".to_owned(),
            ],
        )]
        .into()
    );
}

#[test]
fn a_service_of_each_cluster_by_itself_is_served_by_the_clients_own_cluster() {
    let mut isolated = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    isolated.cluster_local = true;
    let at = |address: &str, cluster: &str| Endpoint {
        place: Place { cluster: cluster.into(), ..Place::default() }.into(),
        ..endpoint(80, address)
    };
    let both = vec![at("10.1.0.7", "c1"), at("10.1.0.8", "c2")];
    let mesh = Mesh::of(vec![put(isolated), endpoints(WEB, both)]);
    let id = "sidecar~10.1.0.1~p1.shop~shop.svc.cluster.local";
    let addresses = ["c1", "c2", "c3"].map(|cluster| {
        let attached = mesh.scopes.attach(proxy(id, cluster, json!({})));
        let assignment = read(&attached, Kind::LoadAssignment, &format!("outbound|80||{WEB}"));
        let groups = assignment["endpoints"].as_array().cloned().unwrap_or_default();
        let members = groups.iter().flat_map(|group| group["lb_endpoints"].as_array().unwrap());
        members
            .map(|one| text(&one["endpoint"]["address"]["socket_address"]["address"]))
            .collect::<Vec<_>>()
    });
    assert_eq!(addresses, [vec!["10.1.0.7".to_owned()], vec!["10.1.0.8".to_owned()], vec![]]);
}

#[test]
fn weights_that_are_shares_stay_shares_wherever_the_client_is() {
    let mut shared = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    shared.distribution = TrafficDistribution::PreferSameZone;
    shared.exact_shares = true;
    let at = |address: &str, zone: &str| Endpoint {
        place: Place { locality: Locality::new("eu", zone, ""), ..Place::default() }.into(),
        ..endpoint(80, address)
    };
    let mesh =
        Mesh::of(vec![put(shared), endpoints(WEB, vec![at("10.1.0.7", "a"), at("10.1.0.8", "b")])]);
    let attached = mesh.scopes.attach(sidecar_with(json!({"LOCALITY": "eu/a"})));
    let assignment = read(&attached, Kind::LoadAssignment, &format!("outbound|80||{WEB}"));
    let groups = assignment["endpoints"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(|group| group.get("priority").is_none()), "{assignment}");
}

#[test]
fn a_pods_locality_and_node_count_where_the_proxy_says_nothing() {
    let mut near = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    near.distribution = TrafficDistribution::PreferSameZone;
    let mut pod = workload("c1", "shop", "web-1", "web");
    pod.locality = Locality::parse("eu/b");
    pod.addresses = vec![Address::parse("10.1.0.1")];
    let at = |address: &str, locality: &str| Endpoint {
        place: Place { locality: Locality::parse(locality), ..Place::default() }.into(),
        ..endpoint(80, address)
    };
    let mut mesh = Mesh::of(vec![
        put(near),
        endpoints(WEB, vec![at("10.1.0.7", "eu/a"), at("10.1.0.8", "eu/b")]),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    let first = |attached: &Attached| {
        let assignment = read(attached, Kind::LoadAssignment, &format!("outbound|80||{WEB}"));
        let groups = assignment["endpoints"].as_array().unwrap().clone();
        let first = groups.iter().filter(|group| group.get("priority").is_none());
        first.map(|group| text(&group["locality"]["zone"])).collect::<Vec<_>>()
    };
    assert_eq!(first(&attached), ["a", "b"]);
    mesh.change(vec![Change::Workload(Box::new(pod))]);
    assert_eq!(first(&attached), ["b"]);
}

fn grpc_client() -> mainstem_model::Proxy {
    sidecar_with(json!({"GENERATOR": "grpc"}))
}

#[test]
fn a_grpc_client_finds_a_service_by_all_its_names_and_an_alias_leads_where_it_stands_for() {
    let mut web = one_port(WEB, 80, Protocol::Grpc, "10.0.0.1");
    web.aliases = ["www.example.com".into()].into();
    let mut mesh = Mesh::of(vec![
        put(web),
        put(one_port("*.wild.example.com", 80, Protocol::Http, "")),
        put(one_port("db.shop.svc.cluster.local", 53, Protocol::Udp, "")),
    ]);
    let client = mesh.scopes.attach(grpc_client());
    let names = |kind| names(&client, kind);
    let expected = ["web.shop.svc.cluster.local:80", "web.shop.svc:80", "web.shop:80", "web:80"];
    assert_eq!(names(Kind::Listener), [&expected[..], &["www.example.com:80"]].concat());
    let wild = "outbound|80||*.wild.example.com";
    let cluster = "outbound|80||web.shop.svc.cluster.local";
    for kind in [Kind::Route, Kind::Cluster, Kind::LoadAssignment] {
        assert_eq!(names(kind), [wild, cluster], "{kind:?}");
    }

    let mut store = one_port("store.shop.svc.cluster.local", 80, Protocol::Http, "");
    store.resolution = Resolution::Alias;
    store.alias_of = Some(WEB.into());
    mesh.change(vec![put(store)]);
    let listener = read(&client, Kind::Listener, "store:80");
    assert_eq!(
        listener["api_listener"]["api_listener"]["rds"]["route_config_name"],
        "outbound|80||web.shop.svc.cluster.local"
    );
}

#[test]
fn a_grpc_client_resolves_a_name_only_where_no_endpoint_has_an_address() {
    let mut mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Grpc, "10.0.0.1")),
        endpoints(WEB, vec![endpoint(80, "edge.example.com")]),
    ]);
    let client = mesh.scopes.attach(grpc_client());
    let kind = |client: &Attached| {
        text(&read(client, Kind::Cluster, "outbound|80||web.shop.svc.cluster.local")["type"])
    };
    assert_eq!(kind(&client), "LOGICAL_DNS");
    assert_eq!(names(&client, Kind::LoadAssignment), [""; 0]);
    mesh.change(vec![endpoints(
        WEB,
        vec![endpoint(80, "10.1.0.7"), endpoint(80, "edge.example.com")],
    )]);
    assert_eq!(kind(&client), "EDS");
    assert_eq!(names(&client, Kind::LoadAssignment).len(), 1);
}

#[test]
fn an_endpoint_change_touches_one_load_assignment_of_a_grpc_client_too() {
    let mut mesh = Mesh::of(vec![put(one_port(WEB, 80, Protocol::Grpc, "10.0.0.1"))]);
    let client = mesh.scopes.attach(grpc_client());
    let before = client.moment();
    mesh.change(vec![endpoints(WEB, vec![endpoint(80, "10.1.0.7")])]);
    let expected = vec!["outbound|80||web.shop.svc.cluster.local".to_owned()];
    assert_eq!(changes(&client.moment(), &before), [(Kind::LoadAssignment, expected)].into());
}
