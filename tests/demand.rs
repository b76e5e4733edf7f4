//! A Consul registry that loads on demand: clients get all that they ask for, as if
//! everything were loaded, and what nobody asked for is never said to be absent.

mod common;

use common::{Mainstem, TARGET, Workload, World};
use mainstem_test_support::{
    Consul, ConsulOptions, GrpcClient, GrpcLanguage, Kubernetes, Storage, TIMEOUT, eventually,
};
use pretty_assertions::assert_eq;
use serde_json::json;

const OTHERS: usize = 20;

/// `orders` in Kubernetes and in Consul, and many services in Consul alone.
struct Catalog {
    world: World,
    mainstem: Mainstem,
    _workloads: [Workload; 2],
}

impl Catalog {
    async fn new() -> Self {
        let mut world = World::new(Kubernetes::shared().await).await;
        let on_disk = ConsulOptions { storage: Storage::Disk, ..ConsulOptions::default() };
        world.consul = Consul::start(on_disk).await;
        let (kubernetes, consul) = (world.workload("kubernetes-1"), world.workload("consul-1"));
        world.put_service("orders").await;
        world.put_slice("orders", &[(&kubernetes, true)]).await;
        world.register("orders", &consul).await;
        for i in 0..OTHERS {
            let name = format!("other-{i}");
            let other =
                json!({ "ID": name, "Name": name, "Port": TARGET, "Address": consul.host.ip() });
            world.consul.register(&other).await;
        }
        let mut registry = world.consul_registry();
        registry["onDemand"] = json!(true);
        registry["servicePort"] = json!(80);
        registry["hosts"] = json!(["*"]);
        registry["probeInterval"] = json!("300ms");
        registry["probeTimeout"] = json!("2s");
        let registries = [world.kubernetes_registry(), registry];
        let mainstem = Mainstem::keeping(world.network.gateway(), &registries, None).await;
        mainstem.ready().await;
        Self { world, mainstem, _workloads: [kubernetes, consul] }
    }

    async fn grpc(&self) -> GrpcClient {
        let namespace = &*self.world.namespace;
        let args = ["--grpc", "--name", "app", "--namespace", namespace, "--cluster", "home"];
        GrpcClient::start(GrpcLanguage::Python, &self.mainstem.bootstrap(&args)).await
    }

    fn target(&self, service: &str) -> String {
        format!("xds:///{}:80", self.world.host(service))
    }

    /// Waits until what is loaded is on disk as well.
    async fn until_kept(&self) {
        eventually("the last good state is written", TIMEOUT, async || {
            let registry = self.mainstem.registry("consul/dc1");
            let written = registry["lastGood"]["written"].as_str().map(str::to_owned);
            match written.as_deref() > registry["lastUpdate"].as_str() {
                true => Ok(()),
                false => Err(format!("{written:?}, after {}", registry["lastUpdate"])),
            }
        })
        .await;
    }

    async fn until_loaded(&self, services: usize) {
        let unloaded = OTHERS + 1 - services;
        eventually(&format!("{services} services are loaded"), TIMEOUT, async || {
            let registry = self.mainstem.registry("consul/dc1");
            let found = (registry["services"].as_u64(), registry["unloaded"].as_u64());
            match found == (Some(services as u64), Some(unloaded as u64)) {
                true => Ok(()),
                false => Err(format!("{found:?}")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_gets_all_of_what_it_asks_for_and_no_more_is_loaded() {
    let catalog = Catalog::new().await;
    catalog.until_loaded(0).await;
    let why = catalog.mainstem.cli(&["explain", &catalog.world.host("orders"), "10.0.0.1"]);
    assert_eq!(why["outcome"]["step"], "loaded", "{why}");

    // From its first answer on: what was there before is not told for the whole.
    let client = catalog.grpc().await;
    let answers = client.answers(&catalog.target("orders"), 20).await;
    let of = |name: &str| answers.iter().filter(|answer| *answer == name).count();
    let shares = [of("kubernetes-1"), of("consul-1")];
    assert!(shares.iter().sum::<usize>() == 20 && shares.iter().all(|n| *n > 5), "{answers:?}");
    catalog.until_loaded(1).await;
    let unknown = client.answers(&catalog.target("nobody"), 1).await;
    assert!(unknown[0].contains("is visible in"), "{unknown:?}");

    // An Envoy sees everything, and says so.
    let sidecar = catalog.world.client(&catalog.mainstem, "--delta").await;
    catalog.until_loaded(OTHERS + 1).await;
    sidecar.until_answered_by(&catalog.world.host("other-7"), &["consul-1"]).await;
    sidecar.until_answered_by(&catalog.world.host("orders"), &["kubernetes-1", "consul-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_loaded_is_not_absent_while_consul_is_down() {
    let catalog = Catalog::new().await;
    let client = catalog.grpc().await;
    assert_eq!(client.answers(&catalog.target("other-1"), 1).await, ["consul-1"]);
    catalog.until_loaded(1).await;

    catalog.world.consul.kill9();
    catalog.mainstem.until_registry("consul/dc1", "stale").await;
    let answers = client.answers(&catalog.target("other-2"), 1).await;
    assert!(answers[0].starts_with("DEADLINE_EXCEEDED"), "{answers:?}");
    // Nor by a control plane that knows it from its disk alone.
    catalog.until_kept().await;
    catalog.mainstem.kill_and_start().await;
    catalog.until_loaded(1).await;
    assert_eq!(client.answers(&catalog.target("other-1"), 1).await, ["consul-1"]);
    let answers = client.answers(&catalog.target("other-3"), 1).await;
    assert!(answers[0].starts_with("DEADLINE_EXCEEDED"), "{answers:?}");

    catalog.world.consul.restart().await;
    for service in ["other-1", "other-2", "other-3"] {
        eventually(&format!("{service} answers"), TIMEOUT, async || {
            match client.answers(&catalog.target(service), 1).await {
                answers if answers == ["consul-1"] => Ok(()),
                answers => Err(format!("{answers:?}")),
            }
        })
        .await;
    }
    catalog.until_loaded(3).await;
}
