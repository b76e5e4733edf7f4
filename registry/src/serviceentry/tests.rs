#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, Health, Labels, Locality, NamespaceName, Origins, Place, Port, Protocol,
    RegistryId, Resolution, Service, ServiceKey, Sourced, TargetPort, TlsMode, Value, Visibility,
    Workload,
};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;
use crate::Problems;

fn around() -> Surroundings {
    Surroundings {
        registry: RegistryId::new("file", "vm"),
        cluster: "vm".into(),
        network: "n1".into(),
        locality: Locality::parse("eu/eu-1"),
        trust_domain: "cluster.local".into(),
    }
}

fn entry(kind: &'static str, name: &str) -> Entry {
    Entry {
        namespace: NamespaceName::from("shop"),
        name: name.into(),
        labels: Labels::default(),
        annotations: Labels::default(),
        origins: Sourced::only(&around().registry, kind, &format!("shop/{name}"), "1"),
    }
}

fn convert_entry(spec: Json) -> Result<Vec<Declared>, Problems> {
    let spec: ServiceEntrySpec = serde_json::from_value(spec).unwrap();
    convert::service_entry(&around(), &entry("ServiceEntry", "db"), &spec)
}

fn convert_workload(spec: Json) -> Result<Workload, Problems> {
    let spec: WorkloadEntrySpec = serde_json::from_value(spec).unwrap();
    convert::workload_entry(&around(), &entry("WorkloadEntry", "vm-1"), &spec)
}

/// `(port, address, target port)` of each endpoint, in order.
fn reached(declared: &Declared, workloads: &[Workload]) -> Vec<(u16, String, u16)> {
    let set = declared.endpoint_set(workloads);
    set.endpoints().iter().map(|e| (e.port, e.address.to_string(), e.target_port)).collect()
}

#[test]
fn an_entry_becomes_a_service_with_its_endpoints() {
    let declared = convert_entry(json!({
        "hosts": ["DB.shop.example."],
        "addresses": ["240.0.0.9", "240.0.0.9/32", "10.9.7.1/16"],
        "ports": [
            {"number": 5432, "name": "tcp-db", "targetPort": 15432},
            {"number": 80, "name": "web", "protocol": "HTTP"},
        ],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "exportTo": [".", "ops"],
        "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/db"],
        "endpoints": [{
            "address": "10.0.0.4", "ports": {"web": 8080}, "weight": 3, "network": "n2",
            "locality": "us/us-1/a", "labels": {"app": "db"}, "serviceAccount": "db",
        }],
    }))
    .unwrap();

    let origins = entry("ServiceEntry", "db").origins;
    let port = |number, name: &str, protocol, target| Port {
        number,
        name: name.into(),
        protocol,
        target: TargetPort::Number(target),
    };
    let service = Service {
        ports: vec![
            port(80, "web", Protocol::Http, 80),
            port(5432, "tcp-db", Protocol::Tcp, 15432),
        ],
        resolution: Resolution::ClientSide,
        addresses: [("vm".into(), vec!["240.0.0.9".parse().unwrap()])].into(),
        prefixes: vec!["10.9.0.0/16".parse().unwrap()],
        visibility: Visibility::Namespaces(["ops".into(), "shop".into()].into()),
        service_accounts: ["spiffe://cluster.local/ns/shop/sa/db".into()].into(),
        ..Service::new(ServiceKey::new("db.shop.example", "shop"), origins.clone())
    };
    let endpoint = |port, name: &str, target| Endpoint {
        port_name: name.into(),
        weight: 3,
        tls_mode: TlsMode::Istio,
        identity: Some("spiffe://cluster.local/ns/shop/sa/db".into()),
        labels: Labels::from_iter([("app", "db")]),
        place: Place {
            locality: Locality::parse("us/us-1/a"),
            network: "n2".into(),
            cluster: "vm".into(),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(port, Address::parse("10.0.0.4"), target, origins.clone())
    };
    let set = declared[0].endpoint_set([]);
    assert_eq!(declared.len(), 1);
    assert!(declared[0].service.same_content(&service), "{:#?}", declared[0].service);
    let expected = [endpoint(80, "web", 8080), endpoint(5432, "tcp-db", 15432)];
    assert!(
        set.endpoints().iter().zip(&expected).all(|(a, b)| a.same_content(b)) && set.len() == 2,
        "{set:#?}"
    );
}

#[test]
fn each_host_becomes_a_service() {
    let spec = json!({"hosts": ["a.example", "b.example"], "resolution": "DNS",
        "ports": [{"number": 443, "name": "tls"}]});
    let declared = convert_entry(spec).unwrap();
    let reached: Vec<_> = declared.iter().flat_map(|d| reached(d, &[])).collect();
    assert_eq!(
        reached,
        [(443, "a.example".to_owned(), 443), (443, "b.example".to_owned(), 443)],
        "without endpoints a DNS entry resolves its own hosts"
    );
    assert!(
        declared.iter().all(|d| d.service.external && d.service.visibility == Visibility::Unset)
    );
}

#[rstest]
#[case::unix(json!({"address": "unix:///run/db"}), json!(0), 0)]
#[case::entry_port(json!({"address": "10.0.0.1", "ports": {"db": 7}}), json!(6), 7)]
#[case::target_port(json!({"address": "10.0.0.1"}), json!(6), 6)]
#[case::number(json!({"address": "10.0.0.1"}), json!(0), 5)]
fn target_ports_are_found_in_istios_order(
    #[case] endpoint: Json,
    #[case] target: Json,
    #[case] expected: u16,
) {
    let listed = convert_entry(json!({
        "hosts": ["db.example"], "resolution": "STATIC", "endpoints": [endpoint],
        "ports": [{"number": 5, "name": "db", "targetPort": target}],
    }))
    .unwrap();
    assert_eq!(reached(&listed[0], &[])[0].2, expected);

    let selecting = convert_entry(json!({
        "hosts": ["db.example"], "resolution": "STATIC",
        "workloadSelector": {"labels": {"app": "db"}},
        "ports": [{"number": 5, "name": "db", "targetPort": target}],
    }))
    .unwrap();
    let mut workload = convert_workload(endpoint).unwrap();
    workload.labels = Labels::from_iter([("app", "db")]);
    assert_eq!(reached(&selecting[0], &[workload])[0].2, expected);
}

#[test]
fn a_selector_picks_workloads_of_its_namespace_with_all_labels() {
    let declared = convert_entry(json!({
        "hosts": ["db.example"], "resolution": "STATIC",
        "workloadSelector": {"labels": {"app": "db", "tier": "1"}},
        "ports": [{"number": 5432, "name": "db"}],
    }))
    .unwrap();
    let workload = |namespace: &str, address: &str, labels: Json| {
        let spec = json!({"address": address, "labels": labels, "weight": 2});
        let spec: WorkloadEntrySpec = serde_json::from_value(spec).unwrap();
        let entry = Entry { namespace: namespace.into(), ..entry("WorkloadEntry", address) };
        convert::workload_entry(&around(), &entry, &spec).unwrap()
    };
    let mut sick = workload("shop", "10.0.0.2", json!({"app": "db", "tier": "1", "zone": "x"}));
    sick.health = Health::Unhealthy;
    let workloads = [
        workload("shop", "10.0.0.1", json!({"app": "db"})),
        sick.clone(),
        workload("other", "10.0.0.3", json!({"app": "db", "tier": "1"})),
    ];

    let set = declared[0].endpoint_set(&workloads);

    let origins: Vec<Sourced> =
        sick.origins.iter().chain(declared[0].service.origins.iter()).cloned().collect();
    let expected = Endpoint {
        port_name: "db".into(),
        weight: 2,
        health: Health::Unhealthy,
        workload: Some(sick.key.clone()),
        labels: sick.labels.clone(),
        place: Place {
            locality: Locality::parse("eu/eu-1"),
            network: "n1".into(),
            cluster: "vm".into(),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(5432, Address::parse("10.0.0.2"), 5432, Origins::from(origins))
    };
    assert_eq!(set.len(), 1);
    assert!(set.endpoints()[0].same_content(&expected), "{:#?}", set.endpoints()[0]);
}

#[test]
fn labels_say_what_the_specification_leaves_out() {
    let spec = json!({"address": "10.0.0.1", "labels": {
        "topology.istio.io/network": "n7", "istio-locality": "us.us-1.a",
        "security.istio.io/tlsMode": "istio",
    }});
    let workload = convert_workload(spec).unwrap();
    assert_eq!(
        (workload.network.as_str(), workload.locality.to_string(), workload.tls_mode),
        ("n7", "us/us-1/a".to_owned(), TlsMode::Istio)
    );
}

#[rstest]
#[case(json!({}), "names no host; add one under hosts")]
#[case(json!({"hosts": ["*"]}), "hosts[0]: \"*\" is no host name; write a name such as db.example.com")]
#[case(json!({"hosts": ["*.a.b"], "resolution": "DNS"}),
    "hosts[0]: \"*.a.b\" is a wildcard, which cannot stand here")]
#[case(json!({"hosts": ["a.b", "A.b."]}), "hosts[1]: \"A.b.\" stands here twice")]
#[case(json!({"hosts": ["a.b"], "ports": [{"number": 0, "name": "x"}]}),
    "ports[0].number: 0 is no port; ports are 1 to 65535")]
#[case(json!({"hosts": ["a.b"], "ports": [{"number": 1, "name": "x"}, {"number": 1, "name": "x"}]}),
    "ports[1].number: port 1 stands here twice; ports[1].name: \"x\" names two ports")]
#[case(json!({"hosts": ["a.b"], "ports": [{"number": 1}]}), "ports[0]: has no name")]
#[case(json!({"hosts": ["a.b"], "ports": [{"number": 1, "name": "x", "protocol": "carrier-pigeon"}]}),
    "ports[0].protocol: \"carrier-pigeon\" is no protocol; there are HTTP, HTTP2, HTTPS, GRPC, \
     GRPC-WEB, TCP, TLS, MONGO, REDIS, MYSQL, UDP")]
#[case(json!({"hosts": ["a.b"], "addresses": ["10.0.0.0/8"], "resolution": "DNS"}),
    "addresses[0]: \"10.0.0.0/8\" is a prefix, which resolution DNS forbids")]
#[case(json!({"hosts": ["a.b"], "addresses": ["x"]}),
    "addresses[0]: \"x\" is neither an IP address nor a CIDR prefix")]
#[case(json!({"hosts": ["a.b"], "endpoints": [{"address": "10.0.0.1"}]}),
    "resolution: NONE takes no endpoints; write STATIC or DNS")]
#[case(json!({"hosts": ["a.b"], "resolution": "STATIC", "endpoints": [{"address": "c.d"}]}),
    "endpoints[0].address: \"c.d\" is a name; resolution STATIC takes IP addresses")]
#[case(json!({"hosts": ["a.b"], "resolution": "STATIC", "ports": [{"number": 1, "name": "x"}],
    "endpoints": [{"address": "10.0.0.1", "ports": {"y": 2}}]}),
    "endpoints[0].ports.y: no port is named \"y\"; there are: x")]
#[case(json!({"hosts": ["a.b"], "resolution": "DYNAMIC_DNS"}),
    "resolution: DYNAMIC_DNS is not supported; write DNS, or NONE for wildcards")]
#[case(json!({"hosts": ["a.b"], "workloadSelector": {}}),
    "workloadSelector: has no labels, so it would pick nothing")]
fn a_broken_rule_names_its_field(#[case] spec: Json, #[case] expected: &str) {
    assert_eq!(convert_entry(spec).unwrap_err().to_string(), expected);
}

#[rstest]
#[case(json!({"address": "10.0.0.1", "ports": {"x": 65536}}),
    "ports.x: 65536 is no port; ports are 1 to 65535")]
#[case(json!({"address": "unix://relative"}), "address: \"relative\" is no absolute path")]
#[case(json!({"address": "-x"}), "address: \"-x\" is no host name: \"-x\" must be 1 to 63 letters, \
    digits, '-' or '_', and not begin or end with '-'")]
fn a_workload_entry_keeps_its_rules(#[case] spec: Json, #[case] expected: &str) {
    assert_eq!(convert_workload(spec).unwrap_err().to_string(), expected);
}

fn text() -> impl Strategy<Value = String> {
    let likely = prop::sample::select(vec![
        "",
        "*",
        "*.a.b",
        "a.b",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "unix:///x",
        "x",
        "http",
        "a..b",
    ]);
    prop_oneof![4 => likely.prop_map(str::to_owned), 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(80), Just(65535), Just(65536), any::<u32>()]
}

prop_compose! {
    fn any_endpoint()(
        address in text(),
        ports in prop::collection::btree_map(text(), number(), 0..3),
        (network, locality, service_account) in (text(), text(), text()),
        weight in number(),
    ) -> WorkloadEntrySpec {
        let labels = Labels::from_iter([("app", address.as_str())]);
        WorkloadEntrySpec { address, ports, network, locality, service_account, weight, labels }
    }
}

prop_compose! {
    fn any_spec()(
        hosts in prop::collection::vec(text(), 0..3),
        addresses in prop::collection::vec(text(), 0..3),
        ports in prop::collection::vec((number(), text(), text(), number()), 0..3),
        endpoints in prop::collection::vec(any_endpoint(), 0..3),
        resolution in prop::sample::select(vec![
            ServiceEntryResolution::None, ServiceEntryResolution::Static,
            ServiceEntryResolution::Dns, ServiceEntryResolution::DnsRoundRobin,
        ]),
        selected in any::<bool>(),
    ) -> ServiceEntrySpec {
        let ports = ports.into_iter().map(|(number, name, protocol, target_port)| {
            ServiceEntryPort { number, name, protocol, target_port }
        });
        ServiceEntrySpec {
            hosts,
            addresses,
            ports: ports.collect(),
            resolution,
            endpoints,
            workload_selector: selected.then(|| WorkloadSelector {
                labels: Labels::from_iter([("app", "10.0.0.1")]),
            }),
            ..ServiceEntrySpec::default()
        }
    }
}

proptest! {
    #[test]
    fn any_entry_converts_or_names_what_is_wrong(spec in any_spec()) {
        let entry = entry("ServiceEntry", "x");
        match convert::service_entry(&around(), &entry, &spec) {
            Ok(declared) => prop_assert_eq!(declared.len(), spec.hosts.len()),
            Err(problems) => prop_assert!(!problems.all().is_empty()),
        }
    }

    #[test]
    fn any_workload_converts_or_names_what_is_wrong(spec in any_endpoint()) {
        let entry = entry("WorkloadEntry", "x");
        let selecting: ServiceEntrySpec = serde_json::from_value(json!({
            "hosts": ["a.b"], "resolution": "STATIC", "ports": [{"number": 5, "name": "x"}],
            "workloadSelector": {"labels": {"app": "10.0.0.1"}},
        })).unwrap();
        let declared = convert::service_entry(&around(), &entry, &selecting).unwrap();
        match convert::workload_entry(&around(), &entry, &spec) {
            Ok(workload) => {
                let picked = declared[0].endpoint_set([&workload]).len();
                prop_assert_eq!(picked, usize::from(spec.address == "10.0.0.1"));
                prop_assert_eq!(Value::Workload(Arc::new(workload)).objects().len(), 1);
            }
            Err(problems) => prop_assert!(!problems.all().is_empty()),
        }
    }
}
