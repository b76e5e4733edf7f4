//! What a peer exports, followed through the agent that it is a peer of.

mod common;

use common::{ConsulFixture, NODE, has, instance, instance_id, options, services};
use mainstem_model::{Condition, Health, ServiceKey};
use mainstem_test_support::battery::{TestService, View, Watch};
use mainstem_test_support::{Consul, Storage};
use rstest::rstest;
use serde_json::json;

const HERE: &str = "here";
const PEER: &str = "emea";

/// Two peers, and an adapter that follows at one what the other exports.
struct Peers {
    here: ConsulFixture,
    there: Consul,
}

impl Peers {
    async fn start() -> Self {
        let agent = |datacenter: &str| {
            options(|o| {
                (o.datacenter, o.peering) = (datacenter.to_owned(), true);
                o.storage = Storage::Disk;
            })
        };
        let there = Consul::start(agent(PEER)).await;
        let mut here = ConsulFixture::with(agent(HERE)).await;
        here.config.peer = Some(PEER.to_owned());
        here.consul.peer_with(&there).await;
        Self { here, there }
    }

    /// Registers an instance at the peer, with a check of that status.
    async fn put(&self, service: &TestService, status: &str) {
        let mut instance = instance(service, service.ready[0]);
        instance["Check"]["Status"] = json!(status);
        self.there.catalog_register(&instance).await;
    }

    async fn deregister(&self, service: &TestService) {
        let id = instance_id(&service.name, service.ready[0]);
        self.there.catalog_deregister(&json!({ "Node": NODE, "ServiceID": id })).await;
    }

    async fn export(&self, names: &[&str]) {
        self.there.export_to(HERE, names).await;
    }

    fn watch(&self) -> Watch {
        self.here.watch()
    }
}

fn service(name: &str) -> TestService {
    TestService::new(name, &[[10, 9, 0, 1]])
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new(format!("{name}.service.{PEER}.peer.consul"), "default")
}

/// Live, with these services and no others, each with one endpoint of this health.
fn only(expected: &[(&str, Health)]) -> impl Fn(&View) -> Result<(), String> {
    let expected: Vec<_> = expected.iter().map(|(name, health)| (key(name), *health)).collect();
    move |view| {
        view.live()?;
        expected.iter().try_for_each(|(key, health)| has(view, key, 8080, *health))?;
        match services(view) {
            found if found == expected.len() => Ok(()),
            found => Err(format!("{found} services")),
        }
    }
}

/// With a query for each service, and with fewer than services.
#[rstest]
#[case::hot(None)]
#[case::cold(Some(8))]
#[tokio::test(flavor = "multi_thread")]
async fn exports_and_their_instances_come_change_and_go(#[case] queries: Option<usize>) {
    let mut peers = Peers::start().await;
    (peers.here.config.max_queries, peers.here.config.wait) = (queries, "2s".parse().unwrap());
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        peers.put(&service(name), "passing").await;
    }
    peers.put(&service("private"), "passing").await;
    // An instance is not needed for being exported.
    let with_none: Vec<&str> = names.iter().copied().chain(["none"]).collect();
    peers.export(&with_none).await;
    let mut watch = peers.watch();
    let mut expected: Vec<_> = names.iter().map(|name| (*name, Health::Healthy)).collect();
    watch.until("the first sync", only(&expected)).await;

    peers.put(&service("s5"), "critical").await;
    expected[5].1 = Health::Unhealthy;
    watch.until("a check's failure", only(&expected)).await;

    peers.deregister(&service("s5")).await;
    expected.pop();
    watch.until("the end of the last instance", only(&expected)).await;
    peers.put(&service("s5"), "passing").await;
    expected.push(("s5", Health::Healthy));
    watch.until("its return", only(&expected)).await;

    peers.export(&names[1..]).await;
    watch.until("the end of an export", only(&expected[1..])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_loses_nothing() {
    let peers = Peers::start().await;
    peers.put(&service("orders"), "passing").await;
    peers.export(&["orders"]).await;
    let mut watch = peers.watch();
    let all = || only(&[("orders", Health::Healthy)]);
    watch.until("the first sync", all()).await;

    peers.there.kill9();
    let failed = |view: &View| match &view.condition {
        Condition::Failed(reason) if reason.contains("peering with \"emea\" is FAILING") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let stays = |view: &View| has(view, &key("orders"), 8080, Health::Healthy);
    watch.until_while("the loss of the peer", failed, stays).await;
    // Whoever leads anew knows of no exports until the peer is back.
    peers.here.consul.kill9();
    peers.here.consul.restart().await;
    watch.until_while("the loss of the peer", failed, stays).await;

    peers.there.restart().await;
    watch.until_while("the return", View::live, stays).await;
    let more = TestService::new("invoices", &[[10, 9, 0, 2]]);
    peers.put(&more, "passing").await;
    peers.export(&["orders", "invoices"]).await;
    let both = only(&[("orders", Health::Healthy), ("invoices", Health::Healthy)]);
    watch.until("an export after the return", both).await;
}
