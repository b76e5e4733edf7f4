use std::net::IpAddr;

use mainstem_model::{Health, Locality, Protocol, TargetPort, TrafficDistribution, Visibility};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn service(value: Value) -> Result<Service, String> {
    match read(Kind::Service, value).object? {
        Object::Service(service) => Ok(service),
        other => panic!("{other:?}"),
    }
}

fn spec(spec: Value) -> Result<Service, String> {
    service(json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }))
}

fn annotated(annotations: Value) -> Result<Service, String> {
    let metadata = json!({ "name": "web", "namespace": "shop", "annotations": annotations });
    service(json!({ "metadata": metadata, "spec": { "clusterIP": "10.0.0.1" } }))
}

#[rstest]
#[case(json!({"clusterIP": "10.0.0.1"}), Addressing::Cluster(vec!["10.0.0.1".parse().unwrap()]))]
#[case(
    json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.0.0.1"]}),
    Addressing::Cluster(vec!["fd00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()])
)]
#[case(json!({"clusterIP": "None"}), Addressing::Headless)]
#[case(
    json!({"type": "ExternalName", "externalName": "DB.example.com."}),
    Addressing::External("db.example.com".into())
)]
#[case(json!({}), Addressing::Cluster(vec![]))]
fn a_service_is_reached_as_its_type_says(#[case] raw: Value, #[case] expected: Addressing) {
    assert_eq!(spec(raw).unwrap().addressing, expected);
}

#[test]
fn of_a_port_number_with_two_transports_tcp_stays() {
    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp" },
        { "name": "metrics", "port": 9153, "appProtocol": "http" },
    ]);
    let ports: Vec<_> = spec(json!({ "ports": ports }))
        .unwrap()
        .ports
        .into_iter()
        .map(|port| (port.number, port.name.to_string(), port.protocol, port.target))
        .collect();
    let expected = [
        (53, "dns-tcp".to_owned(), Protocol::Tcp, TargetPort::Name("dns-tcp".into())),
        (9153, "metrics".to_owned(), Protocol::Http, TargetPort::Number(9153)),
    ];
    assert_eq!(ports, expected);
}

#[rstest]
#[case(json!({}), None)]
#[case(json!({"networking.istio.io/exportTo": "*"}), Some(Visibility::Public))]
#[case(
    json!({"networking.istio.io/exportTo": "., other"}),
    Some(Visibility::Namespaces(["shop".into(), "other".into()].into()))
)]
#[case(json!({"networking.istio.io/exportTo": "~"}), Some(Visibility::Namespaces([].into())))]
fn export_to_is_read(#[case] annotations: Value, #[case] expected: Option<Visibility>) {
    assert_eq!(annotated(annotations).unwrap().visibility, expected);
}

#[test]
fn accounts_and_preferences_are_read_from_annotations() {
    let service = annotated(json!({
        "alpha.istio.io/canonical-serviceaccounts": "spiffe://other/ns/a/sa/b, spiffe://x/y",
        "alpha.istio.io/kubernetes-serviceaccounts": "web,api",
        "networking.istio.io/traffic-distribution": "PreferSameNode",
    }))
    .unwrap();
    assert_eq!(service.canonical_accounts, ["spiffe://other/ns/a/sa/b", "spiffe://x/y"]);
    assert_eq!(service.kubernetes_accounts, ["web", "api"]);
    assert_eq!(service.distribution, Some(TrafficDistribution::PreferSameNode));
}

#[rstest]
#[case(json!({"trafficDistribution": "PreferClose"}), Some(TrafficDistribution::PreferSameZone))]
#[case(json!({"trafficDistribution": "FromTheFuture"}), Some(TrafficDistribution::Unset))]
#[case(json!({}), None)]
fn traffic_distribution_is_read(#[case] raw: Value, #[case] expected: Option<TrafficDistribution>) {
    assert_eq!(spec(raw).unwrap().distribution, expected);
}

#[rstest]
#[case(json!({"type": "ExternalName"}), "type is ExternalName, but externalName is empty")]
#[case(json!({"clusterIP": "10.0.0"}), "\"10.0.0\" is no IP address")]
#[case(json!({"ports": [{"port": 70000}]}), "a port is 70000, which is no port number")]
#[case(
    json!({"ports": [{"port": 80, "targetPort": -1}]}),
    "a targetPort is -1, which is no port number"
)]
fn what_is_wrong_with_a_service_is_said(#[case] raw: Value, #[case] reason: &str) {
    assert_eq!(spec(raw), Err(reason.to_owned()));
}

#[test]
fn a_gateway_is_a_service_with_a_networks_label() {
    let gateway = service(json!({
        "metadata": {
            "name": "gw",
            "namespace": "istio-system",
            "labels": {
                "topology.istio.io/network": "n2",
                "networking.istio.io/gatewayPort": "443",
            },
            "annotations": { "traffic.istio.io/nodeSelector": "{\"role\": \"edge\"}" },
        },
        "spec": {
            "type": "NodePort",
            "externalIPs": ["192.0.2.1"],
            "ports": [{ "name": "tls", "port": 443, "nodePort": 30443 }],
        },
        "status": { "loadBalancer": { "ingress": [{ "hostname": "gw.example.com" }] } },
    }))
    .unwrap()
    .gateway
    .unwrap();
    let expected = Gateway {
        network: "n2".into(),
        addresses: ["192.0.2.1", "gw.example.com"].map(mainstem_model::Address::parse).into(),
        port: 443,
        node_port: Some((Labels::from_iter([("role", "edge")]), 30443)),
    };
    assert_eq!(gateway, expected);
}

fn slice(value: Value) -> Result<Slice, String> {
    match read(Kind::EndpointSlice, value).object? {
        Object::Slice(slice) => Ok(slice),
        other => panic!("{other:?}"),
    }
}

fn of_web(endpoints: Value) -> Result<Slice, String> {
    let labels = json!({ "kubernetes.io/service-name": "web" });
    slice(json!({
        "metadata": { "name": "web-1", "namespace": "shop", "labels": labels },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }, { "name": "any", "port": null }],
        "endpoints": endpoints,
    }))
}

#[rstest]
#[case(json!({}), Condition::Ready)]
#[case(json!({"ready": true, "terminating": true}), Condition::Ready)]
#[case(json!({"ready": false}), Condition::NotReady)]
#[case(json!({"ready": false, "serving": true, "terminating": true}), Condition::Draining)]
#[case(json!({"ready": false, "serving": false, "terminating": true}), Condition::Terminating)]
#[case(json!({"ready": false, "terminating": true}), Condition::Terminating)]
fn conditions_come_to_one(#[case] conditions: Value, #[case] expected: Condition) {
    let slice = of_web(json!([{ "addresses": ["10.1.0.1"], "conditions": conditions }])).unwrap();
    assert_eq!(slice.endpoints[0].condition, expected);
}

#[test]
fn a_slice_names_its_service_ports_pods_and_nodes() {
    let pod = json!({ "kind": "Pod", "namespace": "shop", "name": "web-1" });
    let endpoint = json!({ "addresses": ["10.1.0.1"], "targetRef": pod, "nodeName": "n1" });
    let expected = Slice {
        service: Some("web".into()),
        ports: vec![("http".into(), 8080)],
        endpoints: vec![SliceEndpoint {
            address: IpAddr::from([10, 1, 0, 1]),
            condition: Condition::Ready,
            pod: Some("web-1".into()),
            node: Some("n1".into()),
        }],
    };
    assert_eq!(of_web(json!([endpoint])), Ok(expected));
}

#[rstest]
#[case(json!([{"addresses": ["web.example.com"]}]), "\"web.example.com\" is no IP address")]
#[case(
    json!([{"addresses": ["10.1.0.1"], "targetRef": {"kind": "Pod", "namespace": "b", "name": "p"}}]),
    "targetRef of 10.1.0.1 names a Pod of namespace \"b\""
)]
fn what_is_wrong_with_a_slice_is_said(#[case] endpoints: Value, #[case] reason: &str) {
    assert_eq!(of_web(endpoints), Err(reason.to_owned()));
}

#[test]
fn a_slice_of_names_is_refused() {
    let names = slice(json!({ "metadata": { "name": "a" }, "addressType": "FQDN" }));
    assert!(names.unwrap_err().starts_with("addressType FQDN is not supported"));
}

#[test]
fn a_slice_imported_from_another_cluster_belongs_to_no_service() {
    let labels = json!({
        "kubernetes.io/service-name": "derived-1",
        "multicluster.kubernetes.io/service-name": "web",
    });
    let imported = slice(json!({ "metadata": { "name": "a", "labels": labels } })).unwrap();
    assert_eq!(imported.service, None);
}

fn pod(value: Value) -> Result<Pod, String> {
    match read(Kind::Pod, value).object? {
        Object::Pod(pod) => Ok(pod),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case(json!({}), "True", Health::Healthy)]
#[case(json!({}), "False", Health::Unhealthy)]
#[case(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "True", Health::Draining)]
#[case(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "False", Health::Unhealthy)]
fn a_pod_is_healthy_while_ready(
    #[case] metadata: Value,
    #[case] ready: &str,
    #[case] expected: Health,
) {
    let status = json!({ "conditions": [{ "type": "Ready", "status": ready }] });
    let pod = pod(json!({ "metadata": metadata, "status": status })).unwrap();
    assert_eq!(pod.health, expected);
}

#[test]
fn a_pod_says_where_it_is_and_what_its_ports_are_called() {
    let pod = pod(json!({
        "metadata": { "name": "web-1", "namespace": "shop", "labels": { "app": "web" } },
        "spec": {
            "nodeName": "n1",
            "containers": [
                { "ports": [{ "name": "http", "containerPort": 8080 }, { "containerPort": 1 }] },
                { "ports": [{ "name": "http", "containerPort": 9090 }] },
            ],
            "initContainers": [{ "ports": [{ "name": "side", "containerPort": 15020 }] }],
        },
        "status": { "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }, { "ip": "fd00::1" }] },
    }))
    .unwrap();
    let expected = Pod {
        labels: Labels::from_iter([("app", "web")]),
        addresses: vec!["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        node: Some("n1".into()),
        account: "default".to_owned(),
        ports: [("http".into(), 8080), ("side".into(), 15020)].into(),
        health: Health::Unhealthy,
        over: false,
    };
    assert_eq!(pod, expected);
}

#[rstest]
#[case("Pending", false)]
#[case("Running", false)]
#[case("Succeeded", true)]
#[case("Failed", true)]
fn a_pod_is_over_after_its_last_phase(#[case] phase: &str, #[case] over: bool) {
    assert_eq!(pod(json!({ "status": { "phase": phase } })).unwrap().over, over);
}

#[rstest]
#[case(
    json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z",
           "topology.istio.io/subzone": "s", "failure-domain.beta.kubernetes.io/zone": "old"}),
    Locality::new("r", "z", "s")
)]
#[case(
    json!({"failure-domain.beta.kubernetes.io/region": "r",
           "failure-domain.beta.kubernetes.io/zone": "z"}),
    Locality::new("r", "z", "")
)]
#[case(json!({}), Locality::default())]
fn a_node_is_somewhere(#[case] labels: Value, #[case] expected: Locality) {
    let value = json!({ "metadata": { "name": "n1", "labels": labels } });
    let Ok(Object::Node(node)) = read(Kind::Node, value).object else { panic!("no node") };
    assert_eq!(node.locality, expected);
}

#[test]
fn absent_lists_may_be_null() {
    let value = json!({
        "metadata": { "name": "web-1", "creationTimestamp": null, "labels": null },
        "ports": null,
        "endpoints": null,
    });
    assert_eq!(slice(value), Ok(Slice { service: None, ports: vec![], endpoints: vec![] }));
}

/// Any JSON at all, biased towards members that Kubernetes objects have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..70000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof!["10\\.0\\.0\\.[0-9]{1,3}", "ExternalName|NodePort|None|FQDN|Pod|[*~.,]{1,3}"]
            .prop_map(Value::from),
    ];
    let member = prop_oneof![
        3 => prop::sample::select(&[
            "metadata", "name", "namespace", "labels", "annotations", "spec", "status", "ports",
            "port", "targetPort", "endpoints", "addresses", "conditions", "targetRef", "kind",
            "type", "externalName", "clusterIP", "clusterIPs", "selector", "podIPs", "ip",
            "containers", "containerPort", "hosts", "workloadSelector", "address", "resolution",
            "topology.istio.io/network", "networking.istio.io/exportTo",
            "traffic.istio.io/nodeSelector", "networking.istio.io/gatewayPort", "weight",
        ][..]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(member.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A good object of each kind, with one member somewhere replaced by anything.
fn damaged(kind: Kind) -> impl Strategy<Value = Value> {
    let good = crate::store::samples::good(kind);
    let mut pointers = Vec::new();
    collect_pointers(&good, String::new(), &mut pointers);
    (prop::sample::select(pointers), any_json()).prop_map(move |(pointer, anything)| {
        let mut value = good.clone();
        *value.pointer_mut(&pointer).expect("the pointer was collected there") = anything;
        value
    })
}

fn collect_pointers(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            collect_pointers(member, format!("{at}/{name}"), pointers);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| {
            collect_pointers(item, format!("{at}/{n}"), pointers);
        }),
        _ => {}
    }
    pointers.push(at);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::ALL[..])
}

proptest! {
    #[test]
    fn reading_anything_at_all_ends_in_an_object_or_a_reason(
        kind in any_kind(),
        value in any_json(),
    ) {
        if let Err(reason) = read(kind, value).object {
            prop_assert!(!reason.is_empty());
        }
    }

    #[test]
    fn a_damaged_object_rejects_itself_and_nothing_else(
        (kind, value) in any_kind().prop_flat_map(|kind| (Just(kind), damaged(kind))),
    ) {
        crate::store::samples::assert_harmless(kind, value);
    }
}
