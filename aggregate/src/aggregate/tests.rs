use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{
    Address, ChangeSet, Endpoint, Labels, Namespace, RegistryUpdate, Sourced, Visibility, Workload,
    WorkloadKey,
};
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{
    batch, config, endpoint, endpoints, key, put_endpoints, put_service, rejected, service, set,
    written,
};
use crate::policy::{Fields, Isolation, MergePolicy, Sharing};
use crate::settings::AggregateConfig;

impl Aggregate {
    /// The same inputs merged anew.
    fn merged_anew(&self) -> Arc<Snapshot> {
        let mut anew = Aggregate { held: self.held.clone(), ..Aggregate::default() };
        let dirty = anew.configure(self.config.clone());
        anew.publish(&dirty);
        anew.snapshot
    }

    fn hear(&mut self, registry: &str, updates: impl IntoIterator<Item = RegistryUpdate>) {
        let dirty = self.apply(registry.into(), batch(updates));
        self.publish(&dirty);
    }
}

/// Everything that a snapshot says, written out.
fn content(snapshot: &Snapshot) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(snapshot.services().map(|value| format!("{value:?}")));
    for key in snapshot.services().map(|service| &service.key) {
        all.push(format!("{key} {:?}", snapshot.endpoints(key)));
        all.push(format!("{:?}", snapshot.services_named(key.hostname())));
    }
    all.extend(snapshot.workloads().map(|value| format!("{value:?}")));
    all.extend(snapshot.namespaces().map(|value| format!("{value:?}")));
    all.extend(snapshot.conflicts().iter().map(|value| format!("{value:?}")));
    all.extend(snapshot.registries().iter().map(|value| format!("{value:?}")));
    let address = Address::parse("10.0.0.1");
    all.push(format!("{:?}", snapshot.workload_at(&"".into(), &address)));
    all.sort();
    all
}

fn with_services(names: &[&str]) -> Aggregate {
    let mut aggregate = Aggregate::new(config(&["kubernetes/home", "consul/dc1 *.svc"]));
    for name in names {
        let all = endpoints("kubernetes/home", name, &["80 10.0.0.1:8080"]);
        let service = service("kubernetes/home", name, &["80 http"]);
        aggregate.hear("kubernetes/home", [put_service(service), put_endpoints(all)]);
    }
    aggregate
}

#[test]
fn an_endpoint_of_one_service_touches_that_service_alone() {
    let mut aggregate = with_services(&["shop/web.shop.svc", "shop/db.shop.svc"]);
    let before = aggregate.snapshot().clone();
    let more = endpoints("consul/dc1", "shop/web.shop.svc", &["80 10.0.0.2:8080"]);
    let dirty = aggregate.apply("consul/dc1".into(), batch([put_endpoints(more)]));
    assert_eq!(Vec::from_iter(&dirty.endpoints), [&key("shop/web.shop.svc")]);
    assert!(!dirty.settles());
    let after = aggregate.publish(&dirty).unwrap().snapshot;
    let expected =
        ChangeSet { endpoints: BTreeSet::from([key("shop/web.shop.svc")]), ..ChangeSet::default() };
    assert_eq!(after.changes_since(before.generation()), Some(expected));
    let untouched = key("shop/db.shop.svc");
    let set = |snapshot: &Snapshot| Arc::as_ptr(snapshot.endpoints(&untouched).unwrap());
    assert_eq!(set(&before), set(&after));
}

#[test]
fn a_registry_that_goes_takes_what_it_brought() {
    let mut aggregate = with_services(&["shop/web.shop.svc"]);
    let more = endpoints("consul/dc1", "shop/web.shop.svc", &["80 10.0.0.2:8080"]);
    aggregate.hear("consul/dc1", [put_endpoints(more)]);
    let removed = Batch { removed: true, ..Batch::default() };
    let dirty = aggregate.apply("consul/dc1".into(), removed);
    aggregate.publish(&dirty);
    let set = aggregate.snapshot().endpoints(&key("shop/web.shop.svc")).unwrap();
    assert_eq!(written(set), ["80 10.0.0.1:8080"]);
}

#[test]
fn a_registry_counts_from_when_it_is_configured_until_it_is_not() {
    let name = "shop/web.shop.svc";
    let mut aggregate = with_services(&[name]);
    let more = endpoints("file/a", name, &["80 10.0.0.2:8080"]);
    aggregate.hear("file/a", [put_endpoints(more)]);
    let addresses =
        |aggregate: &Aggregate| written(aggregate.snapshot().endpoints(&key(name)).unwrap());
    assert_eq!(addresses(&aggregate), ["80 10.0.0.1:8080"]);
    assert!(!aggregate.snapshot().registries().contains_key(&RegistryId::from("file/a")));
    for (registries, expected) in [
        (&["kubernetes/home", "file/a *"][..], &["80 10.0.0.1:8080", "80 10.0.0.2:8080"][..]),
        (&["kubernetes/home"], &["80 10.0.0.1:8080"]),
    ] {
        let dirty = aggregate.configure(config(registries));
        aggregate.publish(&dirty);
        assert_eq!(addresses(&aggregate), expected);
        assert_eq!(aggregate.snapshot().registries().len(), registries.len());
    }
}

#[test]
fn a_registrys_state_stands_in_the_snapshot() {
    let mut aggregate = with_services(&["shop/web.shop.svc"]);
    let bad = RegistryUpdate::Reject(rejected("EndpointSlice", "bad"));
    let failed = RegistryUpdate::Condition(Condition::Failed("refused".into()));
    aggregate.hear("kubernetes/home", [bad, failed.clone()]);
    let expected = RegistryState {
        condition: Condition::Failed("refused".into()),
        freshness: Freshness::Stale,
        services: 1,
        endpoints: 1,
        rejected: [rejected("EndpointSlice", "bad")].into(),
        ..RegistryState::default()
    };
    let registries = aggregate.snapshot().registries();
    assert_eq!(registries.get(&RegistryId::from("kubernetes/home")), Some(&expected));
    assert_eq!(registries.get(&RegistryId::from("consul/dc1")), Some(&RegistryState::default()));
    assert_eq!(aggregate.apply("kubernetes/home".into(), batch([failed])), Dirty::default());
}

#[test]
fn merging_again_changes_nothing() {
    let mut aggregate = with_services(&["shop/web.shop.svc", "shop/db.shop.svc"]);
    let generation = aggregate.snapshot().generation();
    let mut dirty = Dirty::default();
    dirty.services.extend(["shop/web.shop.svc", "shop/db.shop.svc"].map(key));
    let again = aggregate.publish(&dirty).unwrap().snapshot;
    assert_eq!(again.changes_since(generation), Some(ChangeSet::default()));
    assert_eq!(aggregate.publish(&Dirty::default()).is_none(), true);
}

#[test]
fn a_name_of_another_registry_is_taken_over_by_nobody() {
    let mut aggregate = Aggregate::new(config(&["kubernetes/home", "file/a"]));
    let (own, foreign) = ("shop/web.shop.svc", "evil/web.shop.svc");
    let put = |registry: &str, name: &str| put_service(service(registry, name, &["80 http"]));
    let visible = |aggregate: &Aggregate, namespace: &str| -> Vec<String> {
        let seen = aggregate.snapshot().services_visible_to(&namespace.into());
        seen.iter().map(|service| service.key.to_string()).collect()
    };
    aggregate.hear("file/a", [put("file/a", foreign)]);
    assert_eq!(visible(&aggregate, "client"), [foreign]);

    aggregate.hear("kubernetes/home", [put("kubernetes/home", own)]);
    assert_eq!(visible(&aggregate, "client"), [own]);
    assert_eq!(visible(&aggregate, "evil"), [foreign, own]);
    let conflicts = aggregate.snapshot().conflicts_of(&key(foreign));
    let expected = mainstem_model::Conflict {
        hostname: "web.shop.svc".into(),
        namespace: "evil".into(),
        kind: mainstem_model::ConflictKind::NamespaceTakeover,
        winner: Some("kubernetes/home".into()),
        loser: "file/a".into(),
        detail: "kubernetes/home defines the name in namespace shop".to_owned(),
    };
    assert_eq!(conflicts, [expected]);
    // Its endpoints alone change: it stays as it is.
    let all = endpoints("file/a", foreign, &["80 10.0.0.1:8080"]);
    aggregate.hear("file/a", [put_endpoints(all)]);
    assert_eq!(visible(&aggregate, "client"), [own]);

    aggregate.hear("kubernetes/home", [RegistryUpdate::Remove(Key::Service(key(own)))]);
    assert_eq!(visible(&aggregate, "client"), [foreign]);
    assert_eq!(aggregate.snapshot().conflicts(), []);
}

#[test]
fn kubernetes_clusters_trust_one_anothers_names() {
    let mut aggregate = Aggregate::new(config(&["kubernetes/home", "kubernetes/far"]));
    for (registry, name) in [("kubernetes/home", "a/x.com"), ("kubernetes/far", "b/x.com")] {
        aggregate.hear(registry, [put_service(service(registry, name, &["80 http"]))]);
    }
    assert_eq!(aggregate.snapshot().services_visible_to(&"client".into()).len(), 2);
    // Which of the two a client elsewhere means is a choice all the same.
    let kinds: Vec<_> = aggregate.snapshot().conflicts().iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [mainstem_model::ConflictKind::ServiceName]);
}

const REGISTRIES: [&str; 4] = ["kubernetes/home", "kubernetes/far", "consul/dc1", "file/a"];
const NAMES: [&str; 5] =
    ["shop/web.shop.svc", "shop/db.shop.svc", "shop/db.consul", "a/web.shop.svc", "b/db.consul"];

/// One thing that a registry says or that happens to it.
#[derive(Clone, Debug)]
enum Event {
    Updates(Vec<RegistryUpdate>),
    Removed,
}

fn origins_of(registry: &str, name: &str) -> mainstem_model::Origins {
    Sourced::only(&registry.into(), "Workload", name, "1")
}

fn a_service(registry: &'static str) -> impl Strategy<Value = Value> {
    let ports = prop::sample::select(vec![&["80 http"][..], &["80 tcp", "90 grpc"], &["90 http"]]);
    (prop::sample::select(&NAMES), ports, prop::bool::ANY).prop_map(move |(name, ports, alias)| {
        let mut service = service(registry, name, ports);
        if alias {
            service.aliases.insert("alias.shop.svc".into());
        }
        Value::Service(Arc::new(service))
    })
}

fn an_endpoint(registry: &'static str) -> impl Strategy<Value = Endpoint> {
    let slice = prop::sample::select(vec!["x", "y"]);
    let place = (prop::sample::select(vec![0, 80, 90]), 1..4u8);
    (slice, place, 1..3u32).prop_map(move |(slice, (port, address), weight)| {
        let place = format!("{port} 10.0.0.{address}:8080");
        Endpoint { weight, ..endpoint(registry, slice, &place) }
    })
}

fn some_endpoints(registry: &'static str) -> impl Strategy<Value = Value> {
    let all = prop::collection::vec(an_endpoint(registry), 0..4);
    (prop::sample::select(&NAMES), all).prop_map(|(name, all)| Value::Endpoints(set(name, all)))
}

fn a_workload(registry: &'static str) -> impl Strategy<Value = Value> {
    ("[ab]", 1..3u8).prop_map(move |(name, address)| {
        let key = WorkloadKey::new("c".into(), "shop".into(), &name);
        let mut workload = Workload::new(key, origins_of(registry, &name));
        workload.addresses = vec![Address::parse(&format!("10.0.0.{address}"))];
        Value::Workload(Arc::new(workload))
    })
}

fn a_namespace(registry: &'static str) -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["shop", "other"]).prop_map(move |name| {
        let labels = Labels::from_iter([("from", registry)]);
        let origins = origins_of(registry, name);
        Value::Namespace(Arc::new(Namespace { name: name.into(), labels, origins }))
    })
}

fn a_value(registry: &'static str) -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => a_service(registry),
        4 => some_endpoints(registry),
        1 => a_workload(registry),
        1 => a_namespace(registry),
    ]
}

fn a_rejected() -> impl Strategy<Value = mainstem_model::Rejected> {
    let objects = [("EndpointSlice", "x"), ("EndpointSlice", "y"), ("Service", NAMES[0])];
    prop::sample::select(objects.to_vec()).prop_map(|(kind, name)| rejected(kind, name))
}

fn an_update(registry: &'static str) -> impl Strategy<Value = RegistryUpdate> {
    let failed = Condition::Failed("refused".into());
    prop_oneof![
        6 => a_value(registry).prop_map(RegistryUpdate::Put),
        2 => a_value(registry).prop_map(|value| RegistryUpdate::Remove(value.key())),
        1 => (prop::collection::vec(a_value(registry), 0..6), prop::collection::vec(a_rejected(), 0..2))
            .prop_map(|(values, rejected)| RegistryUpdate::Replace { values, rejected }),
        1 => a_rejected().prop_map(RegistryUpdate::Reject),
        1 => a_rejected().prop_map(|rejected| RegistryUpdate::Accept(rejected.object)),
        1 => prop::sample::select(vec![Condition::Live, failed]).prop_map(RegistryUpdate::Condition),
    ]
}

fn an_event() -> impl Strategy<Value = (&'static str, Event)> {
    prop::sample::select(&REGISTRIES).prop_flat_map(|registry| {
        let updates = prop::collection::vec(an_update(registry), 1..4);
        prop_oneof![20 => updates.prop_map(Event::Updates), 1 => Just(Event::Removed)]
            .prop_map(move |event| (registry, event))
    })
}

fn events() -> impl Strategy<Value = Vec<(&'static str, Event)>> {
    prop::collection::vec(an_event(), 1..30)
}

fn happen(aggregate: &mut Aggregate, registry: &str, event: &Event) -> Dirty {
    let batch = match event {
        Event::Updates(updates) => batch(updates.iter().cloned()),
        Event::Removed => Batch { removed: true, ..Batch::default() },
    };
    aggregate.apply(registry.into(), batch)
}

fn federated() -> AggregateConfig {
    let registries =
        ["consul/dc1 web.shop.svc", "kubernetes/far", "file/a *.shop.svc", "kubernetes/home"];
    let policy = |name: &str, host: &str, sharing| MergePolicy {
        name: name.to_owned(),
        hosts: vec![host.into()],
        sharing,
        fields: Fields { ports: vec!["kubernetes/far".into()], ..Fields::default() },
    };
    let shares = [("kubernetes/home".into(), 70), ("file/a".into(), 30)].into();
    let policies = vec![
        policy("move", NAMES[0].split('/').nth(1).unwrap(), Sharing::Weighted(shares)),
        policy("prefer", "db.shop.svc", Sharing::Prefer(vec!["file/a".into()])),
        policy("failover", "*.consul", Sharing::Failover([("consul/dc1".into(), 0)].into())),
    ];
    AggregateConfig { policies, ..config(&registries) }
}

fn a_sharing() -> impl Strategy<Value = Sharing> {
    let all = || REGISTRIES.map(RegistryId::from).to_vec();
    let some = prop::sample::subsequence(all(), 1..=REGISTRIES.len());
    let tiers = prop::collection::btree_map(prop::sample::select(all()), 0..3u8, 1..4);
    let shares = (prop::sample::subsequence(all(), 2), 0..=100u8)
        .prop_map(|(two, first)| two.into_iter().zip([first, 100 - first]).collect());
    prop_oneof![
        Just(Sharing::Union),
        some.clone().prop_shuffle().prop_map(Sharing::Prefer),
        tiers.prop_map(Sharing::Failover),
        shares.prop_map(Sharing::Weighted),
        Just(Sharing::Isolate(Isolation::OwnCluster)),
        some.prop_map(|only| Sharing::Isolate(Isolation::Registries(only))),
    ]
}

/// The registries of [`federated`] under any policies.
fn federations() -> impl Strategy<Value = AggregateConfig> {
    let fields = prop::sample::subsequence(REGISTRIES.map(RegistryId::from).to_vec(), 0..3);
    let hosts = prop::sample::subsequence(vec!["*", "*.svc", "web.shop.svc", "*.consul"], 0..4);
    hosts.prop_flat_map(move |hosts| {
        let policies: Vec<_> = hosts
            .into_iter()
            .map(|host| {
                (a_sharing(), fields.clone()).prop_map(move |(sharing, first)| MergePolicy {
                    name: host.to_owned(),
                    hosts: vec![host.into()],
                    sharing,
                    fields: Fields { ports: first.clone(), labels: first, ..Fields::default() },
                })
            })
            .collect();
        policies.prop_map(|policies| AggregateConfig { policies, ..federated() })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn after_any_sequence_the_snapshot_equals_one_merged_from_scratch(
        config in federations(), events in events(), waits in prop::collection::vec(prop::bool::ANY, 30),
    ) {
        let mut aggregate = Aggregate::new(config);
        let mut pending = crate::dirty::Pending::default();
        for ((registry, event), all) in events.iter().zip(waits) {
            pending.add(happen(&mut aggregate, registry, event));
            let dirty = if all { pending.take_all() } else { pending.take_at_once() };
            aggregate.publish(&dirty);
        }
        aggregate.publish(&pending.take_all());
        prop_assert_eq!(content(aggregate.snapshot()), content(&aggregate.merged_anew()));
    }

    #[test]
    fn any_interleaving_of_registries_gives_the_same_snapshot(
        config in federations(), events in events(),
    ) {
        let mut one = Aggregate::new(config.clone());
        for (registry, event) in &events {
            let dirty = happen(&mut one, registry, event);
            one.publish(&dirty);
        }
        // Each registry's events stay in order; the last registry speaks first.
        let mut other = Aggregate::new(config);
        for speaker in REGISTRIES.iter().rev() {
            for (registry, event) in events.iter().filter(|(registry, _)| registry == speaker) {
                let dirty = happen(&mut other, registry, event);
                other.publish(&dirty);
            }
        }
        prop_assert_eq!(content(one.snapshot()), content(other.snapshot()));
    }

    #[test]
    fn a_changed_configuration_equals_having_started_with_it(
        before in prop_oneof![federations(), Just(config(&["file/a *", "consul/dc1 *"]))],
        config in federations(),
        events in events(),
    ) {
        let mut changed = Aggregate::new(before);
        let mut started = Aggregate::new(config.clone());
        for (registry, event) in &events {
            for aggregate in [&mut changed, &mut started] {
                let dirty = happen(aggregate, registry, event);
                aggregate.publish(&dirty);
            }
        }
        let dirty = changed.configure(config);
        changed.publish(&dirty);
        prop_assert_eq!(content(changed.snapshot()), content(started.snapshot()));
    }

    #[test]
    fn what_is_said_again_changes_nothing(config in federations(), events in events()) {
        let mut aggregate = Aggregate::new(config.clone());
        for (registry, event) in &events {
            let dirty = happen(&mut aggregate, registry, event);
            aggregate.publish(&dirty);
        }
        let before = aggregate.snapshot().clone();
        for registry in REGISTRIES {
            let Some(held) = aggregate.held.get(registry) else { continue };
            let (values, rejected) = (held.values.all().collect(), held.state().rejected.to_vec());
            let again = RegistryUpdate::Replace { values, rejected };
            let dirty = aggregate.apply(registry.into(), batch([again]));
            aggregate.publish(&dirty);
        }
        let dirty = aggregate.configure(config);
        aggregate.publish(&dirty);
        let changes = aggregate.snapshot().changes_since(before.generation());
        prop_assert_eq!(changes, Some(ChangeSet::default()));
    }
}

#[test]
fn a_changed_policy_merges_its_own_services_and_no_others() {
    let mut aggregate = with_services(&["shop/web.shop.svc", "shop/db.shop.svc"]);
    let policy = MergePolicy {
        name: "db".to_owned(),
        hosts: vec!["db.shop.svc".into()],
        sharing: Sharing::Isolate(Isolation::OwnCluster),
        fields: Fields::default(),
    };
    let config = AggregateConfig { policies: vec![policy], ..aggregate.config.clone() };
    let dirty = aggregate.configure(config);
    let published = aggregate.publish(&dirty).unwrap();
    assert_eq!(published.merged, [key("shop/db.shop.svc")]);
}

#[test]
fn the_meshs_default_visibility_holds_for_services_that_say_nothing_of_theirs() {
    let mut aggregate = with_services(&["shop/web.shop.svc"]);
    let mut open = service("kubernetes/home", "shop/open.shop.svc", &["80 http"]);
    open.visibility = Visibility::Public;
    aggregate.hear("kubernetes/home", [put_service(open)]);
    let seen = |aggregate: &Aggregate| {
        ["shop/web.shop.svc", "shop/open.shop.svc"]
            .map(|name| aggregate.snapshot().is_visible(&key(name), &"elsewhere".into()))
    };
    assert_eq!(seen(&aggregate), [true, true]);
    let mut restricted = aggregate.config.clone();
    restricted.mesh.default_service_export_to = vec![".".to_owned()];
    let dirty = aggregate.configure(restricted);
    aggregate.publish(&dirty);
    assert_eq!(seen(&aggregate), [false, true]);
    assert!(aggregate.snapshot().is_visible(&key("shop/web.shop.svc"), &"shop".into()));
    assert_eq!(content(aggregate.snapshot()), content(&aggregate.merged_anew()));
}
