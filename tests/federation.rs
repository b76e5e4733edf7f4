//! One hostname in Kubernetes, Consul and a file: one Envoy cluster, and every
//! change of each registry reaches traffic.

mod common;
#[path = "federation/malformed.rs"]
mod malformed;

use std::collections::{BTreeMap, BTreeSet};

use common::{ISTIO_CRDS, Mainstem, Sidecar, Workload, World};
use mainstem_test_support::{Consul, ConsulOptions, EnvoyVersion, Kubernetes, Storage};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

/// A world where `orders` has one workload in each registry, and a sidecar.
struct Orders {
    world: World,
    mainstem: Mainstem,
    client: Sidecar,
    host: String,
    kubernetes: Workload,
    consul: Workload,
    file: Workload,
}

impl Orders {
    async fn new() -> Self {
        Self::over(Kubernetes::shared().await).await
    }

    async fn over(kubernetes: Kubernetes) -> Self {
        Self::within(World::new(kubernetes).await).await
    }

    async fn within(world: World) -> Self {
        let (kubernetes, consul, file) =
            (world.workload("kubernetes-1"), world.workload("consul-1"), world.workload("file-1"));
        world.put_service("orders").await;
        world.put_slice("orders", &[(&kubernetes, true)]).await;
        world.register("orders", &consul).await;
        world.put_file("orders", &[(&file, 1, "healthy")]);
        let mainstem = world.mainstem().await;
        let client = world.client(&mainstem, "--delta").await;
        let host = world.host("orders");
        client.until_answered_by(&host, &["kubernetes-1", "consul-1", "file-1"]).await;
        Self { world, mainstem, client, host, kubernetes, consul, file }
    }

    async fn until(&self, names: &[&str]) {
        self.client.until_answered_by(&self.host, names).await;
    }

    async fn end(self) {
        assert_eq!(self.client.refused().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hostname_of_three_registries_is_one_cluster_with_origins() {
    let orders = Orders::new().await;

    let cluster = format!("outbound|80||{}", orders.host);
    let mut expected: Vec<String> = [&orders.kubernetes, &orders.consul, &orders.file]
        .map(|workload| format!("{}:8080", workload.host.ip()))
        .to_vec();
    expected.sort();
    assert_eq!(orders.client.envoy.endpoints(&cluster).await, expected);

    let services = orders.mainstem.cli(&["endpoints", &orders.host]);
    let endpoints = services[0]["endpoints"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let origins: BTreeSet<(String, String)> = endpoints
        .map(|endpoint| {
            (text(&endpoint["addresses"][0]), text(&endpoint["origins"][0]["registry"]))
        })
        .collect();
    let of =
        |workload: &Workload, registry: &str| (workload.host.ip().to_string(), registry.to_owned());
    let expected = BTreeSet::from([
        of(&orders.kubernetes, "kubernetes/home"),
        of(&orders.consul, "consul/dc1"),
        of(&orders.file, "file/static"),
    ]);
    assert_eq!(origins, expected);
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_kubernetes_reach_traffic() {
    let orders = Orders::new().await;
    let second = orders.world.workload("kubernetes-2");
    let first = &orders.kubernetes;

    orders.world.put_slice("orders", &[(first, true), (&second, true)]).await;
    orders.until(&["kubernetes-1", "kubernetes-2", "consul-1", "file-1"]).await;
    orders.world.put_slice("orders", &[(first, false), (&second, true)]).await;
    orders.until(&["kubernetes-2", "consul-1", "file-1"]).await;
    orders.world.put_slice("orders", &[(first, true), (&second, true)]).await;
    orders.until(&["kubernetes-1", "kubernetes-2", "consul-1", "file-1"]).await;
    orders.world.kubernetes.delete(&orders.world.slice("orders", &[])).await;
    orders.until(&["consul-1", "file-1"]).await;
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_in_kubernetes_reach_traffic_with_their_weights() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.install_crds(ISTIO_CRDS).await;
    let orders = Orders::over(kubernetes).await;
    let machine = orders.world.workload("kubernetes-vm");
    let entry = |weight: u32| {
        let metadata = json!({ "name": "vm", "namespace": orders.world.namespace });
        let spec = json!({
            "address": machine.host.ip(), "labels": { "app": "orders" }, "weight": weight,
        });
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "WorkloadEntry",
            "metadata": metadata, "spec": spec,
        })
    };

    orders.world.kubernetes.apply(&entry(1)).await;
    orders.until(&["kubernetes-1", "kubernetes-vm", "consul-1", "file-1"]).await;
    orders.world.kubernetes.apply(&entry(27)).await;
    orders.client.until_share(&orders.host, "kubernetes-vm", 0.7..1.0).await;
    orders.world.kubernetes.delete(&entry(27)).await;
    orders.until(&["kubernetes-1", "consul-1", "file-1"]).await;
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_flows_while_registries_are_killed_stopped_and_restarted() {
    let mut world = World::new(Kubernetes::start().await).await;
    let on_disk = ConsulOptions { storage: Storage::Disk, ..ConsulOptions::default() };
    world.consul = Consul::start(on_disk).await;
    let orders = Orders::within(world).await;
    // The agent keeps what it was told of a check, not what it began with.
    orders.world.set_check(&orders.consul, "passing").await;
    let quick = orders.world.registries().map(|mut registry| {
        if registry["type"] != "file" {
            registry["probeInterval"] = json!("300ms");
            registry["probeTimeout"] = json!("1s");
        }
        registry
    });
    orders.mainstem.configure(&quick);
    let Orders { world, mainstem, .. } = &orders;

    let outages = async {
        mainstem.until_registry("consul/dc1", "live").await;
        world.consul.kill9();
        mainstem.until_registry("consul/dc1", "stale").await;
        world.consul.restart().await;
        mainstem.until_registry("consul/dc1", "live").await;
        world.consul.pause();
        mainstem.until_registry("consul/dc1", "stale").await;
        world.consul.resume();
        mainstem.until_registry("consul/dc1", "live").await;
        mainstem.until_registry("kubernetes/home", "live").await;
        world.kubernetes.kill9();
        mainstem.until_registry("kubernetes/home", "stale").await;
        world.kubernetes.restart().await;
        mainstem.until_registry("kubernetes/home", "live").await;
        world.kubernetes.pause();
        mainstem.until_registry("kubernetes/home", "stale").await;
        world.kubernetes.resume();
        mainstem.until_registry("kubernetes/home", "live").await;
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let requests = async {
        loop {
            for answer in orders.client.answers(&orders.host, 10).await {
                *counts.entry(answer).or_default() += 1;
            }
        }
    };
    tokio::select! {
        () = outages => {}
        () = requests => unreachable!("requests never end"),
    }
    let who: Vec<&str> = counts.keys().map(String::as_str).collect();
    assert_eq!(who, ["consul-1", "file-1", "kubernetes-1"], "{counts:?}");
    orders.until(&["kubernetes-1", "consul-1", "file-1"]).await;
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_consul_reach_traffic() {
    let orders = Orders::new().await;
    let second = orders.world.workload("consul-2");

    orders.world.register("orders", &second).await;
    orders.until(&["kubernetes-1", "consul-1", "consul-2", "file-1"]).await;
    orders.world.set_check(&second, "critical").await;
    orders.until(&["kubernetes-1", "consul-1", "file-1"]).await;
    orders.world.set_check(&second, "passing").await;
    orders.until(&["kubernetes-1", "consul-1", "consul-2", "file-1"]).await;
    orders.world.register_weighted("orders", &second, 27).await;
    orders.client.until_share(&orders.host, "consul-2", 0.7..1.0).await;
    orders.world.consul.deregister("consul-1").await;
    orders.world.register("orders", &second).await;
    orders.until(&["kubernetes-1", "consul-2", "file-1"]).await;
    orders.world.consul.deregister("consul-2").await;
    orders.until(&["kubernetes-1", "file-1"]).await;
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_a_file_reach_traffic() {
    let orders = Orders::new().await;
    let (first, second) = (&orders.file, orders.world.workload("file-2"));

    orders.world.put_file("orders", &[(first, 1, "healthy"), (&second, 1, "healthy")]);
    orders.until(&["kubernetes-1", "consul-1", "file-1", "file-2"]).await;
    orders.world.put_file("orders", &[(first, 1, "unhealthy"), (&second, 1, "healthy")]);
    orders.until(&["kubernetes-1", "consul-1", "file-2"]).await;
    orders.world.put_file("orders", &[(first, 1, "healthy"), (&second, 27, "healthy")]);
    orders.client.until_share(&orders.host, "file-2", 0.7..1.0).await;
    orders.world.remove_file("orders");
    orders.until(&["kubernetes-1", "consul-1"]).await;
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_joins_the_endpoints_stay_out_and_the_conflict_is_named() {
    let orders = Orders::new().await;
    let mut consul = orders.world.consul_registry();
    consul.as_object_mut().unwrap().remove("joins");
    orders.mainstem.configure(&[
        orders.world.kubernetes_registry(),
        consul,
        orders.world.file_registry(),
    ]);

    orders.until(&["kubernetes-1", "file-1"]).await;
    let conflicts = orders.mainstem.cli(&["conflicts"]);
    let named: Vec<Value> = conflicts
        .as_array()
        .into_iter()
        .flatten()
        .filter(|conflict| conflict["hostname"] == orders.host.as_str())
        .map(|conflict| json!([conflict["kind"], conflict["winner"], conflict["loser"]]))
        .collect();
    assert_eq!(named, [json!(["undeclaredJoin", "kubernetes/home", "consul/dc1"])]);
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_by_sotw_and_by_delta_and_of_several_versions_end_with_equal_configuration() {
    // A cluster of its own: other tests' services would come and go meanwhile.
    let orders = Orders::over(Kubernetes::start().await).await;
    let mut dumps = Vec::new();
    for version in EnvoyVersion::matrix() {
        for protocol in ["--sotw", "--delta"] {
            let client = orders.world.client_of(&orders.mainstem, protocol, version).await;
            client.until_answered_by(&orders.host, &["kubernetes-1", "consul-1", "file-1"]).await;
            assert_eq!(client.refused().await, [], "{version:?} {protocol}");
            dumps.push(client.content().await);
        }
    }
    let first = dumps.remove(0);
    assert!(first.len() > 4, "{first:?}");
    for dump in dumps {
        assert_eq!(dump, first);
    }
    orders.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_a_proxy_cannot_tell_apart_are_conflicts() {
    let world = World::new(Kubernetes::shared().await).await;
    let services = ["a", "b"].map(|name| {
        let ports = json!([{ "number": 5432, "name": "tcp", "protocol": "tcp" }]);
        json!({ "hostname": format!("{name}.example.com"), "ports": ports })
    });
    std::fs::write(world.file("opaque"), json!({ "services": services }).to_string())
        .expect("the directory is ours");
    let mainstem = Mainstem::start(world.network.gateway(), &[world.file_registry()]).await;
    let _client = world.client(&mainstem, "--delta").await;

    let named = |args: &[&str]| -> Vec<Value> {
        let all = mainstem.cli(args);
        let all = all.as_array().into_iter().flatten();
        all.map(|one| json!([one["kind"], one["hostname"], one["winner"]])).collect()
    };
    let expected = [json!(["servicePort", "b.example.com", "file/static"])];
    assert_eq!(named(&["conflicts"]), expected);
    assert_eq!(named(&["conflicts", "--proxy", "client"]), expected);
    let metrics = mainstem.metrics().await;
    assert!(metrics.lines().any(|line| line == "mainstem_conflicts 1.0"), "{metrics}");
}
