//! What changes no content sends nothing to anybody, and replicas agree.

mod common;

use std::collections::BTreeMap;

use common::{Mainstem, Sidecar, World};
use mainstem_test_support::{Kubernetes, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

/// Makes a change that everybody is told, and waits until the sidecar has it: what
/// came before it and was to be sent has been sent by then.
async fn flush(world: &World, client: &Sidecar, name: &str) {
    world.put_service(name).await;
    let host = world.host(name);
    eventually("the flushing change arrives", TIMEOUT, async || {
        let clusters = client.envoy.clusters().await.to_string();
        if clusters.contains(&format!("outbound|80||{host}")) { Ok(()) } else { Err("not yet") }
    })
    .await;
}

/// The answers that carried anything, by type.
async fn updates(client: &Sidecar) -> BTreeMap<String, u64> {
    client
        .envoy
        .stats(
            "(cluster_manager.cds|listener_manager.lds|\\.rds\\..*|cluster\\..*)\\.update_success$",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_only_write_in_any_registry_sends_nothing() {
    let world = World::new(Kubernetes::shared().await).await;
    let (pod, vm, file) =
        (world.workload("pod-1"), world.workload("vm-1"), world.workload("file-1"));
    world.put_service("orders").await;
    world.put_slice("orders", &[(&pod, true)]).await;
    world.register("orders", &vm).await;
    world.put_file("orders", &[(&file, 1, "healthy")]);
    let mainstem = world.mainstem().await;
    let client = world.client(&mainstem, "--delta").await;
    client.until_answered_by(&world.host("orders"), &["pod-1", "vm-1", "file-1"]).await;
    flush(&world, &client, "before").await;
    let before = updates(&client).await;

    let mut service = world.service("orders");
    service["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
    world.kubernetes.apply(&service).await;
    world
        .kubernetes
        .patch_status(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": world.service("orders")["metadata"],
            "status": { "conditions": [{
                "type": "Checked", "status": "True", "reason": "R", "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        }))
        .await;
    // The same state with another output: a new index, the same content.
    world.set_check(&vm, "passing").await;
    world.put_file("orders", &[(&file, 1, "healthy")]);

    flush(&world, &client, "after").await;
    let after = updates(&client).await;
    let changed: Vec<_> = after
        .iter()
        .filter(|(name, count)| before.get(*name).is_some_and(|before| before != *count))
        .map(|(name, _)| name.as_str())
        .filter(|name| name.contains("orders"))
        .collect();
    assert_eq!(changed, Vec::<&str>::new());
    assert_eq!(client.refused().await, []);
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
