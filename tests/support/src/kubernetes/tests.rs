#![allow(clippy::unwrap_used)]

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::eventually::eventually;
use crate::fault_proxy::{Fault, FaultProxy};

const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: lessons.test.mainstem.dev }
spec:
  group: test.mainstem.dev
  scope: Namespaced
  names: { plural: lessons, singular: lesson, kind: Lesson }
  versions:
  - name: v1
    served: true
    storage: true
    subresources: { status: {} }
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
---
";

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace, "labels": { "a": "1" } },
        "spec": { "ports": [{ "name": "http", "port": 80 }], "selector": { "app": name } },
    })
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "app", "image": "app" }] },
        "status": {
            "phase": "Running",
            "podIP": "10.1.0.1",
            "podIPs": [{ "ip": "10.1.0.1" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

#[tokio::test]
async fn objects_are_created_changed_and_deleted() {
    let kubernetes = Kubernetes::shared().await;
    let namespace = kubernetes.namespace("objects").await;
    let web = service(&namespace, "web");

    kubernetes.create(&web).await;
    let mut patch = web.clone();
    patch["metadata"]["labels"]["b"] = json!("2");
    kubernetes.patch(&patch).await;
    kubernetes.apply_yaml(&format!("{}\n---\n", service(&namespace, "db"))).await;

    let labels = kubernetes.get(&web).await.unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({ "a": "1", "b": "2" }));
    let list = kubernetes.list("v1", "Service", Some(&namespace)).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);

    kubernetes.delete(&web).await;
    assert_eq!(kubernetes.get(&web).await, None);
}

#[tokio::test]
async fn a_pod_gets_the_status_that_a_kubelet_would_write() {
    let kubernetes = Kubernetes::shared().await;
    let namespace = kubernetes.namespace("pods").await;
    let web = pod(&namespace, "web");

    let created = kubernetes.create(&web).await;
    assert_eq!(created["status"]["podIP"], "10.1.0.1");

    let change = json!({ "phase": "Failed" });
    let mut failed = web.clone();
    failed["status"] = change;
    assert_eq!(kubernetes.patch_status(&failed).await["status"]["phase"], "Failed");
}

#[tokio::test]
async fn a_defined_kind_is_served() {
    let kubernetes = Kubernetes::shared().await;
    let namespace = kubernetes.namespace("crds").await;

    kubernetes.install_crds(CRD).await;

    let lesson = json!({
        "apiVersion": "test.mainstem.dev/v1",
        "kind": "Lesson",
        "metadata": { "name": "one", "namespace": namespace },
        "spec": { "topic": "watches" },
        "status": { "read": true },
    });
    let created = kubernetes.create(&lesson).await;
    assert_eq!(created["status"], json!({ "read": true }));
}

#[tokio::test]
async fn a_restricted_user_may_do_what_is_granted_until_it_is_revoked() {
    let kubernetes = Kubernetes::shared().await;
    let rules = json!([{ "apiGroups": [""], "resources": ["services"], "verbs": ["list"] }]);
    let user = kubernetes.restricted_user(&rules).await;
    let header = ("authorization", format!("Bearer {}", user.token()));
    let client = HttpClient::secured(&kubernetes.url(), Some(kubernetes.ca()), None, Some(header));
    let status = async |path| client.get(path).await.unwrap().status();

    assert_eq!(status("/api/v1/services").await, StatusCode::OK);
    assert_eq!(status("/api/v1/pods").await, StatusCode::FORBIDDEN);

    user.revoke().await;
    assert_eq!(status("/api/v1/services").await, StatusCode::FORBIDDEN);

    user.grant(&rules).await;
    assert_eq!(status("/api/v1/services").await, StatusCode::OK);
}

#[tokio::test]
async fn a_kubeconfig_leads_to_the_server_or_to_a_proxy_before_it() {
    let kubernetes = Kubernetes::shared().await;
    let proxy = FaultProxy::start(kubernetes.address());

    let file = kubernetes.kubeconfig_for(kubernetes.token(), &proxy.https_url());

    let config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let header = ("authorization", format!("Bearer {}", kubernetes.token()));
    let client = HttpClient::secured(server, Some(kubernetes.ca()), None, Some(header));
    assert_eq!(client.get("/api/v1/nodes").await.unwrap().status(), StatusCode::OK);
    proxy.set(Fault::Refuse).await;
    assert!(client.get("/api/v1/nodes").await.is_err());
}

#[tokio::test]
async fn a_compacted_watch_is_answered_410() {
    let kubernetes = Kubernetes::start_with(KubernetesOptions {
        watch_cache: false,
        ..KubernetesOptions::default()
    })
    .await;
    let services = kubernetes.list("v1", "Service", None).await;
    let version = services["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    kubernetes.create(&service("default", "web")).await;

    kubernetes.etcd().compact().await;

    let path = format!("/api/v1/services?watch=1&timeoutSeconds=5&resourceVersion={version}");
    let (_, event) = kubernetes.api(Method::GET, &path, None).await.unwrap();
    assert_eq!(event["object"]["code"], 410, "{event}");
}

#[tokio::test]
async fn clusters_on_one_etcd_are_apart_and_a_restart_keeps_their_objects() {
    let first = Kubernetes::start().await;
    let second = Kubernetes::start_with(KubernetesOptions {
        etcd: Some(Arc::clone(first.etcd())),
        etcd_prefix: "/second".to_owned(),
        ..KubernetesOptions::default()
    })
    .await;
    let web = service("default", "web");
    first.create(&web).await;

    first.kill9();
    first.restart().await;

    assert!(first.get(&web).await.is_some());
    assert_eq!(second.get(&web).await, None);
}

#[tokio::test]
async fn controllers_make_endpoint_slices_of_services_and_pods() {
    let kubernetes = Kubernetes::start_with(KubernetesOptions {
        controllers: true,
        ..KubernetesOptions::default()
    })
    .await;
    // The endpoint slice controller leaves out a Pod whose Node it does not know.
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
    kubernetes.create(&node).await;
    kubernetes.create(&service("default", "web")).await;
    kubernetes.create(&pod("default", "web-1")).await;

    eventually("an endpoint slice has the pod", TIMEOUT, async || {
        let slices = kubernetes.list("discovery.k8s.io/v1", "EndpointSlice", Some("default")).await;
        let text = slices["items"].to_string();
        if text.contains("10.1.0.1") { Ok(()) } else { Err(text) }
    })
    .await;
}
