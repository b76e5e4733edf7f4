//! What changes no content sends nothing to anybody, and replicas agree.

#[path = "quiet/audience.rs"]
mod audience;
mod common;
#[path = "quiet/objects.rs"]
mod objects;

use std::collections::BTreeMap;

use audience::Audience;
use common::{ISTIO_CRDS, Mainstem, World};
use mainstem_test_support::Kubernetes;
use objects::Objects;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

/// A namespace with a service whose endpoints, on nodes of two zones, its clients
/// may prefer by distance: what they do is said by the namespace's annotation.
async fn put_namespace_of_near_and_far(kubernetes: &Kubernetes) -> String {
    let namespace = kubernetes.namespace("zones").await;
    let metadata = json!({ "name": "near", "namespace": namespace });
    let zones = [("eu-1", "10.9.1.1"), ("eu-2", "10.9.1.2")];
    for (zone, _) in zones {
        let labels = json!({
            "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": zone,
        });
        let metadata = json!({ "name": zone, "labels": labels });
        kubernetes
            .create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata }))
            .await;
    }
    let ports = json!([{ "name": "http", "port": 80 }]);
    let spec = json!({ "ports": ports });
    let service =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
    kubernetes.create(&service).await;
    let mut metadata = metadata;
    metadata["labels"] = json!({ "kubernetes.io/service-name": "near" });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": "IPv4", "ports": ports,
        "endpoints": zones.map(|(zone, ip)| json!({ "addresses": [ip], "nodeName": zone })),
    });
    kubernetes.create(&slice).await;
    namespace
}

fn namespace(name: &str, annotations: Value) -> Value {
    let metadata = json!({ "name": name, "annotations": annotations });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
}

async fn touch_namespace(world: &World) {
    let mut touched = namespace(&world.namespace, json!({ "example.com/note": "changed" }));
    world.kubernetes.patch(&touched).await;
    touched["status"] = json!({ "conditions": [{
        "type": "NamespaceContentRemaining", "status": "False", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:02:00Z",
    }]});
    world.kubernetes.patch_status(&touched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_only_write_in_any_registry_sends_nothing() {
    // A cluster of its own: other tests' changes are sent to everybody.
    let world = World::new(Kubernetes::start().await).await;
    world.kubernetes.install_crds(ISTIO_CRDS).await;
    let (pod, marker_pod) = (world.workload("orders-1"), world.workload("marker-1"));
    let machines = ["orders-2", "orders-3"].map(|name| world.workload(name));
    let marker_machines = ["marker-2", "marker-3"].map(|name| world.workload(name));
    let orders = Objects::put(&world, "orders", &pod, &machines).await;
    let marker = Objects::put(&world, "marker", &marker_pod, &marker_machines).await;
    let zones = put_namespace_of_near_and_far(&world.kubernetes).await;
    let near = format!("outbound|80||near.{zones}.svc.cluster.local");
    let mainstem = world.mainstem().await;
    let clusters = [orders.clusters(), marker.clusters()].concat();
    let clusters: Vec<&str> = clusters.iter().chain([&near]).map(String::as_str).collect();
    let mut audience = Audience::of(&mainstem, &world, &pod.host, &clusters).await;

    let [joined, entry, selecting] = &marker.clusters();
    let prefer_close = json!({ "networking.istio.io/traffic-distribution": "PreferClose" });
    let prefer_close = namespace(&zones, prefer_close);
    audience.after("Service", orders.touch_service(), marker.publish_not_ready(true), joined).await;
    audience.after("Node", orders.touch_node(), marker.move_node(), joined).await;
    audience.after("Pod", orders.touch_pod(), marker.move_pod(), joined).await;
    audience.after("EndpointSlice", orders.touch_slice(), marker.shrink_slice(), joined).await;
    audience.after("its order", orders.reorder_slice(), marker.fill_slice(), joined).await;
    let close = world.kubernetes.patch(&prefer_close);
    audience.after("Namespace", touch_namespace(&world), close, &near).await;
    audience.after("ServiceEntry", orders.touch_entries(), marker.weigh_entry(), entry).await;
    let moved = marker.move_workload_entry();
    audience.after("WorkloadEntry", orders.touch_workload_entry(), moved, selecting).await;
    audience.after("Consul", orders.touch_registration(), marker.register(5), joined).await;
    let written = async || marker.put_file(5);
    audience.after("file", async { orders.touch_file() }, written(), joined).await;
}

/// Every resource of a proxy with the hash of its bytes, by type and name.
fn resources(mainstem: &Mainstem, proxy: &str) -> BTreeMap<String, Value> {
    let dump = mainstem.cli(&["config", "dump", proxy]);
    let types = dump.as_object().unwrap_or_else(|| panic!("types: {dump}"));
    let all = types.iter().flat_map(|(kind, list)| {
        let list = list.as_array().into_iter().flatten();
        list.map(move |one| (format!("{kind} {}", one["name"]), one["version"].clone()))
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_hear_their_registries_in_different_order_give_equal_bytes() {
    // A cluster of its own: other tests' services would come and go meanwhile.
    let world = World::new(Kubernetes::start().await).await;
    let workloads: Vec<_> =
        ["pod-1", "vm-1", "file-1"].iter().map(|name| world.workload(name)).collect();
    world.put_service("orders").await;
    world.put_slice("orders", &[(&workloads[0], true)]).await;
    world.register("orders", &workloads[1]).await;
    world.put_file("orders", &[(&workloads[2], 1, "healthy")]);

    // The first hears Consul last.
    world.consul.pause();
    let first = Mainstem::launch(world.network.gateway(), &world.registries()).await;
    first.until_registry("kubernetes/home", "live").await;
    first.until_registry("file/static", "live").await;
    world.consul.resume();
    first.until_registry("consul/dc1", "live").await;
    // The second hears the file last.
    world.remove_file("orders");
    let second = world.mainstem().await;
    world.put_file("orders", &[(&workloads[2], 1, "healthy")]);

    let mut all = Vec::new();
    for mainstem in [&first, &second] {
        let client = world.client(mainstem, "--delta").await;
        client.until_answered_by(&world.host("orders"), &["pod-1", "vm-1", "file-1"]).await;
        all.push(resources(mainstem, "client"));
    }
    assert!(all[0].len() > 4, "{:?}", all[0]);
    assert_eq!(all[0], all[1]);
}
