#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, EndpointSet, Health, Labels, Locality, Place, Port, Protocol, RegistryId,
    Resolution, Service, ServiceKey, Sourced, TargetPort, TlsMode, TrafficDistribution, Visibility,
    Workload, WorkloadKey,
};
use mainstem_registry::Problems;
use mainstem_registry::serviceentry::Declared;
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::yaml::{self, Document, Node};

fn around() -> Around {
    let config = FileConfig {
        network: "n1".into(),
        locality: "eu/eu-1".to_owned(),
        ..FileConfig::new("static", "unused")
    };
    super::around(&config, &RegistryId::new("file", "static"))
}

fn origins() -> mainstem_model::Origins {
    Sourced::only(&RegistryId::new("file", "static"), "Service", "a.yaml#x", "1")
}

fn node(text: &str) -> Node {
    Node::parse(Document { line: 1, text }).unwrap()
}

fn declared(text: &str) -> Result<Declared, Problems> {
    service(&around(), &yaml::typed(&node(text)).unwrap(), &origins())
}

fn worked(text: &str) -> Result<Arc<Workload>, Problems> {
    workload(&around(), &yaml::typed(&node(text)).unwrap(), &origins())
}

#[test]
fn a_service_becomes_what_it_says() {
    let declared = declared(
        "hostname: Orders.shop.svc.cluster.local.
ports:
- { number: 8443, name: https-admin }
- { number: 80, protocol: HTTP, targetPort: web }
addresses: [240.0.0.2, 240.0.0.1/32, 10.7.1.0/16]
aliases: [orders.example.com]
labels: { app: orders }
exportTo: [., ops]
serviceAccounts: [orders, other/x, 'spiffe://else/ns/a/sa/b']
external: true
trafficDistribution: PreferSameZone
endpoints:
- { address: 10.1.0.4, ports: { web: 8080 }, weight: 2, health: degraded, locality: us/us-1/a,
    network: n2, labels: { version: 1.10 }, serviceAccount: orders, node: host-1 }
- { addresses: [10.1.0.5, 'fd00::5'], ports: { http-80: 8081, https-admin: 9443 }, tlsMode: disabled }
",
    )
    .unwrap();

    let port =
        |number, name: &str, protocol, target| Port { number, name: name.into(), protocol, target };
    let key = ServiceKey::new("orders.shop.svc.cluster.local", "shop");
    let service = Service {
        ports: vec![
            port(80, "http-80", Protocol::Http, TargetPort::Name("web".into())),
            port(8443, "https-admin", Protocol::Https, TargetPort::Number(8443)),
        ],
        resolution: Resolution::ClientSide,
        addresses: [(
            "static".into(),
            vec!["240.0.0.1".parse().unwrap(), "240.0.0.2".parse().unwrap()],
        )]
        .into(),
        prefixes: vec!["10.7.0.0/16".parse().unwrap()],
        aliases: ["orders.example.com".into()].into(),
        visibility: Visibility::Namespaces(["ops".into(), "shop".into()].into()),
        labels: Labels::from_iter([("app", "orders")]),
        service_accounts: [
            "spiffe://cluster.local/ns/shop/sa/orders".into(),
            "spiffe://cluster.local/ns/other/sa/x".into(),
            "spiffe://else/ns/a/sa/b".into(),
        ]
        .into(),
        external: true,
        distribution: TrafficDistribution::PreferSameZone,
        ..Service::new(key.clone(), origins())
    };
    assert!(declared.service.same_content(&service), "{:#?}", declared.service);

    let endpoint = |port, name: &str, address: &str, target| Endpoint {
        port_name: name.into(),
        place: Place {
            locality: Locality::parse("eu/eu-1"),
            network: "n1".into(),
            cluster: "static".into(),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(port, Address::parse(address), target, origins())
    };
    let first = |endpoint| Endpoint {
        weight: 2,
        health: Health::Degraded,
        tls_mode: TlsMode::Istio,
        identity: Some("spiffe://cluster.local/ns/shop/sa/orders".into()),
        labels: Labels::from_iter([("version", "1.10")]),
        place: Place {
            locality: Locality::parse("us/us-1/a"),
            network: "n2".into(),
            cluster: "static".into(),
            node: Some("host-1".into()),
        }
        .into(),
        ..endpoint
    };
    let more = Some(Arc::new(vec![Address::parse("fd00::5")]));
    let expected = EndpointSet::new(
        key,
        vec![
            first(endpoint(80, "http-80", "10.1.0.4", 8080)).into(),
            first(endpoint(8443, "https-admin", "10.1.0.4", 8443)).into(),
            Endpoint { more_addresses: more.clone(), ..endpoint(80, "http-80", "10.1.0.5", 8081) }
                .into(),
            Endpoint { more_addresses: more, ..endpoint(8443, "https-admin", "10.1.0.5", 9443) }
                .into(),
        ],
    );
    let set = declared.endpoint_set([]);
    assert!(set.same_content(&expected), "{set:#?}");
}

#[rstest]
#[case("hostname: a.b\nendpoints: [{ address: 10.0.0.1, port: 8080 }]", 8080)]
#[case("hostname: a.b\nendpoints: [{ address: 10.0.0.1 }]", 9)]
#[case("hostname: a.b\nendpoints: [{ address: 'unix:///run/a' }]", 0)]
#[case("hostname: a.b\nendpoints: [{ address: db.example.com }]", 9)]
#[case("hostname: a.b\nresolution: dns", 9)]
fn an_endpoint_leads_somewhere(#[case] text: &str, #[case] expected: u16) {
    let text = format!("ports: [{{ number: 80, name: x, targetPort: 9 }}]\n{text}");
    let set = declared(&text).unwrap().endpoint_set([]);
    let targets: Vec<u16> = set.endpoints().iter().map(|e| e.target_port).collect();
    assert_eq!(targets, [expected]);
}

#[test]
fn a_workload_becomes_what_it_says() {
    let workload = worked(
        "{ name: vm-1, namespace: shop, addresses: [10.0.0.1, vm-1.example.com], weight: 3,
           labels: { app: orders }, ports: { http: 8080 }, health: draining, node: h,
           serviceAccount: orders }",
    )
    .unwrap();
    let key = WorkloadKey::new("static".into(), "shop".into(), "vm-1");
    let expected = Workload {
        labels: Labels::from_iter([("app", "orders")]),
        addresses: vec![Address::parse("10.0.0.1"), Address::parse("vm-1.example.com")],
        network: "n1".into(),
        locality: Locality::parse("eu/eu-1"),
        node: Some("h".into()),
        identity: Some("spiffe://cluster.local/ns/shop/sa/orders".into()),
        ports: [("http".into(), 8080)].into(),
        health: Health::Draining,
        tls_mode: TlsMode::Istio,
        weight: 3,
        ..Workload::new(key, origins())
    };
    assert!(workload.same_content(&expected), "{workload:#?}");
}

#[rstest]
#[case("hostname: '*'", "hostname: \"*\" is no host name; write a name such as db.example.com")]
#[case(
    "hostname: '*.a.b'\nresolution: dns",
    "hostname: \"*.a.b\" is a wildcard, which cannot stand here"
)]
#[case("hostname: a.b\naliases: [A.b]", "aliases[0]: names the service itself")]
#[case(
    "hostname: a.b\naliasOf: c.d\nselector: { a: b }",
    "aliasOf: excludes endpoints and selector: another service has them"
)]
#[case(
    "hostname: a.b\nresolution: passthrough\nports: [{ number: 1 }]\nendpoints: [{ address: 1.2.3.4 }]",
    "resolution: passthrough takes no endpoints; write static or dns"
)]
#[case(
    "hostname: a.b\nports: [{ number: 80 }, { number: 80, name: x }]",
    "ports[1].number: port 80 stands here twice"
)]
#[case(
    "hostname: a.b\nports: [{ number: 80, name: x }, { number: 81, name: x }]",
    "ports[1].name: \"x\" names two ports"
)]
#[case(
    "hostname: a.b\nports: [{ number: 80, protocol: http-web }]",
    "ports[0].protocol: \"http-web\" is no protocol; there are http, http2, https, grpc, grpc-web, \
     http_proxy, tcp, tls, mongo, redis, mysql, udp"
)]
#[case(
    "hostname: a.b\naddresses: [10.0.0.0/33]",
    "addresses[0]: \"10.0.0.0/33\" is neither an IP address nor a CIDR prefix"
)]
#[case("hostname: a.b\nendpoints: [{}]", "endpoints[0]: has no address")]
#[case(
    "hostname: a.b\nendpoints: [{ address: 10.0.0.256 }]",
    "endpoints[0].address: \"10.0.0.256\" is no IP address"
)]
#[case(
    "hostname: a.b\nendpoints: [{ address: 'unix://x' }]",
    "endpoints[0].address: \"x\" is no absolute path; write unix:///run/app.sock"
)]
#[case(
    "hostname: a.b\nendpoints: [{ address: a.b, addresses: [c.d] }]",
    "endpoints[0].addresses: excludes address; keep one of the two"
)]
#[case(
    "hostname: a.b\nendpoints: [{ address: 10.0.0.1, weight: 0 }]",
    "endpoints[0].weight: 0 gives no traffic at all; write 1 or more, or health: unhealthy"
)]
#[case(
    "hostname: a.b\nports: [{ number: 1, name: x }]\nendpoints: [{ address: 10.0.0.1, ports: { y: 2 } }]",
    "endpoints[0].ports.y: the service has no port \"y\"; there are: x"
)]
#[case(
    "hostname: a.b\nports: [{ number: 1, name: x }, { number: 2, name: y }]\nendpoints: [{ address: 10.0.0.1, port: 2 }]",
    "endpoints[0].port: the service has several ports; name them under ports"
)]
#[case(
    "hostname: a.b\nports: [{ number: 1, name: x, targetPort: web }]\nendpoints: [{ address: 10.0.0.1 }]",
    "endpoints[0]: has no port \"web\", where service port 1 leads; add it under ports"
)]
#[case(
    "hostname: a.b\nports: [{ number: 1, name: x }]\nendpoints: [{ address: 10.0.0.1 }, { address: 10.0.0.1 }]",
    "endpoints: 10.0.0.1 port 1 stands here twice"
)]
#[case(
    "hostname: a.b\nports: [{ number: 1, name: x }]\nendpoints: [{ address: 10.0.0.1, ports: { x: 0 } }]",
    "endpoints[0].ports.x: 0 is no port; ports are 1 to 65535"
)]
fn a_wrong_field_is_named(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(declared(text).unwrap_err().to_string(), expected);
}

#[rstest]
#[case("{ name: '', addresses: [10.0.0.1] }", "name: is empty")]
#[case("{ name: a, addresses: [] }", "addresses: has no address")]
#[case(
    "{ name: a, addresses: [10.0.0.1], ports: { x: 0 } }",
    "ports.x: 0 is no port; ports are 1 to 65535"
)]
fn a_wrong_field_of_a_workload_is_named(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(worked(text).unwrap_err().to_string(), expected);
}
