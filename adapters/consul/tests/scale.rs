//! Many services over few connections, and what a change costs.

mod common;

use std::sync::Arc;

use common::{ConsulFixture, NODE, check_set, has, many_set, options, services};
use mainstem_consul::{ConsulAdapter, ConsulConfig, TlsConfig, Traffic};
use mainstem_model::{Health, ServiceKey, TimeSpan};
use mainstem_test_support::battery::{View, Watch};
use mainstem_test_support::{Scratch, TIMEOUT, eventually};
use serde_json::json;

fn key(i: usize) -> ServiceKey {
    ServiceKey::new(format!("many-{i}.service.dc1.consul"), "default")
}

/// A catalog of `count` services that an adapter has seen.
struct Scene {
    fixture: ConsulFixture,
    watch: Watch,
    traffic: Arc<Traffic>,
    _scratch: Scratch,
}

impl Scene {
    async fn plain(count: usize, max_queries: usize) -> Self {
        // Consul's own default, which the adapter must respect.
        let options = options(|o| o.connection_limit = 200);
        let fixture = ConsulFixture::with(options).await;
        let config = ConsulConfig { max_queries: Some(max_queries), ..fixture.config.clone() };
        Self::set(fixture, config, count, Scratch::new("plain")).await
    }

    async fn tls(count: usize) -> Self {
        let options = options(|o| (o.connection_limit, o.tls) = (200, true));
        let fixture = ConsulFixture::with(options).await;
        let scratch = Scratch::new("tls");
        let ca = scratch.write("ca.pem", fixture.consul.ca().expect("the agent has TLS").pem());
        let config = ConsulConfig {
            address: fixture.proxy.https_url(),
            tls: TlsConfig { ca: Some(ca), ..TlsConfig::default() },
            ..fixture.config.clone()
        };
        Self::set(fixture, config, count, scratch).await
    }

    async fn set(
        fixture: ConsulFixture,
        config: ConsulConfig,
        count: usize,
        scratch: Scratch,
    ) -> Self {
        // The agent's own registration would start a sweep in the middle of a count.
        eventually("the agent is registered", TIMEOUT, async || {
            match fixture.consul.process().log().contains("Synced node info") {
                true => Ok(()),
                false => Err("not yet"),
            }
        })
        .await;
        fixture.register_many("many", count).await;
        // A probe would count among the queries of a change.
        let config = ConsulConfig { probe_interval: TimeSpan::from_secs(3600), ..config };
        let adapter = ConsulAdapter::new(config);
        let (registry, traffic) = (adapter.registry(), adapter.traffic());
        let watch = Watch::start(registry, Box::new(adapter));
        let mut scene = Self { fixture, watch, traffic, _scratch: scratch };
        scene.watch.until("the first sync", View::live).await;
        assert_eq!(services(&scene.watch.view), count);
        scene
    }

    async fn shows(&mut self, i: usize, port: u16, health: Health) {
        let key = key(i);
        self.watch.until("the change", |view| has(view, &key, port, health)).await;
    }

    /// Sets the check of service `i`, waits until it is seen; the queries that
    /// this took, and the bytes of their answers.
    async fn flip(&mut self, i: usize, status: &str, health: Health) -> (u64, u64) {
        let before = (self.traffic.queries(), self.traffic.bytes());
        self.fixture.consul.txn(&[check_set("many", i, status)]).await;
        self.shows(i, 8080, health).await;
        (self.traffic.queries() - before.0, self.traffic.bytes() - before.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_500_services_share_a_few_connections_and_each_has_a_query() {
    let mut scene = Scene::tls(500).await;

    // 502 queries at 240 each; one connection more is the probe's.
    assert_eq!(scene.fixture.proxy.connections(), 4);
    for i in [0, 250, 499] {
        let (queries, bytes) = scene.flip(i, "critical", Health::Unhealthy).await;
        assert!(queries <= 2, "{queries} queries for one change");
        assert!(bytes < 4_000, "{bytes} bytes for one change of 500 services");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_registration_of_a_known_service_costs_nothing_by_the_size_of_the_catalog() {
    let mut scene = Scene::tls(500).await;
    let before = scene.traffic.bytes();
    for port in 9_000..9_010 {
        scene.fixture.consul.txn(&[many_set("many", 250, port)]).await;
        scene.shows(250, port, Health::Healthy).await;
    }
    // Ten service lists are 90 kB; a busy machine may need one or two.
    let bytes = scene.traffic.bytes() - before;
    assert!(bytes < 40_000, "{bytes} bytes for ten registrations among 500 services");

    // One transaction: a known service answers at the index at which a new one came.
    let both = [many_set("many", 250, 9_100), many_set("many", 500, 8080)];
    scene.fixture.consul.txn(&both).await;
    scene.shows(500, 8080, Health::Healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_plain_http_a_change_of_health_costs_few_queries_whoever_it_concerns() {
    let mut scene = Scene::plain(300, 32).await;

    // 32 queries, four idle connections, and the probe's.
    eventually("few connections", TIMEOUT, async || match scene.fixture.proxy.connections() {
        open if open <= 37 => Ok(()),
        open => Err(format!("{open} connections are open")),
    })
    .await;
    // Hot: its own query. Cold: the detector, the fetch, and a query of its own from then on.
    let (hot, _) = scene.flip(0, "critical", Health::Unhealthy).await;
    let (cold, bytes) = scene.flip(299, "critical", Health::Unhealthy).await;
    let (warmed, _) = scene.flip(299, "passing", Health::Healthy).await;
    assert!(hot <= 2 && cold <= 4 && warmed <= 4, "{hot}, {cold}, {warmed} queries");
    assert!(bytes < 8_000, "{bytes} bytes for one change of 300 services");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_plain_http_every_kind_of_change_is_found() {
    let mut scene = Scene::plain(300, 32).await;
    let consul = &scene.fixture.consul;

    // Nothing names this change: no check, no tag, no new service.
    consul.txn(&[many_set("many", 298, 9090)]).await;
    scene.shows(298, 9090, Health::Healthy).await;

    scene.fixture.consul.txn(&[many_set("many", 300, 8080)]).await;
    scene.shows(300, 8080, Health::Healthy).await;

    let gone = json!({"Node": NODE, "ServiceID": "many-297"});
    scene.fixture.consul.catalog_deregister(&gone).await;
    let key_297 = key(297);
    scene.watch.until("the deletion", |view| view.lacks(&key_297)).await;

    // A check of the node concerns all of its services.
    let serf = |status: &str| {
        json!({"Check": {"Verb": "set", "Check": {
            "Node": NODE, "CheckID": "node-up", "Name": "node", "Status": status}}})
    };
    scene.fixture.consul.txn(&[serf("critical")]).await;
    scene.shows(5, 8080, Health::Unhealthy).await;
    scene.shows(296, 8080, Health::Unhealthy).await;
    scene.fixture.consul.txn(&[serf("passing")]).await;
    scene.shows(5, 8080, Health::Healthy).await;
    scene.shows(296, 8080, Health::Healthy).await;

    // A node's address is that of its instances without one.
    let named = json!({"Service": {"Verb": "set", "Node": NODE, "Service": {
        "ID": "many-295", "Service": "many-295", "Port": 8080}}});
    scene.fixture.consul.txn(&[named]).await;
    let at = |ip: &'static str| {
        let key = key(295);
        move |view: &View| match view.serving(&key)[..] {
            [(address, 8080)] if address.to_string() == ip => Ok(()),
            ref other => Err(format!("{other:?}")),
        }
    };
    scene.watch.until("the node's address", at("10.9.9.9")).await;
    let moved = json!({"Node": {"Verb": "set", "Node": {"Node": NODE, "Address": "10.9.9.8"}}});
    scene.fixture.consul.txn(&[moved]).await;
    scene.watch.until("the node's new address", at("10.9.9.8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_changes_among_cold_services_ends_with_all_of_them() {
    let mut scene = Scene::plain(300, 16).await;

    for round in 0..5 {
        let ports = (0..300).map(|i| many_set("many", i, 9000 + round));
        scene.fixture.consul.txn(&ports.collect::<Vec<_>>()).await;
    }

    let all = |view: &View| (0..300).try_for_each(|i| has(view, &key(i), 9004, Health::Healthy));
    scene.watch.until("the end of the storm", all).await;
    assert!(scene.fixture.proxy.connections() < 200);
    scene.watch.view.live().expect("a storm is no failure");
}
