use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_model::Endpoint;
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::store::StoreError;
use super::*;
use crate::fixtures::{endpoint, key, service, set};

const SERVICES: [&str; 3] = ["shop/a.shop", "shop/b.shop", "other/a.shop"];
const REGISTRIES: [&str; 2] = ["consul/dc1", "file/a"];

fn hold(name: &str, since: u64, until: u64, hosts: &[u8]) -> Arc<Hold> {
    let each = hosts.iter().map(|host| {
        let endpoint = endpoint("consul/dc1", name, &format!("80 10.0.0.{host}:80"));
        Endpoint { held: true, ..endpoint }
    });
    Arc::new(Hold {
        since: Moment(since),
        until: Moment(until),
        cause: Cause::Service,
        definition: Some(Arc::new(service("consul/dc1", name, &["80 http"]))),
        endpoints: set(name, each.collect()),
    })
}

fn hold_key(name: &str) -> HoldKey {
    HoldKey { registry: "consul/dc1".into(), service: key(name) }
}

/// The state written out; endpoints by their content.
fn text(state: &ControlState) -> Vec<String> {
    let names = state.holds.keys().map(|key| format!("hold/{}/{}", key.registry, key.service));
    let names: BTreeSet<EntryName> = names.map(|name| EntryName::new(&name)).collect();
    let holds = state.texts(names).into_values().flatten();
    let rest = [
        format!("{:?}", state.releases),
        format!("{:?}", state.freezes),
        format!("{:?}", state.tracks),
        format!("{:?}", state.drains),
        format!(
            "{:?}",
            state.frozen.iter().map(|(key, f)| (key, f.since, f.values())).collect::<Vec<_>>()
        ),
    ];
    holds.chain(rest).collect()
}

fn a_scope() -> impl Strategy<Value = Scope> {
    let service = prop::option::of(prop::sample::select(SERVICES.to_vec()));
    (prop::sample::select(REGISTRIES.to_vec()), service).prop_map(|(registry, service)| Scope {
        registry: registry.into(),
        service: service.map(key),
    })
}

fn a_change() -> impl Strategy<Value = Change> {
    let times = || (0..50u64, 50..99u64);
    let name = || prop::sample::select(SERVICES.to_vec());
    let hosts = || prop::collection::vec(1..6u8, 1..4);
    let registry = || prop::sample::select(REGISTRIES.to_vec());
    prop_oneof![
        4 => (registry(), name(), times(), hosts()).prop_map(|(registry, name, (since, until), hosts)| {
            let key = HoldKey { registry: registry.into(), service: key(name) };
            Change::Hold(key, hold(name, since, until, &hosts))
        }),
        1 => (name(), hosts()).prop_map(|(name, hosts)| {
            let ids = hold(name, 0, 1, &hosts).endpoints.endpoints().iter().map(|e| EndpointId::of(e)).collect();
            Change::Return(hold_key(name), ids)
        }),
        2 => (a_scope(), times()).prop_map(|(scope, (at, until))| {
            Change::Release(scope, Release { at: Moment(at), until: Moment(until), reason: "r".to_owned() })
        }),
        1 => (a_scope(), prop::option::of(times())).prop_map(|(scope, times)| {
            let freeze = |(since, until)| Freeze { since: Moment(since), until: Moment(until), reason: String::new() };
            Change::Freeze(scope, times.map(freeze))
        }),
        2 => (registry(), name(), 0..60u64, hosts()).prop_map(|(registry, name, since, hosts)| {
            let key = HoldKey { registry: registry.into(), service: key(name) };
            let Hold { definition, endpoints, .. } = (*hold(name, 0, 1, &hosts)).clone();
            Change::Keep(key, Arc::new(Frozen { since: Moment(since), definition, endpoints }))
        }),
        1 => (prop::sample::select(vec!["all", "namespace=shop,type=sidecar"]), prop::option::of(times())).prop_map(|(group, times)| {
            let track = |(since, until)| Track { since: Moment(since), until: Moment(until), reason: String::new() };
            Change::Track(group.parse().unwrap(), times.map(track))
        }),
        1 => (registry(), prop::option::of((times(), 0..=100u8))).prop_map(|(registry, drain)| {
            let drain = drain.map(|((since, until), to)| {
                Drain { since: Moment(since), until: Moment(until), from: 100, to, reason: String::new() }
            });
            Change::Drain(registry.into(), drain)
        }),
        1 => (0..99u64).prop_map(|now| Change::Expire(Moment(now))),
    ]
}

fn a_state() -> impl Strategy<Value = ControlState> {
    prop::collection::vec(a_change(), 0..12).prop_map(|changes| {
        let mut state = ControlState::default();
        changes.iter().for_each(|change| drop(state.apply(change)));
        state
    })
}

proptest! {
    #[test]
    fn merging_is_the_same_in_any_order_and_twice_changes_nothing(
        a in a_state(), b in a_state(), c in a_state(),
    ) {
        prop_assert_eq!(text(&a.merge(&b)), text(&b.merge(&a)));
        prop_assert_eq!(text(&a.merge(&b).merge(&c)), text(&a.merge(&b.merge(&c))));
        prop_assert_eq!(text(&a.merge(&a)), text(&a));
    }

    #[test]
    fn entries_say_the_whole_state_and_changes_name_those_that_they_touch(
        changes in prop::collection::vec(a_change(), 0..20),
    ) {
        let mut entries = std::collections::BTreeMap::new();
        let mut state = ControlState::default();
        for change in &changes {
            let touched = state.apply(change);
            for (name, text) in state.texts(touched) {
                match text {
                    Some(text) => drop(entries.insert(name, text)),
                    None => drop(entries.remove(&name)),
                }
            }
        }
        let (read, invalid) = ControlState::from_entries(entries.iter().map(|(name, text)| (name, text.as_str())));
        prop_assert!(invalid.is_empty(), "{:?}", invalid);
        prop_assert_eq!(text(&read), text(&state));
    }
}

#[test]
fn a_group_of_proxies_is_what_they_have_in_common() {
    let proxy = |id: &str| {
        let cluster = "eu".into();
        let metadata = serde_json::json!({ "CLUSTER_ID": "eu" });
        mainstem_model::Proxy::parse(id, metadata, Default::default(), &cluster).unwrap()
    };
    let web = proxy("sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local");
    let edge = proxy("router~10.0.0.2~edge-1.shop~shop.svc.cluster.local");
    for (text, contains) in [
        ("all", [true, true]),
        ("namespace=shop", [true, true]),
        ("type=sidecar", [true, false]),
        ("name=edge-*", [false, true]),
        ("name=web", [false, false]),
        ("namespace=shop, name=web-1, cluster=eu", [true, false]),
        ("cluster=us", [false, false]),
    ] {
        let group: ProxyGroup = text.parse().unwrap();
        assert_eq!([group.contains(&web), group.contains(&edge)], contains, "{text}");
        assert_eq!(group.to_string().parse(), Ok(group));
    }
    for text in ["", "shop", "colour=red", "name=", "name=a,name=b", "name=a/b"] {
        let refused = text.parse::<ProxyGroup>().unwrap_err().to_string();
        assert!(refused.contains("write `all`"), "{refused}");
    }
}

#[test]
fn an_entry_that_cannot_be_understood_has_no_effect_and_is_named() {
    let name = EntryName::new("release/consul/dc1");
    let foreign = EntryName::new("hold/consul/dc1/shop/a.shop");
    let entries = [
        (
            &name,
            r#"{"kind":"release","scope":{"registry":"consul/dc2"},"release":{"at":1,"until":2,"reason":""}}"#,
        ),
        (&foreign, r#"{"kind":"hold","since":"yesterday"}"#),
    ];
    let (_, invalid) = ControlState::from_entries(entries);
    let said: Vec<String> = invalid.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2);
    assert!(said[0].contains("its content belongs to release/consul/dc2"), "{}", said[0]);
    assert!(said[1].starts_with("control state entry hold/consul/dc1/shop/a.shop has no effect"));
}

fn release(name: &str, until: u64) -> Write {
    let scope = Scope { registry: name.into(), service: None };
    let mut state = ControlState::default();
    let release = Release { at: Moment(1), until: Moment(until), reason: String::new() };
    let touched = state.apply(&Change::Release(scope, release));
    let (name, text) = state.texts(touched).pop_first().unwrap();
    Write { name, text, expected: None }
}

#[tokio::test]
async fn a_file_compares_and_swaps_and_belongs_to_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    assert_eq!(store.load().await.unwrap(), Stored::default());
    let write = release("consul/dc1", 5);
    store.write(vec![write.clone()]).await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.entries[&write.name].text.as_ref(), write.text.as_deref().unwrap());
    let mode = std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let conflict = store.write(vec![write.clone()]).await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict(_)), "{conflict}");
    let expected = Some(stored.entries[&write.name].revision.clone());
    store.write(vec![Write { text: None, expected, ..write }]).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Stored::default());
}

#[tokio::test]
async fn a_file_that_is_no_control_state_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    for (content, reason) in [
        ("torn", "cannot be read"),
        (r#"{"mainstem":"control state","version":1,"entries":{"#, "cannot be read"),
        (r#"{"mainstem":"control state","version":2,"entries":{}}"#, "of version 2"),
    ] {
        std::fs::write(store.path(), content).unwrap();
        let refused = store.load().await.unwrap_err().to_string();
        assert!(refused.contains(reason) && refused.contains("is not used"), "{refused}");
        assert!(store.write(vec![release("consul/dc1", 5)]).await.is_err());
        assert_eq!(std::fs::read_to_string(store.path()).unwrap(), content);
    }
}

/// A replica's control state.
fn replica(directory: &std::path::Path, shutdown: &CancellationToken) -> Control {
    let (control, keeper) = channel();
    let store = Arc::new(FileStore::new(directory));
    tokio::spawn(keeper.run(Some(store), shutdown.clone()));
    control
}

async fn until(control: &Control, fits: impl Fn(&ControlState) -> bool) -> Arc<ControlState> {
    let mut shared = control.shared().clone();
    let found = shared.wait_for(|shared| shared.ready && fits(&shared.state)).await.unwrap();
    found.state.clone()
}

fn later(seconds: u64) -> Moment {
    Moment::from(SystemTime::now() + Duration::from_secs(seconds))
}

#[tokio::test]
async fn what_is_said_to_one_replica_holds_on_both_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let (one, other) = (replica(directory.path(), &shutdown), replica(directory.path(), &shutdown));
    let (since, until_) = (later(0).0, later(600).0);
    // Both saw the loss, each a little different.
    one.propose(Change::Hold(hold_key(SERVICES[0]), hold(SERVICES[0], since, until_, &[1, 2])));
    other.propose(Change::Hold(
        hold_key(SERVICES[0]),
        hold(SERVICES[0], since + 5, until_ + 5, &[2, 3]),
    ));
    let three = |state: &ControlState| {
        state.holds.get(&hold_key(SERVICES[0])).is_some_and(|hold| hold.endpoints.len() == 3)
    };
    let (a, b) = (until(&one, three).await, until(&other, three).await);
    assert_eq!(text(&a), text(&b));

    let third = replica(directory.path(), &shutdown);
    assert_eq!(text(&*until(&third, three).await), text(&a));

    let scope = Scope { registry: "consul/dc1".into(), service: None };
    let release = Release { at: later(0), until: later(60), reason: "on purpose".to_owned() };
    other.change(Change::Release(scope, release)).await;
    for control in [&one, &other, &third] {
        let state = until(control, |state| state.holds.is_empty()).await;
        assert_eq!(state.releases.len(), 1);
    }
    // A proposal that comes late stays let go.
    one.change(Change::Hold(hold_key(SERVICES[0]), hold(SERVICES[0], since, until_, &[1]))).await;
    assert_eq!(one.shared().borrow().state.holds.len(), 0);
    shutdown.cancel();
}

#[tokio::test]
async fn a_store_that_cannot_be_used_delays_nothing_and_gets_the_changes_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    std::fs::write(store.path(), "foreign").unwrap();
    let shutdown = CancellationToken::new();
    let control = replica(directory.path(), &shutdown);
    control
        .change(Change::Hold(hold_key(SERVICES[0]), hold(SERVICES[0], 1, later(600).0, &[1])))
        .await;
    assert_eq!(control.shared().borrow().state.holds.len(), 1);
    assert_eq!(std::fs::read_to_string(store.path()).unwrap(), "foreign");
    std::fs::remove_file(store.path()).unwrap();
    let other = replica(directory.path(), &shutdown);
    until(&other, |state| state.holds.len() == 1).await;
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_by_itself() {
    let (control, keeper) = channel();
    let shutdown = CancellationToken::new();
    tokio::spawn(keeper.run(None, shutdown.clone()));
    control
        .change(Change::Hold(hold_key(SERVICES[0]), hold(SERVICES[0], 1, later(600).0, &[1])))
        .await;
    assert_eq!(control.shared().borrow().state.holds.len(), 1);
    let started = tokio::time::Instant::now();
    until(&control, |state| state.holds.is_empty()).await;
    assert!((599..=601).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    shutdown.cancel();
}

/// A store for entries of a few hundred bytes, which can fall silent.
struct Small {
    file: FileStore,
    silent: tokio::sync::watch::Receiver<bool>,
}

impl ControlStore for Small {
    fn place(&self) -> Arc<str> {
        self.file.place()
    }

    fn most(&self) -> usize {
        200
    }

    fn load(&self) -> Answer<'_, Stored> {
        Box::pin(async {
            let _ = self.silent.clone().wait_for(|silent| !silent).await;
            self.file.load().await
        })
    }

    fn changed<'a>(&'a self, _: &'a Stored) -> Answer<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn write(&self, writes: Vec<Write>) -> Answer<'_, ()> {
        self.file.write(writes)
    }
}

fn small(
    directory: &std::path::Path,
    shutdown: &CancellationToken,
) -> (Control, tokio::sync::watch::Sender<bool>) {
    let (control, keeper) = channel();
    let (silence, silent) = tokio::sync::watch::channel(false);
    let store = Small { file: FileStore::new(directory), silent };
    tokio::spawn(keeper.run(Some(Arc::new(store)), shutdown.clone()));
    (control, silence)
}

#[tokio::test]
async fn an_entry_too_large_for_the_store_holds_here_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let (control, _silence) = small(directory.path(), &shutdown);
    let scope = Scope { registry: "file/a".into(), service: None };
    let freeze = Freeze { since: later(0), until: later(600), reason: String::new() };
    control.propose(Change::Freeze(scope, Some(freeze)));
    control.propose(Change::Hold(
        hold_key(SERVICES[0]),
        hold(SERVICES[0], 1, later(600).0, &[1, 2, 3]),
    ));
    let mut shared = control.shared().clone();
    let settled = |shared: &Shared| shared.store.local == 1 && shared.store.waiting == 0;
    let found = shared.wait_for(settled).await.unwrap().clone();
    assert_eq!((found.state.holds.len(), found.state.freezes.len()), (1, 1));
    let stored = FileStore::new(directory.path()).load().await.unwrap();
    let names: Vec<_> = stored.entries.keys().map(EntryName::as_str).collect();
    assert_eq!(names, ["freeze/file/a"]);
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_falls_silent_while_it_is_watched_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let (control, silence) = small(directory.path(), &shutdown);
    let mut shared = control.shared().clone();
    drop(shared.wait_for(|shared| shared.ready).await.unwrap());
    let started = tokio::time::Instant::now();
    silence.send_replace(true);
    let found = shared.wait_for(|shared| shared.store.error.is_some()).await.unwrap().clone();
    let (_, why) = found.store.error.unwrap();
    assert!(why.contains("it does not answer"), "{why}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    silence.send_replace(false);
    drop(shared.wait_for(|shared| shared.store.error.is_none()).await.unwrap());
    shutdown.cancel();
}
