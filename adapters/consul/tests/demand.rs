//! A large catalog of which little is needed.

mod common;

use common::{ConsulFixture, check_set, has, many_set, options, services};
use mainstem_consul::{ConsulAdapter, ConsulConfig};
use mainstem_model::{Health, Key, RegistryId, ServiceKey, TimeSpan};
use mainstem_registry::Interest;
use mainstem_test_support::Storage;
use mainstem_test_support::battery::{View, Watch};

const COUNT: usize = 500;

fn key(i: usize) -> ServiceKey {
    ServiceKey::new(format!("many-{i}.service.dc1.consul"), "default")
}

fn interest(needed: &[usize]) -> Interest {
    let mut interest = Interest::default();
    for i in needed {
        interest.hosts.insert(key(*i).hostname().clone(), ());
    }
    interest
}

/// Whether just these are loaded, of so many.
fn loaded(view: &View, needed: &[usize], of: usize) -> Result<(), String> {
    let all = needed.iter().all(|i| view.values.contains_key(&Key::Service(key(*i))));
    let unloaded = view.values.keys().filter(|key| matches!(key, Key::Unloaded(_))).count();
    match (all, services(view), unloaded) {
        (true, services, unloaded) if services == needed.len() && unloaded == of - services => {
            Ok(())
        }
        found => Err(format!("not those {}: {found:?}", needed.len())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_is_loaded_and_followed_and_the_rest_costs_nothing() {
    let fixture =
        ConsulFixture::with(options(|o| (o.connection_limit, o.storage) = (200, Storage::Disk)))
            .await;
    fixture.register_many("many", COUNT).await;
    let config = ConsulConfig {
        on_demand: true,
        probe_interval: TimeSpan::from_secs(3600),
        ..fixture.config.clone()
    };
    let adapter = ConsulAdapter::new(config);
    let traffic = adapter.traffic();
    let mut watch = Watch::start(RegistryId::new("consul", "vm"), Box::new(adapter));
    watch.until("the list alone", |view| view.live().and(loaded(view, &[], COUNT))).await;
    let queries = traffic.queries();
    assert!(queries < 20, "{queries} queries for a list");

    watch.need(interest(&[7, 400]));
    watch.until("two are loaded", |view| loaded(view, &[7, 400], COUNT)).await;
    fixture.consul.txn(&[check_set("many", 400, "critical")]).await;
    watch.until("a change", |view| has(view, &key(400), 8080, Health::Unhealthy)).await;
    fixture.consul.txn(&[check_set("many", 8, "critical"), many_set("many", 9, 9090)]).await;
    fixture.consul.txn(&[many_set("many", 7, 9090)]).await;
    watch.until("another", |view| has(view, &key(7), 9090, Health::Healthy)).await;
    let queries = traffic.queries() - queries;
    assert!(queries < 20, "{queries} queries for two services and their changes");

    // A new one that somebody needs, and one that nobody does.
    watch.need(interest(&[7, 400, COUNT]));
    let new = [many_set("many", COUNT, 8080), many_set("many", COUNT + 1, 8080)];
    fixture.consul.txn(&new).await;
    watch.until("the new one", |view| loaded(view, &[7, 400, COUNT], COUNT + 2)).await;

    watch.need(interest(&[400]));
    watch.until("the others are not needed", |view| loaded(view, &[400], COUNT + 2)).await;
    fixture.consul.restart().await;
    watch.need(Interest::everything());
    let all: Vec<usize> = (0..COUNT + 2).collect();
    watch
        .until("everything is needed", |view| view.live().and(loaded(view, &all, COUNT + 2)))
        .await;
}
