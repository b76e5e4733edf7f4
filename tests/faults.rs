//! A registry's bad moment never empties the mesh: traffic flows on, and the
//! registry is stale, then live.

mod common;

use std::time::Duration;

use common::{Mainstem, Sidecar, World, throughout};
use mainstem_test_support::{Consul, ConsulOptions, Kubernetes, Storage};
use pretty_assertions::assert_eq;

const ALL: [&str; 3] = ["kubernetes-1", "consul-1", "file-1"];

/// One workload in each registry, a sidecar that reaches all, and servers that
/// may be broken.
async fn world() -> (World, Mainstem, Sidecar, String, Vec<common::Workload>) {
    let mut world = World::new(Kubernetes::start().await).await;
    // Its catalog outlives a kill.
    let mut options = ConsulOptions::default();
    options.storage = Storage::Disk;
    world.consul = Consul::start(options).await;
    let workloads: Vec<_> = ALL.iter().map(|name| world.workload(name)).collect();
    world.put_service("orders").await;
    world.put_slice("orders", &[(&workloads[0], true)]).await;
    world.register("orders", &workloads[1]).await;
    // An agent remembers over a restart what a check was told, not how it began.
    world.set_check(&workloads[1], "passing").await;
    world.put_file("orders", &[(&workloads[2], 1, "healthy")]);
    let mainstem = world.mainstem().await;
    let client = world.client(&mainstem, "--delta").await;
    let host = world.host("orders");
    client.until_answered_by(&host, &ALL).await;
    (world, mainstem, client, host, workloads)
}

/// Every request is answered, by a workload of each registry, for a while.
async fn flows(client: &Sidecar, host: &str) {
    throughout(Duration::from_millis(500), async || {
        client.until_answered_by(host, &ALL).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_or_stopped_consul_loses_nothing_and_comes_back() {
    let (world, mainstem, client, host, _workloads) = world().await;

    world.consul.kill9();
    mainstem.until_registry("consul/dc1", "stale").await;
    flows(&client, &host).await;
    world.consul.restart().await;
    mainstem.until_registry("consul/dc1", "live").await;
    flows(&client, &host).await;

    world.consul.pause();
    mainstem.until_registry("consul/dc1", "stale").await;
    flows(&client, &host).await;
    world.consul.resume();
    mainstem.until_registry("consul/dc1", "live").await;
    flows(&client, &host).await;

    let second = world.workload("consul-2");
    world.register("orders", &second).await;
    client.until_answered_by(&host, &["kubernetes-1", "consul-1", "consul-2", "file-1"]).await;
    assert_eq!(client.refused().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_or_stopped_api_server_loses_nothing_and_comes_back() {
    let (world, mainstem, client, host, workloads) = world().await;

    world.kubernetes.kill9();
    mainstem.until_registry("kubernetes/home", "stale").await;
    flows(&client, &host).await;
    world.kubernetes.restart().await;
    mainstem.until_registry("kubernetes/home", "live").await;
    flows(&client, &host).await;

    world.kubernetes.pause();
    mainstem.until_registry("kubernetes/home", "stale").await;
    flows(&client, &host).await;
    world.kubernetes.resume();
    mainstem.until_registry("kubernetes/home", "live").await;
    flows(&client, &host).await;

    let second = world.workload("kubernetes-2");
    world.put_slice("orders", &[(&workloads[0], true), (&second, true)]).await;
    client.until_answered_by(&host, &["kubernetes-1", "kubernetes-2", "consul-1", "file-1"]).await;
    assert_eq!(client.refused().await, []);
}
