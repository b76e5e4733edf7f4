//! Several datacenters of one Consul, followed through one agent: each is a registry of
//! its own, and one that stops delays no other.

mod common;

use std::net::Ipv4Addr;

use common::Mainstem;
use mainstem_test_support::{Consul, ConsulOptions, TIMEOUT, eventually};
use serde_json::json;

async fn register(consul: &Consul, id: &str, address: &str) {
    consul
        .register(&json!({
            "ID": id, "Name": "orders", "Address": address, "Port": 8080,
            "Meta": { "protocol": "http" },
        }))
        .await;
}

async fn until(mainstem: &Mainstem, host: &str, expected: &[&str]) {
    eventually(&format!("{host} has {expected:?}"), TIMEOUT, async || {
        let services = mainstem.cli(&["endpoints", host]);
        let endpoints = services[0]["endpoints"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<_> =
            endpoints.iter().filter_map(|e| e["addresses"][0].as_str()).collect();
        found.sort_unstable();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_datacenter_has_its_own_freshness_and_one_that_stops_delays_no_other() {
    let first = Consul::start(ConsulOptions::default()).await;
    let second = ConsulOptions::federated_with(&first, "dc2", Ipv4Addr::new(127, 0, 0, 2));
    let second = Consul::start(second).await;
    register(&first, "a", "10.0.0.1").await;
    register(&second, "b", "10.0.0.2").await;
    let registry = json!({
        "type": "consul", "cluster": "vms", "address": first.http_url(), "servicePort": 80,
        "probeInterval": "300ms", "probeTimeout": "2s",
        "shards": [{ "datacenter": "dc1" }, { "datacenter": "dc2" }],
    });
    let mainstem = Mainstem::start(Ipv4Addr::LOCALHOST, &[registry]).await;
    let (near, far) = ("orders.service.dc1.consul", "orders.service.dc2.consul");
    until(&mainstem, near, &["10.0.0.1"]).await;
    until(&mainstem, far, &["10.0.0.2"]).await;

    second.pause();
    mainstem.until_registry("consul/vms-dc2", "stale").await;
    register(&first, "c", "10.0.0.3").await;
    until(&mainstem, near, &["10.0.0.1", "10.0.0.3"]).await;
    assert_eq!(mainstem.registry("consul/vms-dc1")["state"], "live");
    until(&mainstem, far, &["10.0.0.2"]).await;

    second.resume();
    mainstem.until_registry("consul/vms-dc2", "live").await;
    register(&second, "d", "10.0.0.4").await;
    until(&mainstem, far, &["10.0.0.2", "10.0.0.4"]).await;
}
