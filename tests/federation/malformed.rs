//! Malformed objects of every registry among good ones: each rejects itself, says
//! why, and its neighbours reach Envoy.
//!
//! The API server accepts no Pod, Node or Namespace that could not be read; that
//! those reject themselves too is a property of their conversion
//! (`adapters/kubernetes/src/objects/tests.rs`).

use std::collections::BTreeMap;

use mainstem_test_support::{Kubernetes, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::common::{ISTIO_CRDS, Mainstem, World};

/// What `mainstem registries` says is rejected: kind and name, and the first line
/// of why (an excerpt of the file may follow).
type Rejections = BTreeMap<String, String>;

fn expected<const N: usize>(all: [(String, &str); N]) -> Rejections {
    all.into_iter().map(|(object, reason)| (object, reason.to_owned())).collect()
}

fn rejected(mainstem: &Mainstem, registry: &str) -> Rejections {
    let view = mainstem.registry(registry);
    let all = view["rejected"].as_array().into_iter().flatten();
    let text = |value: &Value| {
        let text = value.as_str().expect("text");
        text.lines().next().unwrap_or_default().to_owned()
    };
    all.map(|one| (format!("{} {}", text(&one["kind"]), text(&one["name"])), text(&one["reason"])))
        .collect()
}

/// Waits until the registry rejects these, in the metric too.
async fn until_rejected(mainstem: &Mainstem, registry: &str, expected: &Rejections) {
    let metric = format!(
        "mainstem_registry_rejected_objects{{registry=\"{registry}\"}} {}.0",
        expected.len()
    );
    eventually(&format!("{registry} rejects {}", expected.len()), TIMEOUT, async || {
        let metrics = mainstem.metrics().await;
        if rejected(mainstem, registry).len() == expected.len()
            && metrics.lines().any(|line| line == metric)
        {
            Ok(())
        } else {
            Err(format!("{:?}", rejected(mainstem, registry)))
        }
    })
    .await;
    assert_eq!(rejected(mainstem, registry), *expected, "{registry}");
}

/// Waits until Envoy has these endpoints of a service's port 80.
async fn until_endpoints(envoy: &mainstem_test_support::Envoy, host: &str, expected: &[&str]) {
    let cluster = format!("outbound|80||{host}");
    eventually(&format!("{host} has {expected:?}"), TIMEOUT, async || {
        let found = envoy.endpoints(&cluster).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Objects of one namespace.
struct Objects<'a> {
    world: &'a World,
}

impl Objects<'_> {
    async fn apply(&self, api_version: &str, kind: &str, name: &str, rest: Value) {
        let mut object = rest;
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(self.world.namespace);
        self.world.kubernetes.apply(&object).await;
    }

    async fn service(&self, name: &str, metadata: Value, mut spec: Value) {
        spec["ports"] = json!([{ "name": "http", "port": 80 }]);
        self.apply("v1", "Service", name, json!({ "metadata": metadata, "spec": spec })).await;
    }

    async fn slice(&self, name: &str, mut rest: Value) {
        rest["metadata"] = json!({ "labels": { "kubernetes.io/service-name": "good" } });
        rest["ports"] = json!([{ "name": "http", "port": 80 }]);
        self.apply("discovery.k8s.io/v1", "EndpointSlice", name, rest).await;
    }

    async fn istio(&self, kind: &str, name: &str, spec: Value) {
        self.apply("networking.istio.io/v1beta1", kind, name, json!({ "spec": spec })).await;
    }

    fn named(&self, kind: &str, name: &str) -> String {
        format!("{kind} {}/{name}", self.world.namespace)
    }
}

const LOOP: &str = "externalName leads, over other Services, back to this one";

/// Puts them; returns what is to be said of them.
async fn put_malformed(objects: &Objects<'_>) -> Rejections {
    let annotated = |name: &str, value: &str| json!({ "annotations": { name: value } });
    let export = annotated("networking.istio.io/exportTo", "Not a namespace!");
    objects.service("hidden", export, json!({})).await;
    let gateway = json!({ "labels": {
        "topology.istio.io/network": "n1", "networking.istio.io/gatewayPort": "many",
    }});
    objects.service("gateway", gateway, json!({})).await;
    for (name, other) in [("loop-a", "loop-b"), ("loop-b", "loop-a")] {
        let external = json!({ "type": "ExternalName", "externalName": objects.world.host(other) });
        objects.service(name, json!({}), external).await;
    }
    let names = json!({ "addressType": "FQDN", "endpoints": [{ "addresses": ["a.example.com"] }] });
    objects.slice("names", names).await;
    let target = json!({ "kind": "Pod", "namespace": "elsewhere", "name": "pod" });
    let foreign = json!([{ "addresses": ["10.9.2.9"], "targetRef": target }]);
    objects.slice("foreign", json!({ "addressType": "IPv4", "endpoints": foreign })).await;
    objects.istio("ServiceEntry", "hosts", json!({ "hosts": 7 })).await;
    let ports = json!([{ "number": 80, "name": "http", "protocol": "HTTP" }]);
    let unknown = json!({ "hosts": ["x.example.com"], "ports": ports, "resolution": "SOMETIMES" });
    objects.istio("ServiceEntry", "resolution", unknown).await;
    objects.istio("WorkloadEntry", "nowhere", json!({ "labels": { "app": "vm" } })).await;
    let heavy = json!({ "address": "10.9.2.8", "weight": "heavy" });
    objects.istio("WorkloadEntry", "heavy", heavy).await;
    expected([
        (
            objects.named("Service", "hidden"),
            "annotation networking.istio.io/exportTo has \"Not a namespace!\"; write namespaces, \
             \".\", \"*\" or \"~\", separated by commas",
        ),
        (
            objects.named("Service", "gateway"),
            "label networking.istio.io/gatewayPort is \"many\", which is no port",
        ),
        (objects.named("Service", "loop-a"), LOOP),
        (objects.named("Service", "loop-b"), LOOP),
        (
            objects.named("EndpointSlice", "names"),
            "addressType FQDN is not supported; use a Service of type ExternalName or a \
             ServiceEntry for host names",
        ),
        (
            objects.named("EndpointSlice", "foreign"),
            "targetRef of 10.9.2.9 names a Pod of namespace \"elsewhere\"",
        ),
        (
            objects.named("ServiceEntry", "hosts"),
            "spec.hosts: invalid type: integer `7`, expected a sequence",
        ),
        (
            objects.named("ServiceEntry", "resolution"),
            "spec.resolution: unknown variant `SOMETIMES`, expected one of `NONE`, `STATIC`, `DNS`, \
             `DNS_ROUND_ROBIN`, `DYNAMIC_DNS`",
        ),
        (
            objects.named("WorkloadEntry", "nowhere"),
            "has no address; one that only its network's gateway reaches needs one too",
        ),
        (
            objects.named("WorkloadEntry", "heavy"),
            "spec.weight: invalid type: string \"heavy\", expected u32",
        ),
    ])
}

async fn put_good(objects: &Objects<'_>) {
    objects.service("good", json!({}), json!({})).await;
    let endpoints = json!([{ "addresses": ["10.9.2.1"] }]);
    objects.slice("good", json!({ "addressType": "IPv4", "endpoints": endpoints })).await;
    let entry = json!({
        "hosts": ["good.example.com"], "resolution": "STATIC",
        "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
        "workloadSelector": { "labels": { "app": "vm" } },
    });
    objects.istio("ServiceEntry", "good", entry).await;
    let vm = json!({ "address": "10.9.2.2", "labels": { "app": "vm" } });
    objects.istio("WorkloadEntry", "good", vm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_objects_of_kubernetes_reject_themselves_only() {
    let world = World::new(Kubernetes::start().await).await;
    world.kubernetes.install_crds(ISTIO_CRDS).await;
    let objects = Objects { world: &world };
    let rejections = put_malformed(&objects).await;
    let mainstem = Mainstem::start(world.network.gateway(), &[world.kubernetes_registry()]).await;
    let client = world.client(&mainstem, "--delta").await;
    until_rejected(&mainstem, "kubernetes/home", &rejections).await;

    put_good(&objects).await;

    until_endpoints(&client.envoy, &world.host("good"), &["10.9.2.1:80"]).await;
    until_endpoints(&client.envoy, "good.example.com", &["10.9.2.2:80"]).await;
    assert_eq!(rejected(&mainstem, "kubernetes/home"), rejections);
    // The malformed made good is rejected no more.
    objects.service("hidden", json!({ "annotations": {} }), json!({})).await;
    let mut rest = rejections;
    rest.remove(&objects.named("Service", "hidden"));
    until_rejected(&mainstem, "kubernetes/home", &rest).await;
    until_endpoints(&client.envoy, &world.host("hidden"), &[]).await;
    assert_eq!(client.refused().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_registrations_of_consul_reject_themselves_only() {
    let world = World::new(Kubernetes::shared().await).await;
    let consul = &world.consul;
    let register = async |id: &str, name: &str, address: &str, port: i64, meta: Value| {
        let service = json!({
            "ID": id, "Service": name, "Address": address, "Port": port, "Meta": meta,
        });
        let node = json!({ "Node": "vms", "Address": "10.9.3.9", "Service": service });
        consul.catalog_register(&node).await;
    };
    register("web-port", "web", "10.9.3.1", 8080, json!({ "service-port": "many" })).await;
    register("web-none", "web", "10.9.3.2", 0, json!({})).await;
    register("web-large", "web", "10.9.3.3", 70_000, json!({})).await;
    register("web-address", "web", "not an address", 8080, json!({})).await;
    register("web-protocol", "web", "10.9.3.4", 8080, json!({ "protocol": "smoke signals" })).await;
    register("nameless", "a b", "10.9.3.6", 8080, json!({})).await;
    let mut registry = world.consul_registry();
    registry["hosts"] = json!(["*"]);
    registry["exclude"] = json!(["consul"]);
    registry["servicePort"] = json!(80);
    let mainstem = Mainstem::start(world.network.gateway(), &[registry]).await;
    let client = world.client(&mainstem, "--delta").await;
    let nameless = format!(
        "by the template {} it has no DNS name: rename the service or exclude it",
        world.host("{service}")
    );
    let rejections = expected([
        (
            "instance web/web-port@vms".to_owned(),
            "its metadata service-port is \"many\"; ports are 1 to 65535",
        ),
        (
            "instance web/web-none@vms".to_owned(),
            "it has no port: register one, or exclude the service",
        ),
        ("instance web/web-large@vms".to_owned(), "its port 70000 is none; ports are 1 to 65535"),
        (
            "instance web/web-address@vms".to_owned(),
            "its address \"not an address\" is neither an IP address nor a host name",
        ),
        ("service a b".to_owned(), &nameless),
    ]);
    until_rejected(&mainstem, "consul/dc1", &rejections).await;
    // What it cannot know of a protocol it finds out.
    until_endpoints(&client.envoy, &world.host("web"), &["10.9.3.4:8080"]).await;

    register("web-good", "web", "10.9.3.7", 8080, json!({})).await;
    register("api-good", "api", "10.9.3.8", 8080, json!({})).await;

    until_endpoints(&client.envoy, &world.host("web"), &["10.9.3.4:8080", "10.9.3.7:8080"]).await;
    until_endpoints(&client.envoy, &world.host("api"), &["10.9.3.8:8080"]).await;
    assert_eq!(rejected(&mainstem, "consul/dc1"), rejections);
    assert_eq!(client.refused().await, []);
}

/// One file with a bad one of everything between good ones.
const MIXED: &str = "\
services:
- hostname: first.example.com
  ports: [{ number: 80, name: http }]
  endpoints: [{ address: 10.9.4.1 }]
- hostname: misspelt.example.com
  prots: []
- hostname: port.example.com
  ports: [{ number: 70000, name: http }]
- hostname: address.example.com
  ports: [{ number: 80, name: http }]
  endpoints: [{ address: 10.9.4.256 }]
- hostname: last.example.com
  ports: [{ number: 80, name: http }]
  endpoints: [{ address: 10.9.4.2 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: bad, namespace: shop }
spec: { hosts: [bad.example.com], resolution: SOMETIMES }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: good, namespace: shop }
spec:
  hosts: [entry.example.com]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.9.4.3 }]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: nowhere, namespace: shop }
spec: { labels: { app: vm } }
---
an ode
";

#[tokio::test(flavor = "multi_thread")]
async fn malformed_documents_of_files_reject_themselves_only() {
    let world = World::new(Kubernetes::shared().await).await;
    std::fs::write(world.file("mixed"), MIXED).expect("the directory is ours");
    std::fs::write(world.file("torn"), "services: [{ hostname: \"to").expect("it is ours");
    let mut registry = world.file_registry();
    registry["hosts"] = json!(["*"]);
    let mainstem = Mainstem::start(world.network.gateway(), &[registry]).await;
    let client = world.client(&mainstem, "--delta").await;
    let rejections = expected([
        (
            "Service mixed.yaml#default/misspelt.example.com".to_owned(),
            "mixed.yaml:6:3: unknown field \"prots\"; did you mean \"ports\"?",
        ),
        (
            "Service mixed.yaml#default/port.example.com".to_owned(),
            "mixed.yaml:8:21: ports[0].number: 70000 is no port; ports are 1 to 65535",
        ),
        (
            "Service mixed.yaml#default/address.example.com".to_owned(),
            "mixed.yaml:11:26: endpoints[0].address: \"10.9.4.256\" is no IP address",
        ),
        (
            "ServiceEntry mixed.yaml#shop/bad".to_owned(),
            "mixed.yaml:19:47: spec.resolution: unknown variant `SOMETIMES`, expected one of \
             `NONE`, `STATIC`, `DNS`, `DNS_ROUND_ROBIN`, `DYNAMIC_DNS`",
        ),
        (
            "WorkloadEntry mixed.yaml#shop/nowhere".to_owned(),
            "mixed.yaml:33:7: spec: has no address; one that only its network's gateway reaches \
             needs one too",
        ),
        (
            "Document mixed.yaml#5".to_owned(),
            "mixed.yaml:35:1: expected services, workloads or a Kubernetes object, found the text \
             \"an ode\"",
        ),
        ("Document torn.yaml#1".to_owned(), "torn.yaml:1:24: unclosed quote"),
    ]);
    until_rejected(&mainstem, "file/static", &rejections).await;

    let document = "services: [{ hostname: other.example.com, \
                    ports: [{ number: 80, name: http }], endpoints: [{ address: 10.9.4.4 }] }]";
    std::fs::write(world.file("other"), document).expect("the directory is ours");

    for (name, ip) in [("first", 1), ("last", 2), ("entry", 3), ("other", 4)] {
        let address = format!("10.9.4.{ip}:80");
        until_endpoints(&client.envoy, &format!("{name}.example.com"), &[&address]).await;
    }
    assert_eq!(rejected(&mainstem, "file/static"), rejections);
    assert_eq!(client.refused().await, []);
}
