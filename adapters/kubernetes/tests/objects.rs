//! Objects of a real API server, and the values that come of them.

mod common;

use common::{KubernetesFixture, config, object, watch};
use mainstem_model::{
    Endpoint, Health, Key, Locality, NamespaceName, Place, ServiceAccount, ServiceKey, TlsMode,
    Value as Held, WorkloadKey,
};
use mainstem_test_support::battery::View;
use mainstem_test_support::{Kubernetes, KubernetesOptions};
use serde_json::{Value, json};

const CRDS: &str = include_str!("common/crds.yaml");

fn key(host: &str, namespace: &str) -> ServiceKey {
    ServiceKey::new(host, namespace)
}

fn endpoints(view: &View, key: &ServiceKey) -> Vec<Endpoint> {
    match view.values.get(&Key::Endpoints(key.clone())) {
        Some(Held::Endpoints(set)) => set.endpoints().iter().map(|e| (**e).clone()).collect(),
        _ => Vec::new(),
    }
}

/// Addresses with ports, in order.
fn addresses(view: &View, key: &ServiceKey) -> Vec<String> {
    let all = endpoints(view, key);
    all.iter().map(|e| format!("{}:{}", e.address, e.target_port)).collect()
}

fn is(view: &View, key: &ServiceKey, expected: &[&str]) -> Result<(), String> {
    let found = addresses(view, key);
    if found == expected { Ok(()) } else { Err(format!("{key} has {found:?}, not {expected:?}")) }
}

fn meta(name: &str, namespace: &str, labels: &Value) -> Value {
    json!({ "name": name, "namespace": namespace, "labels": labels })
}

fn service(name: &str, namespace: &str, spec: &Value) -> Value {
    let metadata = meta(name, namespace, &json!({}));
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
}

fn pod(name: &str, namespace: &str, node: &str, ip: &str) -> Value {
    let labels = json!({ "app": "web", "security.istio.io/tlsMode": "istio" });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, namespace, &labels),
        "spec": {
            "nodeName": node,
            "serviceAccountName": "web",
            "containers": [{
                "name": "web",
                "image": "web",
                "ports": [{ "name": "main", "containerPort": 8080 }],
            }],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{ "ip": ip }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn slice(service: &str, namespace: &str, endpoints: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta(service, namespace, &json!({ "kubernetes.io/service-name": service })),
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_withheld_until_its_pod_is_known() {
    let fixture = KubernetesFixture::shared().await;
    let (kubernetes, namespace) = (&fixture.kubernetes, fixture.namespace.as_str());
    let web = key(&format!("web.{namespace}.svc.cluster.local"), namespace);
    let ports = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] });
    let of_pod = json!({
        "addresses": ["10.9.5.1"],
        "targetRef": { "kind": "Pod", "namespace": namespace, "name": "web-1" },
    });
    kubernetes.apply(&service("web", namespace, &ports)).await;
    kubernetes.apply(&slice("web", namespace, &json!([of_pod]))).await;
    let mut watch = watch(&fixture.config);
    watch.until("the first sync", View::live).await;
    assert_eq!(addresses(&watch.view, &web), [""; 0]);

    let bare = json!({ "addresses": ["10.9.5.2"] });
    kubernetes.apply(&slice("web", namespace, &json!([of_pod, bare]))).await;
    watch.until("an endpoint without a Pod", |view| is(view, &web, &["10.9.5.2:8080"])).await;

    kubernetes.create(&pod("web-1", namespace, "node-1", "10.9.5.1")).await;
    let both = ["10.9.5.1:8080", "10.9.5.2:8080"];
    watch.until("the endpoint of the Pod", |view| is(view, &web, &both)).await;
    let account = format!("spiffe://cluster.local/ns/{namespace}/sa/web");
    let identity = endpoints(&watch.view, &web)[0].identity.clone();
    assert_eq!(identity, Some(ServiceAccount::from(account)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubernetes_own_controllers_make_of_pods_becomes_endpoints() {
    let options = KubernetesOptions { controllers: true, ..KubernetesOptions::default() };
    let kubernetes = Kubernetes::start_with(options).await;
    let namespace = kubernetes.namespace("shop").await;
    let web = key(&format!("web.{namespace}.svc.cluster.local"), &namespace);
    let region = json!({
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": "eu-1",
        "topology.istio.io/subzone": "rack-7",
    });
    let metadata = json!({ "name": "node-1", "labels": region });
    kubernetes.create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata })).await;
    let ports = json!([{ "name": "http", "port": 80, "targetPort": "main" }]);
    let spec = json!({ "selector": { "app": "web" }, "ports": ports });
    kubernetes.create(&service("web", &namespace, &spec)).await;
    kubernetes.create(&pod("web-1", &namespace, "node-1", "10.9.6.1")).await;

    let mut watch = watch(&config(kubernetes.kubeconfig()));
    watch.until("the endpoint", |view| is(view, &web, &["10.9.6.1:8080"])).await;

    let found = endpoints(&watch.view, &web).remove(0);
    let workload =
        WorkloadKey::new("test".into(), NamespaceName::from(namespace.as_str()), "web-1");
    let expected = Endpoint {
        port_name: "http".into(),
        health: Health::Healthy,
        tls_mode: TlsMode::Istio,
        workload: Some(workload),
        identity: Some(format!("spiffe://cluster.local/ns/{namespace}/sa/web").into()),
        labels: [
            ("app", "web"),
            ("kubernetes.io/hostname", "node-1"),
            ("security.istio.io/tlsMode", "istio"),
            ("topology.istio.io/cluster", "test"),
            ("topology.istio.io/subzone", "rack-7"),
            ("topology.kubernetes.io/region", "eu"),
            ("topology.kubernetes.io/zone", "eu-1"),
        ]
        .into_iter()
        .collect(),
        place: Place {
            locality: Locality::new("eu", "eu-1", "rack-7"),
            cluster: "test".into(),
            node: Some("node-1".into()),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(80, found.address.clone(), 8080, found.origins.clone())
    };
    assert!(found.same_content(&expected), "{found:?}");

    kubernetes.delete_gracefully(&pod("web-1", &namespace, "node-1", "10.9.6.1"), 30).await;
    watch.until("the end of the Pod", |view| is(view, &web, &[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istios_kinds_are_followed_when_they_appear_and_forgotten_when_they_vanish() {
    let kubernetes = Kubernetes::start().await;
    let namespace = kubernetes.namespace("shop").await;
    let entry = |kind: &str, name: &str, spec: &Value| {
        let metadata = meta(name, &namespace, &json!({ "app": "db" }));
        json!({ "apiVersion": "networking.istio.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec })
    };
    let db = key("db.example.com", &namespace);
    let web = key(&format!("web.{namespace}.svc.cluster.local"), &namespace);
    let spec = json!({ "selector": { "app": "db" }, "ports": [{ "name": "tcp", "port": 80 }] });
    kubernetes.create(&service("web", &namespace, &spec)).await;
    let mut watch = watch(&config(kubernetes.kubeconfig()));
    watch.until("the first sync without them", View::live).await;

    kubernetes.install_crds(CRDS).await;
    let spec = json!({
        "hosts": ["db.example.com"],
        "ports": [{ "name": "tcp", "number": 5432, "protocol": "TCP" }],
        "resolution": "STATIC",
        "workloadSelector": { "labels": { "app": "db" } },
    });
    kubernetes.create(&entry("ServiceEntry", "db", &spec)).await;
    kubernetes.create(&entry("ServiceEntry", "bad", &json!({ "hosts": 7 }))).await;
    let vm = json!({ "address": "10.9.7.1", "serviceAccount": "db" });
    kubernetes.create(&entry("WorkloadEntry", "vm", &vm)).await;
    let bad = object("ServiceEntry", &format!("{namespace}/bad"));
    let there = |view: &View| {
        is(view, &db, &["10.9.7.1:5432"])?;
        is(view, &web, &["10.9.7.1:80"])?;
        view.rejects(&bad)
    };
    watch.until("the entries", there).await;

    for kind in ["serviceentries", "workloadentries"] {
        let name = format!("{kind}.networking.istio.io");
        kubernetes
            .delete(&json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": { "name": name },
            }))
            .await;
    }
    let gone = |view: &View| view.lacks(&db).and(is(view, &web, &[])).and(view.accepts(&bad));
    watch.until("their end", gone).await;
    watch.view.live().expect("kinds come and go without failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_selected_namespaces_are_read_and_labels_may_change() {
    let mut fixture = KubernetesFixture::shared().await;
    let selector = json!([{ "matchLabels": { "mesh": fixture.namespace } }]);
    fixture.config.discovery_selectors = serde_json::from_value(selector).unwrap();
    let (kubernetes, namespace) = (&fixture.kubernetes, fixture.namespace.as_str());
    let web = key(&format!("web.{namespace}.svc.cluster.local"), namespace);
    let ports = json!({ "ports": [{ "name": "http", "port": 80 }] });
    kubernetes.apply(&service("web", namespace, &ports)).await;
    kubernetes.apply(&slice("web", namespace, &json!([{ "addresses": ["10.9.8.1"] }]))).await;
    let mut watch = watch(&fixture.config);
    watch.until("the first sync", View::live).await;
    assert!(watch.view.values.is_empty(), "{:?}", watch.view.values.keys());

    let label = |value: Value| {
        let metadata = json!({ "name": namespace, "labels": { "mesh": value } });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    };
    kubernetes.patch(&label(json!(namespace))).await;
    watch.until("the namespace is selected", |view| is(view, &web, &["10.9.8.1:8080"])).await;
    assert!(watch.view.values.contains_key(&Key::Namespace(namespace.into())));

    kubernetes.patch(&label(Value::Null)).await;
    watch.until("the namespace is selected no more", |view| view.lacks(&web)).await;
    watch
        .until("nothing is left of it", |view| match view.values.len() {
            0 => Ok(()),
            n => Err(format!("{n} values are left")),
        })
        .await;
}
