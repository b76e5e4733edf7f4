use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{Condition, EndpointSet, Snapshot, TimeSpan, Value};
use mainstem_registry::{UpdateSender, Updates};
use pretty_assertions::assert_eq;
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::fixtures::{config, endpoints, key, put_service, replace, service};
use crate::freshness::{Expiry, ExpiryAction};
use crate::last_good::LastGood;

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
        Self::with(config(registries)).await
    }

    async fn with(config: AggregateConfig) -> Self {
        let (updates, receiver) = mainstem_registry::channel();
        let (config, settings) = watch::channel(config);
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

    fn freshness(&self, id: &str) -> Freshness {
        self.snapshot().registries()[&RegistryId::from(id)].freshness
    }

    fn held(&self) -> Vec<bool> {
        let snapshot = self.snapshot();
        let set = snapshot.endpoints(&key(WEB));
        set.into_iter().flat_map(|set| set.endpoints()).map(|endpoint| endpoint.held).collect()
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
async fn a_snapshot_knows_since_when_the_first_of_its_news_was_said() {
    let running = Running::of(&["kubernetes/home"]).await;
    let sender = running.live("kubernetes/home").await;
    pass(200 * MS).await;
    let service = |port| Value::Service(Arc::new(service("kubernetes/home", WEB, &[port])));
    let said = Instant::now();
    sender.put(service("81 http"));
    pass(5 * MS).await;
    sender.put(service("82 http"));
    pass(100 * MS).await;
    assert_eq!(running.published.snapshots.since(), said.into_std());
    // What is said later has its own time.
    let said = Instant::now();
    sender.put(service("83 http"));
    pass(100 * MS).await;
    assert_eq!(running.published.snapshots.since(), said.into_std());
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
    assert_eq!(running.snapshot().registries()[&id].freshness, Freshness::Stale);
    let status = running.published.statuses.get(&id).unwrap();
    let (failed, reason) = status.last_error.unwrap();
    assert_eq!(failed, status.last_update.unwrap() + Duration::from_secs(7));
    assert_eq!((status.since, &*reason), (failed, "refused"));
}

fn failed() -> mainstem_model::RegistryUpdate {
    mainstem_model::RegistryUpdate::Condition(Condition::Failed("refused".into()))
}

/// `kubernetes/home` defines the service; `consul/dc1` joins it and expires after
/// a minute.
fn expiring(action: ExpiryAction) -> AggregateConfig {
    let mut config = config(&["kubernetes/home", "consul/dc1 *"]);
    config.registries[1].expiry = Expiry { after: TimeSpan::from_secs(60), action };
    config
}

#[rstest::rstest]
#[case(ExpiryAction::Keep, &["80 10.0.0.1:80", "80 10.0.0.2:80"], &[false, false])]
#[case(ExpiryAction::Degrade, &["80 10.0.0.1:80", "80 10.0.0.2:80"], &[false, true])]
#[case(ExpiryAction::Remove, &["80 10.0.0.1:80"], &[false])]
#[tokio::test(start_paused = true)]
async fn a_registry_that_stays_silent_expires_as_it_is_configured_and_comes_back(
    #[case] action: ExpiryAction,
    #[case] addresses: &[&str],
    #[case] held: &[bool],
) {
    let running = Running::with(expiring(action)).await;
    running.live("kubernetes/home").await;
    let consul = running.updates.sender("consul/dc1".into());
    let second = endpoints("consul/dc1", WEB, &["80 10.0.0.2:80"]);
    consul.replace(vec![Value::Endpoints(second)], vec![]);
    settle().await;
    consul.send(failed());
    pass(Duration::from_secs(59)).await;
    assert_eq!(
        (running.freshness("consul/dc1"), running.held()),
        (Freshness::Stale, vec![false; 2])
    );

    pass(Duration::from_secs(2)).await;
    assert_eq!(running.freshness("consul/dc1"), Freshness::Expired);
    assert_eq!(
        (running.addresses(), running.held()),
        (addresses.to_vec().iter().map(ToString::to_string).collect(), held.to_vec())
    );
    let status = running.published.statuses.get(&"consul/dc1".into()).unwrap();
    let lag = status.lag(status.since).unwrap();
    assert!((60..=61).contains(&lag.as_secs()), "{lag:?}");

    consul.live();
    pass(20 * MS).await;
    assert_eq!(
        (running.freshness("consul/dc1"), running.held()),
        (Freshness::Live, vec![false; 2])
    );
}

/// Time runs while files are read and written.
#[tokio::test]
async fn a_registry_that_is_down_at_the_start_is_served_as_it_was_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&["kubernetes/home", "consul/dc1"]);
    config.state.directory = Some(directory.path().to_owned());
    config.state.interval = Duration::ZERO;
    let mut first = Running::with(config.clone()).await;
    first.live("kubernetes/home").await;
    first.updates.sender("consul/dc1".into()).replace(vec![], vec![]);
    assert!(first.published.readiness.ready().await);
    let id = RegistryId::from("kubernetes/home");
    first.shutdown.cancel();
    first.task.await.unwrap();
    assert!(LastGood::new(directory.path()).read(&id).unwrap().is_some());

    let mut second = Running::with(config).await;
    second.updates.sender(id.clone()).send(failed());
    second.updates.sender("consul/dc1".into()).replace(vec![], vec![]);
    assert!(second.published.readiness.ready().await);
    assert_eq!(second.addresses(), ["80 10.0.0.1:80"]);
    let state = second.snapshot().registries()[&id].clone();
    assert_eq!((state.freshness, state.restored, state.synced), (Freshness::Stale, true, false));
    assert!(second.published.statuses.get(&id).unwrap().live_until.is_some());

    // Its own word replaces what stood on disk, and its absence from the
    // configuration takes the file along.
    second.updates.sender(id.clone()).replace(vec![], vec![]);
    let snapshot = second.published.snapshots.wait_for(|s| s.service_count() == 0).await.unwrap();
    assert!(!snapshot.registries()[&id].restored);
    second.config.send_modify(|config| drop(config.registries.remove(0)));
    second.updates.remove(&id);
    let gone = |s: &Snapshot| !s.registries().contains_key(&id);
    second.published.snapshots.wait_for(gone).await.unwrap();
    second.shutdown.cancel();
    second.task.await.unwrap();
    assert!(LastGood::new(directory.path()).read(&id).unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_last_good_state_is_refused_named_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&["kubernetes/home"]);
    config.state.directory = Some(directory.path().to_owned());
    config.state.interval = Duration::ZERO;
    let id = RegistryId::from("kubernetes/home");
    let files = LastGood::new(directory.path());
    std::fs::create_dir_all(files.path(&id).parent().unwrap()).unwrap();
    std::fs::write(files.path(&id), "torn").unwrap();

    let mut running = Running::with(config).await;
    running.live("kubernetes/home").await;
    assert!(running.published.readiness.ready().await);
    assert_eq!(running.addresses(), ["80 10.0.0.1:80"]);
    running.shutdown.cancel();
    running.task.await.unwrap();
    assert!(files.read(&id).unwrap().is_some());
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
