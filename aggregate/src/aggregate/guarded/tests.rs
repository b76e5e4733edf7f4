use std::time::{Duration, UNIX_EPOCH};

use mainstem_model::{Condition, Health, Hostname, RegistryUpdate, Rejected};
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;
use crate::control::{Release, Scope};
use crate::fixtures::{
    batch, config, endpoint, endpoints, key, put_endpoints, remove_endpoints, replace, service, set,
};

const WEB: &str = "shop/web.consul";
const DB: &str = "shop/db.consul";
const CONSUL: &str = "consul/dc1";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

impl Aggregate {
    /// Hears, decides and publishes.
    fn guarded(
        &mut self,
        seconds: u64,
        registry: &str,
        updates: impl IntoIterator<Item = RegistryUpdate>,
    ) {
        let heard = self.receive(registry.into(), batch(updates), at(seconds));
        self.publish(&heard.dirty);
        let dirty = self.decide(&heard.decisions);
        self.publish(&dirty);
    }

    fn decided(&mut self, change: Change) {
        let dirty = self.decide(&[change]);
        self.publish(&dirty);
    }

    fn consul(&self) -> &mainstem_model::RegistryState {
        &self.snapshot().registries()[&RegistryId::from(CONSUL)]
    }

    /// `10.0.0.1 10.0.0.2*` of a service: addresses, those held with a star.
    fn shows(&self, name: &str) -> String {
        let set = self.snapshot().endpoints(&key(name));
        let all = set.map_or(&[][..], |set| set.endpoints()).iter();
        let each = all.map(|e| format!("{}{}", e.address, if e.held { "*" } else { "" }));
        each.collect::<Vec<_>>().join(" ")
    }
}

fn value(name: &str, all: &[&str]) -> Vec<Value> {
    let of = |address: &&str| format!("80 {address}:80");
    let all: Vec<String> = all.iter().map(of).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    vec![
        Value::Service(Arc::new(service(CONSUL, name, &["80 http"]))),
        Value::Endpoints(endpoints(CONSUL, name, &all)),
    ]
}

/// consul/dc1 with four endpoints of web and one of db, and a file registry that may join.
fn world() -> Aggregate {
    let mut aggregate = Aggregate::new(config(&[CONSUL, "file/a *"]));
    let mut values = value(WEB, &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    values.extend(value(DB, &["10.0.0.9"]));
    aggregate.guarded(0, CONSUL, replace(values, vec![]));
    aggregate.guarded(0, "file/a", replace(vec![], vec![]));
    aggregate
}

fn web(addresses: &[&str]) -> RegistryUpdate {
    RegistryUpdate::Put(value(WEB, addresses).remove(1))
}

#[test]
fn half_of_a_service_withdrawn_at_once_is_held_in_the_last_tier() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, [web(&["10.0.0.3", "10.0.0.4"])]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3 10.0.0.4");
    assert_eq!(aggregate.consul().held, 2);
    assert_eq!(aggregate.consul().endpoints, 3);
}

#[test]
fn mass_critical_is_a_loss_and_what_is_held_counts_as_healthy() {
    let mut aggregate = world();
    let critical = |host: u8| Endpoint {
        health: Health::Unhealthy,
        ..endpoint(CONSUL, WEB, &format!("80 10.0.0.{host}:80"))
    };
    let all = set(WEB, (1..=4).map(critical).collect());
    aggregate.guarded(1, CONSUL, [put_endpoints(all)]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3* 10.0.0.4*");
    let set = aggregate.snapshot().endpoints(&key(WEB)).unwrap();
    assert!(set.endpoints().iter().all(|e| e.health == Health::Healthy));
}

#[test]
fn a_registry_that_comes_back_empty_keeps_services_and_endpoints() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, replace(vec![], vec![]));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3* 10.0.0.4*");
    assert_eq!(aggregate.shows(DB), "10.0.0.9*");
    assert!(aggregate.snapshot().service(&key(DB)).is_some());
    // And gives them back as they return.
    aggregate.guarded(2, CONSUL, replace(value(WEB, &["10.0.0.1", "10.0.0.2"]), vec![]));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1 10.0.0.2 10.0.0.3* 10.0.0.4*");
    aggregate.guarded(3, CONSUL, [web(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])]);
    assert_eq!(
        aggregate.control_state().holds.keys().map(|k| k.service.clone()).collect::<Vec<_>>(),
        [key(DB)]
    );
}

#[test]
fn scaling_to_zero_on_purpose_works_once_the_hold_time_has_passed() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, [web(&[])]);
    let end = aggregate.control_state().next_end().unwrap();
    assert_eq!(end.time(), at(601));
    aggregate.decided(Change::Expire(Moment::from(at(600))));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3* 10.0.0.4*");
    aggregate.decided(Change::Expire(end));
    assert_eq!(aggregate.shows(WEB), "");
    assert_eq!(aggregate.consul().held, 0);
}

#[test]
fn a_release_ends_holds_and_keeps_the_guard_off_until_its_own_end() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, [web(&["10.0.0.4"])]);
    let scope = Scope { registry: CONSUL.into(), service: Some(key(WEB)) };
    let release = Release { at: at(2).into(), until: at(60).into(), reason: String::new() };
    aggregate.decided(Change::Release(scope, release));
    assert_eq!(aggregate.shows(WEB), "10.0.0.4");
    aggregate.guarded(3, CONSUL, [web(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])]);
    aggregate.guarded(4, CONSUL, [web(&[])]);
    assert_eq!(aggregate.shows(WEB), "");
    aggregate.decided(Change::Expire(Moment::from(at(60))));
    aggregate.guarded(61, CONSUL, [web(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])]);
    aggregate.guarded(100, CONSUL, [web(&[])]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3*");
}

#[test]
fn a_hold_ends_at_once_where_the_address_appears_live_elsewhere() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, [web(&[])]);
    let moved = endpoints("file/a", "shop/other.svc", &["80 10.0.0.1:80"]);
    aggregate.guarded(2, "file/a", [put_endpoints(moved)]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.2* 10.0.0.3* 10.0.0.4*");
    // Another port at the address is another process.
    let beside = endpoints("file/a", "shop/other.svc", &["80 10.0.0.1:80", "80 10.0.0.2:9090"]);
    aggregate.guarded(3, "file/a", [put_endpoints(beside)]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.2* 10.0.0.3* 10.0.0.4*");
}

#[test]
fn what_another_registry_has_in_the_service_is_not_held() {
    let mut aggregate = world();
    aggregate.guarded(1, "file/a", [put_endpoints(endpoints("file/a", WEB, &["80 10.0.0.1:80"]))]);
    aggregate.guarded(2, CONSUL, [web(&[])]);
    assert_eq!(aggregate.shows(WEB), "10.0.0.1 10.0.0.2* 10.0.0.3* 10.0.0.4*");
}

#[test]
fn a_hold_outlives_a_restart_and_a_complete_list_that_lacks_it() {
    let mut before = world();
    before.guarded(1, CONSUL, replace(vec![], vec![]));
    let mut after = Aggregate::new(before.config().clone());
    let dirty = after.control(before.control_state().clone());
    after.publish(&dirty);
    assert_eq!(after.shows(DB), "10.0.0.9*");
    after.guarded(9, CONSUL, replace(value(DB, &["10.0.0.9"]), vec![]));
    assert_eq!(after.shows(DB), "10.0.0.9");
    assert_eq!(after.shows(WEB), before.shows(WEB));
}

#[test]
fn a_restart_between_before_and_after_is_judged_by_the_last_good_state() {
    let mut aggregate = Aggregate::new(config(&[CONSUL]));
    let dirty =
        aggregate.restore(&CONSUL.into(), value(WEB, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    aggregate.publish(&dirty);
    aggregate.guarded(1, CONSUL, replace(vec![], vec![]));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1* 10.0.0.2* 10.0.0.3*");
}

#[test]
fn a_watched_deletion_in_kubernetes_is_no_concern_of_the_guard() {
    let mut aggregate = Aggregate::new(config(&["kubernetes/home"]));
    let home = |all: &[&str]| {
        let of = |name: &str| {
            [
                Value::Service(Arc::new(service("kubernetes/home", name, &["80 http"]))),
                Value::Endpoints(endpoints("kubernetes/home", name, all)),
            ]
        };
        let mut values = of(WEB).to_vec();
        values.extend(value(DB, &["10.0.0.9"]));
        values
    };
    let all = ["80 10.0.0.1:80", "80 10.0.0.2:80", "80 10.0.0.3:80"];
    aggregate.guarded(0, "kubernetes/home", replace(home(&all), vec![]));
    aggregate.guarded(1, "kubernetes/home", [remove_endpoints(WEB)]);
    assert_eq!(aggregate.shows(WEB), "");
    aggregate.guarded(100, "kubernetes/home", replace(home(&all), vec![]));
    aggregate.guarded(200, "kubernetes/home", replace(home(&all[..1]), vec![]));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1 10.0.0.2* 10.0.0.3*");
}

#[derive(Clone, Debug)]
enum Step {
    Says(&'static str, RegistryUpdate),
    Releases(&'static str, Option<&'static str>, u64),
    Waits(u64),
    Expires(bool),
}

fn a_set(registry: &'static str) -> impl Strategy<Value = Arc<EndpointSet>> {
    let health = prop::sample::select(vec![
        Health::Healthy,
        Health::Healthy,
        Health::Unhealthy,
        Health::Draining,
    ]);
    let hosts = prop::collection::btree_map(1..8u8, health, 0..8);
    (prop::sample::select(vec![WEB, DB]), hosts).prop_map(move |(name, hosts)| {
        let each = hosts.into_iter().map(|(host, health)| Endpoint {
            health,
            ..endpoint(registry, name, &format!("80 10.0.0.{host}:80"))
        });
        set(name, each.collect())
    })
}

fn a_step() -> impl Strategy<Value = Step> {
    let registry = prop::sample::select(vec![CONSUL, "file/a"]);
    let says = registry.clone().prop_flat_map(|registry| {
        let definitions = || {
            [WEB, DB].map(|name| Value::Service(Arc::new(service(registry, name, &["80 http"]))))
        };
        let update = prop_oneof![
            6 => a_set(registry).prop_map(put_endpoints),
            1 => Just(RegistryUpdate::Remove(Key::Service(key(WEB)))),
            2 => a_set(registry).prop_map(move |set| {
                let mut values = definitions().to_vec();
                values.push(Value::Endpoints(set));
                RegistryUpdate::Replace { values, rejected: Vec::<Rejected>::new() }
            }),
            1 => Just(RegistryUpdate::Replace { values: vec![], rejected: vec![] }),
            1 => Just(RegistryUpdate::Condition(Condition::Failed("refused".into()))),
        ];
        update.prop_map(move |update| Step::Says(registry, update))
    });
    let name = prop::option::of(prop::sample::select(vec![WEB, DB]));
    prop_oneof![
        8 => says,
        2 => (registry, name, 1..100u64).prop_map(|(registry, name, time)| Step::Releases(registry, name, time)),
        2 => (0..40u64).prop_map(Step::Waits),
        1 => any::<bool>().prop_map(Step::Expires),
    ]
}

/// Everything that a snapshot says of services.
fn content(snapshot: &mainstem_model::Snapshot) -> Vec<String> {
    let names: [Hostname; 2] = ["web.consul".into(), "db.consul".into()];
    let keys = names.iter().flat_map(|name| snapshot.services_named(name));
    let each = keys.map(|service| format!("{service:?} {:?}", snapshot.endpoints(&service.key)));
    let registries = snapshot.registries().iter().map(|value| format!("{value:?}"));
    each.chain(registries).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happened: the snapshot is a function of what registries hold, the
    /// control state and the configuration; what serves is not held; and what was
    /// released is not held either.
    #[test]
    fn the_guard_holds_nothing_that_serves_or_was_released(steps in prop::collection::vec(a_step(), 1..40)) {
        let mut aggregate = Aggregate::new(config(&["consul/dc1 *", "file/a *"]));
        let mut now = 0;
        for step in steps {
            match step {
                Step::Says(registry, update) => aggregate.guarded(now, registry, [update]),
                Step::Waits(seconds) => now += seconds,
                Step::Expires(expired) => {
                    let expired = expired.then(|| CONSUL.into()).into_iter().collect();
                    let dirty = aggregate.expire(expired);
                    aggregate.publish(&dirty);
                }
                Step::Releases(registry, name, time) => {
                    let scope = Scope { registry: registry.into(), service: name.map(key) };
                    let (since, until) = (at(now).into(), at(now + time).into());
                    aggregate.decided(Change::Release(scope, Release { at: since, until, reason: String::new() }));
                }
            }
            aggregate.decided(Change::Expire(at(now).into()));
            let state = aggregate.control_state();
            for (key, hold) in &state.holds {
                prop_assert!(!state.releases.keys().any(|scope| scope.covers(key)));
                let said = aggregate.held[&key.registry].values.said(&key.service);
                let said = said.and_then(|said| said.endpoints.as_ref());
                let serving = hold.endpoints.endpoints().iter().filter(|e| said.is_some_and(|set| serving_in(set, e)));
                prop_assert_eq!(serving.count(), 0);
            }
            let mut anew = Aggregate {
                held: aggregate.held.clone(),
                expired: aggregate.expired.clone(),
                ..Aggregate::default()
            };
            anew.control(state.clone());
            let dirty = anew.configure(aggregate.config.clone());
            anew.publish(&dirty);
            prop_assert_eq!(content(anew.snapshot()), content(aggregate.snapshot()));
        }
    }
}

#[test]
fn what_nobody_needs_any_more_is_no_loss() {
    let unloaded = |name| RegistryUpdate::Put(Value::Unloaded(key(name)));
    let gone = |value: fn(ServiceKey) -> Key, name| RegistryUpdate::Remove(value(key(name)));
    let mut aggregate = world();
    let parts = [gone(Key::Service, WEB), gone(Key::Endpoints, WEB), unloaded(WEB)];
    aggregate.guarded(1, CONSUL, parts);
    assert_eq!((aggregate.shows(WEB), aggregate.consul().held), (String::new(), 0));
    assert_eq!((aggregate.consul().services, aggregate.consul().unloaded), (1, 1));
    assert!(aggregate.snapshot().unloaded().contains(&key(WEB)));

    let loaded = value(WEB, &["10.0.0.1"]).into_iter().map(RegistryUpdate::Put);
    aggregate.guarded(2, CONSUL, loaded.chain([gone(Key::Unloaded, WEB)]));
    assert_eq!(aggregate.shows(WEB), "10.0.0.1");
    assert!(aggregate.snapshot().unloaded().is_empty());

    // The same by a complete state; what that leaves out without a word is lost.
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, replace(vec![Value::Unloaded(key(DB))], vec![]));
    let held = "10.0.0.1* 10.0.0.2* 10.0.0.3* 10.0.0.4*";
    assert_eq!((aggregate.shows(DB), &*aggregate.shows(WEB)), (String::new(), held));
}

#[test]
fn what_was_just_loaded_is_guarded_like_anything_else() {
    let mut aggregate = world();
    aggregate.guarded(1, CONSUL, [RegistryUpdate::Put(Value::Unloaded(key("shop/new.consul")))]);
    let all = value("shop/new.consul", &["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"]);
    let loaded = RegistryUpdate::Remove(Key::Unloaded(key("shop/new.consul")));
    aggregate.guarded(2, CONSUL, all.into_iter().map(RegistryUpdate::Put).chain([loaded]));
    aggregate.guarded(
        3,
        CONSUL,
        value("shop/new.consul", &[]).into_iter().map(RegistryUpdate::Put),
    );
    let held = "10.0.1.1* 10.0.1.2* 10.0.1.3* 10.0.1.4*";
    assert_eq!(aggregate.shows("shop/new.consul"), held);
}
