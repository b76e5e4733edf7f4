//! What proxies are told, fact by fact.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::mesh::*;
use common::random::Change;
use common::{endpoint, port, proxy, service, workload};
use mainstem_model::{
    Health, Labels, MeshSettings, OutboundPolicy, OutboundTrafficPolicy, Protocol, Resolution,
    ServiceKey,
};
use mainstem_translate::{Attached, Kind};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

// The proxy's own workload.

#[test]
fn a_pod_that_arrives_after_its_sidecar_gives_it_inbound_listeners() {
    let mut web = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    web.selector = Labels::from_iter([("app", "web")]);
    let mut mesh = Mesh::of(vec![put(web)]);
    let attached = mesh.scopes.attach(sidecar());
    assert!(!names(&attached, Kind::Cluster).contains(&"inbound|8080||".to_owned()));
    let before = attached.moment();

    let mut pod = workload("c1", "shop", "web-1", "web");
    pod.health = Health::Unhealthy;
    let told = mesh.change(vec![Change::Workload(Box::new(pod))]);

    assert_eq!(told, [attached.id()].into());
    assert_eq!(
        changes(&attached.moment(), &before),
        [
            (Kind::Cluster, vec!["inbound|8080||".to_owned()]),
            (Kind::Listener, vec!["virtualInbound".to_owned()]),
        ]
        .into()
    );
    let to_web = (json!({"destination_port": 8080}), "inbound|8080||".to_owned());
    assert!(chains(&attached, "virtualInbound").contains(&to_web));

    let other = workload("c1", "shop", "web-1", "other");
    mesh.change(vec![Change::Workload(Box::new(other))]);
    assert!(!chains(&attached, "virtualInbound").contains(&to_web));
}

#[test]
fn a_workload_registered_by_address_gets_inbound_listeners() {
    let mut mesh = Mesh::of(vec![put(one_port("vm.example.com", 80, Protocol::Grpc, ""))]);
    let attached = mesh.scopes.attach(sidecar());
    mesh.change(vec![endpoints("vm.example.com", vec![endpoint(80, "10.1.0.1")])]);
    assert!(names(&attached, Kind::Cluster).contains(&"inbound|8080||".to_owned()));
    mesh.change(vec![endpoints("vm.example.com", vec![endpoint(80, "10.1.0.2")])]);
    assert!(!names(&attached, Kind::Cluster).contains(&"inbound|8080||".to_owned()));
}

#[test]
fn an_undeclared_port_of_the_workload_is_sniffed_and_an_unknown_one_is_not() {
    let mut web = one_port(WEB, 80, Protocol::Unspecified, "10.0.0.1");
    web.ports.push(port(90, Protocol::Tcp));
    web.selector = Labels::from_iter([("app", "web")]);
    let pod = workload("c1", "shop", "web-1", "web");
    let mesh = Mesh::of(vec![put(web), Change::Workload(Box::new(pod))]);
    let attached = mesh.scopes.attach(sidecar());
    let mut sniffed = http();
    sniffed["destination_port"] = json!(8080);
    assert_eq!(
        chains(&attached, "virtualInbound"),
        [
            (json!({"destination_port": 15006}), "BlackHoleCluster".to_owned()),
            (sniffed, "inbound|8080||".to_owned()),
            (json!({"destination_port": 8080}), "inbound|8080||".to_owned()),
            (json!({"destination_port": 8090}), "inbound|8090||".to_owned()),
            (Value::Null, "InboundPassthroughCluster".to_owned()),
        ]
    );
    let filters = &read(&attached, Kind::Listener, "virtualInbound")["listener_filters"];
    assert_eq!(
        filters[1]["filter_disabled"],
        json!({"not_match": {"destination_port_range": {"start": 8080, "end": 8081}}})
    );
}

// Outbound listeners.

#[test]
fn who_loses_a_clash_is_who_is_not_reached() {
    let opaque =
        |host: &str, port: u16, address: &str| put(one_port(host, port, Protocol::Tcp, address));
    let mut known_as = one_port("z.example.com", 80, Protocol::Http, "");
    known_as.aliases.insert("y.example.com".into());
    let mesh = Mesh::of(vec![
        opaque("a.example.com", 5432, "10.0.0.9"),
        opaque("b.example.com", 5432, "10.0.0.9"),
        opaque("c.example.com", 6379, ""),
        opaque("d.example.com", 6379, ""),
        put(known_as),
        put(one_port("y.example.com", 80, Protocol::Http, "")),
    ]);
    let lost: Vec<String> =
        mesh.snapshot.conflicts().iter().map(|conflict| conflict.hostname.to_string()).collect();
    assert_eq!(lost, ["b.example.com", "d.example.com", "z.example.com"]);

    let attached = mesh.scopes.attach(sidecar());
    let goes = |listener: &str| chains(&attached, listener)[0].1.clone();
    assert_eq!(goes("10.0.0.9_5432"), "outbound|5432||a.example.com");
    assert_eq!(goes("0.0.0.0_6379"), "outbound|6379||c.example.com");
    assert_eq!(domains(&attached, "80")["y.example.com"], "y.example.com:80");
}

#[test]
fn services_without_an_address_share_the_listener_of_their_port() {
    let mut wide = one_port("wide.example.com", 80, Protocol::Tcp, "");
    wide.prefixes = vec!["10.2.0.0/16".parse().unwrap()];
    let mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        put(one_port("a.example.com", 80, Protocol::Tcp, "")),
        put(one_port("b.example.com", 80, Protocol::Tcp, "")),
        put(one_port("*.tls.example.com", 80, Protocol::Tls, "")),
        put(wide),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    assert_eq!(
        chains(&attached, "0.0.0.0_80"),
        [
            (
                json!({"server_names": ["*.tls.example.com"]}),
                "outbound|80||*.tls.example.com".to_owned()
            ),
            (
                json!({"prefix_ranges": [{"address_prefix": "10.2.0.0", "prefix_len": 16}]}),
                "outbound|80||wide.example.com".to_owned()
            ),
            (http(), "80".to_owned()),
            (Value::Null, "outbound|80||a.example.com".to_owned()),
        ]
    );
}

#[test]
fn what_is_not_http_has_a_listener_at_its_address() {
    let mesh = Mesh::of(vec![
        put(one_port("db.example.com", 5432, Protocol::Tcp, "10.0.0.2")),
        put(one_port("any.example.com", 7000, Protocol::Unspecified, "10.0.0.3")),
        put(one_port("dns.example.com", 53, Protocol::Udp, "10.0.0.4")),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    assert_eq!(
        names(&attached, Kind::Listener),
        ["10.0.0.2_5432", "10.0.0.3_7000", "virtualInbound", "virtualOutbound"]
    );
    assert_eq!(
        chains(&attached, "10.0.0.2_5432"),
        [(Value::Null, "outbound|5432||db.example.com".to_owned())]
    );
    assert_eq!(
        chains(&attached, "10.0.0.3_7000"),
        [
            (http(), "any.example.com:7000".to_owned()),
            (Value::Null, "outbound|7000||any.example.com".to_owned()),
        ]
    );
    let expected = [("*".to_owned(), "any.example.com:7000".to_owned())];
    assert_eq!(domains(&attached, "any.example.com:7000"), expected.into());
}

#[test]
fn unknown_destinations_follow_the_mesh_policy() {
    let mut mesh = Mesh::of(vec![put(one_port(WEB, 80, Protocol::Http, "10.0.0.1"))]);
    let attached = mesh.scopes.attach(sidecar());
    let unknown = |attached: &Attached| {
        let last = |name| chains(attached, name).pop().unwrap().1;
        (last("virtualOutbound"), last("0.0.0.0_80"), domains(attached, "80")["*"].clone())
    };
    let through = "PassthroughCluster".to_owned();
    assert_eq!(unknown(&attached), (through.clone(), through, "allow_any".to_owned()));

    let closed = OutboundTrafficPolicy { mode: OutboundPolicy::RegistryOnly };
    let settings = MeshSettings { outbound_traffic_policy: closed, ..MeshSettings::default() };
    mesh.change(vec![Change::Mesh(Box::new(settings))]);
    let nowhere = "BlackHoleCluster".to_owned();
    assert_eq!(unknown(&attached), (nowhere.clone(), nowhere, "block_all".to_owned()));
}

// Without interception.

#[test]
fn without_interception_listeners_bind_loopback_and_leave_the_workload_its_ports() {
    let mut own = one_port("own.shop.svc.cluster.local", 8090, Protocol::Http, "10.0.0.9");
    own.ports[0].target = mainstem_model::TargetPort::Number(8090);
    own.selector = Labels::from_iter([("app", "web")]);
    let mut headless = one_port("queue.shop.svc.cluster.local", 9092, Protocol::Tcp, "");
    headless.resolution = Resolution::Passthrough;
    let mesh = Mesh::of(vec![
        put(own),
        put(one_port(WEB, 8080, Protocol::Http, "10.0.0.1")),
        put(one_port("db.shop.svc.cluster.local", 5432, Protocol::Tcp, "127.0.0.7")),
        put(headless),
    ]);
    let attached = mesh.scopes.attach(unintercepted());
    assert_eq!(
        names(&attached, Kind::Listener),
        ["0.0.0.0_8080", "0.0.0.0_9092", "10.1.0.1_8090", "127.0.0.7_5432"]
    );
    let shared = read(&attached, Kind::Listener, "0.0.0.0_8080");
    assert_eq!(shared["address"]["socket_address"]["address"], "127.0.0.1");
    assert_eq!(shared["bind_to_port"], Value::Null);
    assert_eq!(shared["listener_filters"], Value::Null);
    assert_eq!(domains(&attached, "8080")["*"], "block_all");
    let cluster = read(&attached, Kind::Cluster, "outbound|9092||queue.shop.svc.cluster.local");
    assert_eq!(cluster["type"], "EDS");
}

#[test]
fn an_unprivileged_proxy_binds_no_port_below_1024() {
    let mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        put(one_port("db.shop.svc.cluster.local", 5432, Protocol::Tcp, "")),
    ]);
    let metadata = json!({"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true"});
    let attached = mesh.scopes.attach(sidecar_with(metadata));
    assert_eq!(names(&attached, Kind::Listener), ["0.0.0.0_5432"]);
}

#[test]
fn a_workload_on_loopback_alone_is_reached_without_listeners() {
    let mut web = one_port(WEB, 80, Protocol::Http, "10.0.0.1");
    web.selector = Labels::from_iter([("app", "web")]);
    let mesh = Mesh::of(vec![put(web)]);
    let id = format!("sidecar~127.0.0.1~web-1.shop~{SHOP}");
    let metadata = json!({"INTERCEPTION_MODE": "NONE", "LABELS": {"app": "web"}});
    let attached = mesh.scopes.attach(proxy(&id, "c1", metadata));
    assert_eq!(names(&attached, Kind::Listener), ["0.0.0.0_80"]);
}

// Routes.

#[test]
fn a_domain_belongs_to_the_strongest_claim() {
    let http = |host: &str, address: &str| one_port(host, 80, Protocol::Http, address);
    let mut foreign = service("a-foreign.example.com", "shop", "file");
    foreign.ports = vec![port(80, Protocol::Http)];
    foreign.addresses = [("c2".into(), vec!["10.0.0.1".parse().unwrap()])].into();
    let mut alias = http("store.example.com", "");
    alias.resolution = Resolution::Alias;
    alias.alias_of = Some(WEB.into());
    let mut named = http("b.example.com", "");
    named.aliases = ["web.shop".into(), "store.example.com".into()].into();
    let mut mesh = Mesh::of(vec![
        put(http(WEB, "10.0.0.1")),
        put(foreign),
        put(alias),
        put(named),
        put(http("web", "")),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    let owner = |attached: &Attached, domain: &str| domains(attached, "80")[domain].clone();
    let web = format!("{WEB}:80");
    assert_eq!(owner(&attached, WEB), web);
    assert_eq!(owner(&attached, "10.0.0.1"), web, "its own cluster's address");
    assert_eq!(owner(&attached, "web"), "web:80", "a host name before a short name");
    assert_eq!(owner(&attached, "web.shop"), "b.example.com:80", "an alias before a short name");
    assert_eq!(owner(&attached, "store.example.com"), "b.example.com:80", "the first by name");

    let before = attached.moment();
    mesh.change(vec![Change::NoService(ServiceKey::new("web", "shop"))]);
    assert_eq!(owner(&attached, "web"), web);
    mesh.change(vec![Change::NoService(ServiceKey::new(WEB, "shop"))]);
    assert_eq!(owner(&attached, "10.0.0.1"), "a-foreign.example.com:80");
    assert!(changes(&attached.moment(), &before)[&Kind::Route].contains(&"80".to_owned()));
}

#[test]
fn an_alias_of_aliases_leads_to_the_service_and_a_circle_nowhere() {
    let alias = |host: &str, target: &str| {
        let mut alias = one_port(host, 80, Protocol::Http, "");
        alias.resolution = Resolution::Alias;
        alias.alias_of = Some(target.into());
        put(alias)
    };
    let mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        alias("one.example.com", "two.example.com"),
        alias("two.example.com", WEB),
        alias("x.example.com", "y.example.com"),
        alias("y.example.com", "x.example.com"),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    let domains = domains(&attached, "80");
    assert_eq!(domains["one.example.com"], format!("{WEB}:80"));
    assert!(!domains.contains_key("x.example.com"));
    assert!(names(&attached, Kind::Cluster).iter().all(|name| !name.contains("example.com")));
}

#[test]
fn a_name_that_is_no_header_value_costs_only_itself() {
    let mesh = Mesh::of(vec![
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.1")),
        put(one_port("bad\nname", 80, Protocol::Http, "")),
    ]);
    let attached = mesh.scopes.attach(sidecar());
    let hosts: BTreeSet<String> = domains(&attached, "80").into_values().collect();
    assert_eq!(hosts, [format!("{WEB}:80"), "allow_any".to_owned()].into());
}

// Routers.

#[test]
fn a_router_has_the_endpoints_of_headless_services_and_no_listeners() {
    let mut headless = one_port("queue.shop.svc.cluster.local", 80, Protocol::Http, "");
    headless.resolution = Resolution::Passthrough;
    let mesh = Mesh::of(vec![
        put(headless),
        endpoints("queue.shop.svc.cluster.local", vec![endpoint(80, "10.1.0.7")]),
    ]);
    let attached = mesh.scopes.attach(proxy("router~10.1.0.9~gw.shop~x", "c1", json!({})));
    let cluster = "outbound|80||queue.shop.svc.cluster.local".to_owned();
    assert_eq!(names(&attached, Kind::Cluster), ["BlackHoleCluster".to_owned(), cluster.clone()]);
    assert_eq!(names(&attached, Kind::LoadAssignment), [cluster]);
    assert_eq!(names(&attached, Kind::Listener), [""; 0]);
    assert_eq!(names(&attached, Kind::Route), [""; 0]);
}

#[test]
fn what_clashes_at_a_proxy_depends_on_how_it_directs_calls() {
    let mesh = Mesh::of(vec![
        put(one_port("a.example.com", 5432, Protocol::Tcp, "10.0.0.1")),
        put(one_port("b.example.com", 5432, Protocol::Tcp, "10.0.0.2")),
        put(one_port(WEB, 80, Protocol::Http, "10.0.0.3")),
        put(one_port("web", 80, Protocol::Http, "10.0.0.3")),
    ]);
    let found = |proxy| -> Vec<String> {
        let clashes = mesh.scopes.clashes(&proxy);
        clashes.iter().map(|clash| format!("{}: {}", clash.hostname, clash.detail)).collect()
    };
    let domains = [
        format!("{WEB}: the domain web on port 80 is shop/web's"),
        format!("{WEB}: the domain 10.0.0.3 on port 80 is shop/web's"),
    ];
    let mut intercepted = found(sidecar());
    intercepted.sort();
    let mut expected = domains.to_vec();
    expected.sort();
    assert_eq!(intercepted, expected);
    let port = "b.example.com: opaque traffic to port 5432 is shop/a.example.com's";
    let mut bound = found(unintercepted());
    bound.sort();
    expected.insert(0, port.to_owned());
    expected.sort();
    assert_eq!(bound, expected);
    let router = proxy(&format!("router~10.1.0.1~gw.shop~{SHOP}"), "c1", json!({}));
    assert_eq!(found(router), Vec::<String>::new());
}
