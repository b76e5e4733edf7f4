use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{Condition, EndpointSet, Snapshot, Value};
use mainstem_registry::{UpdateSender, Updates};
use pretty_assertions::assert_eq;
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::fixtures::{config, endpoints, key, put_service, replace, service};

const WEB: &str = "shop/web.shop.svc";
const DB: &str = "shop/db.shop.svc";
const MS: Duration = Duration::from_millis(1);

/// A running aggregate and both its ends.
struct Running {
    updates: Updates,
    config: watch::Sender<AggregateConfig>,
    published: Published,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn of(registries: &[&str]) -> Self {
        let (updates, receiver) = mainstem_registry::channel();
        let (config, settings) = watch::channel(config(registries));
        let (publisher, published) = channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(receiver, settings, publisher, shutdown.clone()));
        settle().await;
        Self { updates, config, published, shutdown, task }
    }

    /// A registry that is live with one service and one endpoint.
    async fn live(&self, id: &str) -> UpdateSender {
        let sender = self.updates.sender(id.into());
        let service = Value::Service(Arc::new(service(id, WEB, &["80 http"])));
        let endpoints = Value::Endpoints(endpoints(id, WEB, &["80 10.0.0.1:80"]));
        sender.send_all(replace(vec![service, endpoints], vec![]));
        settle().await;
        sender
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshots.load()
    }

    fn addresses(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        snapshot.endpoints(&key(WEB)).map(|set| crate::fixtures::written(set)).unwrap_or_default()
    }
}

/// Lets every task run as far as it gets at this moment of paused time.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(time: Duration) {
    settle().await;
    advance(time).await;
    settle().await;
}

fn two(id: &str) -> Arc<EndpointSet> {
    endpoints(id, WEB, &["80 10.0.0.1:80", "80 10.0.0.2:80"])
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_once_every_registry_is_complete_and_published() {
    let running = Running::of(&["kubernetes/home", "file/a"]).await;
    assert!(!running.published.readiness.is_ready());
    running.live("kubernetes/home").await;
    assert_eq!(running.published.readiness.waiting_for(), ["file/a".into()]);
    running.updates.sender("file/a".into()).replace(vec![], vec![]);
    settle().await;
    assert!(running.published.readiness.is_ready());
    assert_eq!(running.addresses(), ["80 10.0.0.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_delays_readiness_no_longer_than_its_own_deadline() {
    let running = Running::of(&["kubernetes/home", "file/a"]).await;
    running.config.send_modify(|config| config.registries[1].deadline = 5 * MS);
    let failing = running.updates.sender("kubernetes/home".into());
    failing.send(mainstem_model::RegistryUpdate::Condition(Condition::Failed("refused".into())));
    pass(6 * MS).await;
    assert_eq!(running.published.readiness.waiting_for(), ["kubernetes/home".into()]);
    pass(Duration::from_secs(30)).await;
    assert!(running.published.readiness.is_ready());
    // A registry that comes later takes readiness from nobody.
    running
        .config
        .send_modify(|config| config.registries.push(crate::fixtures::registry("file/b")));
    settle().await;
    assert!(running.published.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn nothing_to_wait_for_is_ready_at_once() {
    let mut running = Running::of(&[]).await;
    assert!(running.published.readiness.ready().await);
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_published_at_once_and_a_service_after_quiet() {
    let running = Running::of(&["kubernetes/home"]).await;
    let home = running.live("kubernetes/home").await;
    pass(2 * MS).await;
    home.put(Value::Endpoints(two("kubernetes/home")));
    settle().await;
    assert_eq!(running.addresses().len(), 2);

    home.send(put_service(service("kubernetes/home", DB, &["80 http"])));
    home.put(Value::Endpoints(endpoints("kubernetes/home", DB, &["80 10.0.0.1:80"])));
    pass(9 * MS).await;
    assert!(running.snapshot().service(&key(DB)).is_none());
    pass(MS).await;
    assert!(running.snapshot().service(&key(DB)).is_some());
    assert_eq!(running.snapshot().endpoints(&key(DB)).map(|set| set.len()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn without_any_quiet_services_wait_no_longer_than_the_longest() {
    let running = Running::of(&["kubernetes/home"]).await;
    let home = running.live("kubernetes/home").await;
    let mut published = Vec::new();
    for at in 1..=120u16 {
        home.send(put_service(service("kubernetes/home", DB, &[&*format!("{at} http")])));
        pass(MS).await;
        let snapshot = running.snapshot();
        let port = snapshot.service(&key(DB)).map(|service| service.ports[0].number);
        if published.last() != Some(&port) {
            published.push(port);
        }
    }
    // First said at 0 ms as port 1; at 100 ms the newest is port 100.
    assert_eq!(published, [None, Some(100)]);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_endpoint_changes_is_published_no_closer_than_the_spacing() {
    let running = Running::of(&["kubernetes/home"]).await;
    let home = running.live("kubernetes/home").await;
    pass(2 * MS).await;
    // A write without content settles, and holds up nobody.
    home.put(Value::Endpoints(endpoints("kubernetes/home", WEB, &["80 10.0.0.1:80"])));
    settle().await;
    let before = running.snapshot().generation();
    for host in 2..=100 {
        let address = format!("80 10.0.0.{host}:80");
        home.put(Value::Endpoints(endpoints("kubernetes/home", WEB, &[&*address])));
        settle().await;
    }
    assert_eq!(running.snapshot().generation(), before + 1);
    pass(MS).await;
    assert_eq!(running.snapshot().generation(), before + 2);
    assert_eq!(running.addresses(), ["80 10.0.0.100:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_registry_is_stale_and_loses_nothing() {
    let running = Running::of(&["kubernetes/home"]).await;
    let home = running.live("kubernetes/home").await;
    pass(Duration::from_secs(7)).await;
    home.send(mainstem_model::RegistryUpdate::Condition(Condition::Failed("refused".into())));
    settle().await;
    assert_eq!(running.addresses(), ["80 10.0.0.1:80"]);
    let id = "kubernetes/home".into();
    assert_eq!(running.snapshot().registries()[&id].condition.word(), "stale");
    let status = running.published.statuses.get(&id).unwrap();
    let (failed, reason) = status.last_error.unwrap();
    assert_eq!(failed, status.last_update.unwrap() + Duration::from_secs(7));
    assert_eq!((status.since, &*reason), (failed, "refused"));
}

#[tokio::test(start_paused = true)]
async fn registries_and_mesh_settings_change_without_a_restart() {
    let running = Running::of(&["kubernetes/home"]).await;
    running.live("kubernetes/home").await;
    let joining = running.updates.sender("file/a".into());
    joining.put(Value::Endpoints(endpoints("file/a", WEB, &["80 10.0.0.2:80"])));
    running.config.send_modify(|config| {
        config.registries.push(crate::fixtures::registry("file/a *"));
        config.mesh.trust_domain = "other".to_owned();
    });
    pass(20 * MS).await;
    assert_eq!(running.addresses(), ["80 10.0.0.1:80", "80 10.0.0.2:80"]);
    assert_eq!(running.snapshot().mesh().trust_domain, "other");
    running.config.send_modify(|config| config.registries.truncate(1));
    pass(20 * MS).await;
    assert_eq!(running.addresses(), ["80 10.0.0.1:80"]);
    assert_eq!(running.published.statuses.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_has_the_time_when_it_was_first_published() {
    let running = Running::of(&["kubernetes/home", "consul/dc1"]).await;
    running.updates.sender("consul/dc1".into()).replace(vec![], vec![]);
    running.live("kubernetes/home").await;
    pass(20 * MS).await;
    let start = std::time::SystemTime::now();
    let consul = running.updates.sender("consul/dc1".into());
    consul.put(Value::Endpoints(endpoints("consul/dc1", WEB, &["80 10.0.0.2:80"])));
    pass(Duration::from_secs(60)).await;
    let conflicts = running.snapshot().conflicts();
    let since = |conflict| running.published.conflicts.since(conflict);
    let first = since(&conflicts[0]).unwrap();
    // A later change of the same service leaves the time as it is.
    consul.put(Value::Endpoints(endpoints("consul/dc1", WEB, &["80 10.0.0.3:80"])));
    pass(20 * MS).await;
    assert_eq!(since(&conflicts[0]), Some(first));
    assert!(first < start + Duration::from_secs(30));
    consul.remove(mainstem_model::Key::Endpoints(key(WEB)));
    pass(20 * MS).await;
    assert_eq!((running.snapshot().conflicts(), since(&conflicts[0])), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn it_ends_on_shutdown_alone() {
    let running = Running::of(&[]).await;
    let Running { updates, config, shutdown, task, .. } = running;
    drop((updates, config));
    pass(Duration::from_secs(60)).await;
    assert!(!task.is_finished());
    shutdown.cancel();
    task.await.unwrap();
}
