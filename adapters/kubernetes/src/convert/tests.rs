use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{Endpoint, Health, NetworkGateway, TlsMode, Workload};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::PROVIDER;
use crate::api::Kind;
use crate::objects::{self, Node, Object, Pod, Service, Slice};

fn settings() -> Settings {
    Settings::new(RegistryId::new(PROVIDER, "eu"), &KubernetesConfig::new("eu"))
}

#[test]
fn host_names_lead_to_services_and_back() {
    let settings = settings();
    let name = ObjectName::new("shop", "web");
    let host = settings.hostname(&name);
    assert_eq!(host.as_str(), "web.shop.svc.cluster.local");
    assert_eq!(settings.service_named(&host), Some(name));
    for other in ["web.example.com", "a.web.shop.svc.cluster.local", ".shop.svc.cluster.local"] {
        assert_eq!(settings.service_named(&other.into()), None, "{other}");
    }
}

macro_rules! reads {
    ($($name:ident, $kind:ident, $variant:ident, $what:ident;)*) => {$(
        fn $name(value: Value) -> $what {
            match objects::read(Kind::$kind, value).object {
                Ok(Object::$variant(object)) => object,
                other => panic!("{other:?}"),
            }
        }
    )*};
}

reads! {
    service, Service, Service, Service;
    slice, EndpointSlice, Slice, Slice;
    pod, Pod, Pod, Pod;
    node, Node, Node, Node;
}

/// A namespace of Pods and Nodes.
#[derive(Default)]
struct World {
    pods: HashMap<String, Arc<Workload>>,
    nodes: HashMap<String, Node>,
}

impl World {
    fn with_node(mut self, name: &str, zone: &str) -> Self {
        let labels = json!({ "topology.kubernetes.io/zone": zone });
        self.nodes.insert(name.to_owned(), node(json!({ "metadata": { "labels": labels } })));
        self
    }

    fn with_pod(mut self, name: &str, labels: Value, on: &str, ips: &[&str]) -> Self {
        let ips: Vec<_> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        let pod = pod(json!({
            "metadata": { "name": name, "namespace": "shop", "labels": labels },
            "spec": { "nodeName": on, "serviceAccountName": "web" },
            "status": { "podIPs": ips },
        }));
        let object = ObjectName::new("shop", name);
        let mut workload = from_pod(&settings(), &object, "1", &pod);
        place(&mut workload, &pod.labels, self.nodes.get(on), &"net".into());
        self.pods.insert(name.to_owned(), Arc::new(workload));
        self
    }

    fn endpoints(&self, service: &Service, slices: &[Slice]) -> Vec<Endpoint> {
        let settings = settings();
        let origins = settings.origins("EndpointSlice", &ObjectName::new("shop", "web-1"), "1");
        let has = |pod: &Workload, ip| pod.addresses.iter().any(|own| own.ip() == Some(ip));
        let around = Surroundings {
            pod: &|name| self.pods.get(name),
            pod_at: &|ip: IpAddr| self.pods.values().find(|pod| has(pod, ip)),
            node: &|name| self.nodes.get(name.as_str()),
            network: &"net".into(),
        };
        from_slices(&settings, service, slices.iter().map(|slice| (&origins, slice)), &around)
    }

    /// Port, addresses, target port and health.
    fn summary(&self, service: &Service, slices: &[Slice]) -> Vec<String> {
        let all = self.endpoints(service, slices);
        let one = |e: &Endpoint| {
            let addresses: Vec<_> = e.addresses().map(ToString::to_string).collect();
            let addresses = addresses.join("+");
            format!("{} {addresses} {} {:?}", e.port, e.target_port, e.health)
        };
        all.iter().map(one).collect()
    }
}

fn web(extra: Value) -> Service {
    let mut spec = json!({ "ports": [
        { "name": "http", "port": 80, "targetPort": "main" },
        { "name": "admin", "port": 81 },
    ] });
    let more = extra.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().unwrap().extend(more);
    service(json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }))
}

fn slice_of(port: &str, number: u16, endpoints: Value) -> Slice {
    slice(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "ports": [{ "name": port, "port": number }],
        "endpoints": endpoints,
    }))
}

fn of_http(endpoints: Value) -> Slice {
    slice_of("http", 8080, endpoints)
}

#[test]
fn slice_ports_meet_service_ports_by_name() {
    let endpoints = json!([{ "addresses": ["10.1.0.1"] }]);
    let slices = [
        slice_of("http", 8080, endpoints.clone()),
        slice_of("admin", 9000, endpoints.clone()),
        slice_of("unknown", 1, endpoints),
    ];
    assert_eq!(
        World::default().summary(&web(json!({})), &slices),
        ["80 10.1.0.1 8080 Healthy", "81 10.1.0.1 9000 Healthy"]
    );
}

#[rstest]
#[case(json!({"ready": false}), false, false, None)]
#[case(json!({"ready": false}), true, false, Some(Health::Healthy))]
#[case(json!({"ready": false, "serving": true, "terminating": true}), false, false, None)]
#[case(
    json!({"ready": false, "serving": true, "terminating": true}),
    false, true, Some(Health::Draining)
)]
#[case(json!({"ready": false, "serving": false, "terminating": true}), true, true, None)]
#[case(json!({"ready": true}), false, false, Some(Health::Healthy))]
fn not_ready_endpoints_are_left_out_unless_published_or_draining(
    #[case] conditions: Value,
    #[case] published: bool,
    #[case] sessions: bool,
    #[case] expected: Option<Health>,
) {
    let mut service = web(json!({ "publishNotReadyAddresses": published }));
    service.persistent_session = sessions.then(|| "cookie".into());
    let slice = of_http(json!([{ "addresses": ["10.1.0.1"], "conditions": conditions }]));
    let found = World::default().endpoints(&service, &[slice]);
    assert_eq!(found.first().map(|endpoint| endpoint.health), expected);
}

#[test]
fn an_endpoint_that_stands_in_two_slices_is_one_and_healthy_wins() {
    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    let mut service = web(json!({}));
    service.persistent_session = Some("cookie".into());
    let slices = [
        of_http(json!([{ "addresses": ["10.1.0.1"], "conditions": draining }])),
        of_http(json!([{ "addresses": ["10.1.0.1"] }, { "addresses": ["10.1.0.2"] }])),
    ];
    assert_eq!(
        World::default().summary(&service, &slices),
        ["80 10.1.0.1 8080 Healthy", "80 10.1.0.2 8080 Healthy"]
    );
}

#[test]
fn a_pods_addresses_of_both_families_are_one_endpoint() {
    let world = World::default().with_pod("web-1", json!({}), "n1", &["10.1.0.1", "fd00::1"]);
    let of = |ip: &str| {
        let target = json!({ "kind": "Pod", "name": "web-1" });
        of_http(json!([{ "addresses": [ip], "targetRef": target }]))
    };
    let slices = [of("10.1.0.1"), of("fd00::1"), of_http(json!([{ "addresses": ["fd00::9"] }]))];
    let first_v4 = web(json!({ "ipFamilies": ["IPv4", "IPv6"] }));
    let first_v6 = web(json!({ "ipFamilies": ["IPv6", "IPv4"] }));
    assert_eq!(
        world.summary(&first_v4, &slices),
        ["80 10.1.0.1+fd00::1 8080 Healthy", "80 fd00::9 8080 Healthy"]
    );
    assert_eq!(
        world.summary(&first_v6, &slices),
        ["80 fd00::1+10.1.0.1 8080 Healthy", "80 fd00::9 8080 Healthy"]
    );
}

#[test]
fn an_endpoint_has_what_its_pod_has_named_or_found_by_address() {
    let labels = json!({ "app": "web", "security.istio.io/tlsMode": "istio" });
    let world = World::default().with_node("n1", "z1").with_pod("p", labels, "n1", &["10.1.0.1"]);
    let named = json!({ "addresses": ["10.1.0.1"], "targetRef": { "kind": "Pod", "name": "p" } });
    let bare = json!({ "addresses": ["10.1.0.1"] });
    for endpoint in [named, bare] {
        let found = world.endpoints(&web(json!({})), &[of_http(json!([endpoint]))]).remove(0);
        assert_eq!(found.identity, Some("spiffe://cluster.local/ns/shop/sa/web".into()));
        assert_eq!(found.tls_mode, TlsMode::Istio);
        assert_eq!(found.place.locality, Locality::new("", "z1", ""));
        assert_eq!((found.place.network.as_str(), found.place.cluster.as_str()), ("net", "eu"));
        assert_eq!(found.workload.map(|key| key.name().to_owned()), Some("p".to_owned()));
        let labels: Vec<_> = found.labels.iter().collect();
        let expected = [
            ("app", "web"),
            ("kubernetes.io/hostname", "n1"),
            ("security.istio.io/tlsMode", "istio"),
            ("topology.istio.io/cluster", "eu"),
            ("topology.istio.io/network", "net"),
            ("topology.kubernetes.io/zone", "z1"),
        ];
        assert_eq!(labels, expected);
    }
}

#[test]
fn an_endpoint_whose_pod_is_not_known_is_withheld() {
    let target = json!({ "kind": "Pod", "name": "later" });
    let slice = of_http(json!([{ "addresses": ["10.1.0.1"], "targetRef": target }]));
    assert_eq!(World::default().summary(&web(json!({})), &[slice]), [""; 0]);
}

#[test]
fn an_endpoint_without_a_pod_is_where_its_node_is() {
    let world = World::default().with_node("n1", "z1");
    let slice = of_http(json!([{ "addresses": ["192.0.2.1"], "nodeName": "n1" }]));
    let found = world.endpoints(&web(json!({})), &[slice]).remove(0);
    assert_eq!(found.place.locality, Locality::new("", "z1", ""));
    assert_eq!((found.identity, found.tls_mode), (None, TlsMode::Disabled));
}

#[rstest]
#[case(json!({}), "/z1", "net")]
#[case(json!({"istio-locality": "r.z.s"}), "r/z/s", "net")]
#[case(json!({"topology.istio.io/locality": "r2", "istio-locality": "r.z.s"}), "r2", "net")]
#[case(json!({"topology.istio.io/network": "n2"}), "/z1", "n2")]
fn a_pods_labels_come_before_what_its_surroundings_say(
    #[case] labels: Value,
    #[case] locality: &str,
    #[case] network: &str,
) {
    let world = World::default().with_node("n1", "z1").with_pod("p", labels, "n1", &[]);
    let workload = &world.pods["p"];
    assert_eq!(workload.locality.to_string(), locality);
    assert_eq!(workload.network.as_str(), network);
}

#[test]
fn a_gateway_stands_at_its_addresses_and_on_the_nodes_that_it_selects() {
    let gateway = service(json!({
        "metadata": {
            "name": "gw", "namespace": "istio-system",
            "labels": { "topology.istio.io/network": "n2" },
            "annotations": { "traffic.istio.io/nodeSelector": "{\"edge\": \"yes\"}" },
        },
        "spec": {
            "type": "NodePort", "externalIPs": ["192.0.2.1"],
            "ports": [{ "name": "tls", "port": 15443, "nodePort": 30443 }],
        },
    }))
    .gateway
    .unwrap();
    let at = |labels: Value, address: &str| {
        let addresses = json!([{ "type": "ExternalIP", "address": address }]);
        node(json!({ "metadata": { "labels": labels }, "status": { "addresses": addresses } }))
    };
    let nodes = [at(json!({ "edge": "yes" }), "198.51.100.1"), at(json!({}), "198.51.100.2")];
    let settings = settings();
    let origins = settings.origins("Service", &ObjectName::new("istio-system", "gw"), "1");
    let found = gateways(&settings, &gateway, nodes.iter(), &origins);
    let found = found.iter().map(|g: &NetworkGateway| {
        format!("{} {} {}:{}", g.key.network, g.key.cluster, g.key.address, g.key.port)
    });
    assert_eq!(found.collect::<Vec<_>>(), ["n2 eu 192.0.2.1:15443", "n2 eu 198.51.100.1:30443"]);
}
