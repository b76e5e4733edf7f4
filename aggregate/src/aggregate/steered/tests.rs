use std::time::{Duration, UNIX_EPOCH};

use mainstem_model::{Health, RegistryUpdate, Value, Workload, WorkloadKey};
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;
use crate::control::{Drain, Freeze, Scope};
use crate::fixtures::{
    batch, config, endpoint, endpoints, key, put_endpoints, remove_endpoints, replace, service, set,
};

const WEB: &str = "shop/web.consul";
const DB: &str = "shop/db.consul";
const CONSUL: &str = "consul/dc1";
const FILE: &str = "file/a";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn moment(seconds: u64) -> Moment {
    at(seconds).into()
}

impl Aggregate {
    fn hears(
        &mut self,
        seconds: u64,
        registry: &str,
        updates: impl IntoIterator<Item = RegistryUpdate>,
    ) {
        let heard = self.receive(registry.into(), batch(updates), at(seconds));
        let mut decided = self.decide(&heard.decisions);
        let (steered, _) = self.steer(at(seconds));
        for dirty in [&heard.dirty, &mut decided, &steered] {
            self.publish(dirty);
        }
    }

    fn is_told(&mut self, seconds: u64, change: Change) {
        let dirty = self.decide(&[change]);
        self.publish(&dirty);
        let (dirty, _) = self.steer(at(seconds));
        self.publish(&dirty);
    }

    /// `10.0.0.1=1 10.0.0.2=5*`: addresses and weights; a star where held, a cross where
    /// unhealthy.
    fn serves(&self, name: &str) -> String {
        let all = self.snapshot().endpoints(&key(name));
        let all = all.map_or(&[][..], |set| set.endpoints()).iter();
        let each = all.map(|e| {
            let held = if e.held { "*" } else { "" };
            let ill = if e.health == Health::Unhealthy { "x" } else { "" };
            format!("{}={}{held}{ill}", e.address, e.weight)
        });
        each.collect::<Vec<_>>().join(" ")
    }
}

fn web(registry: &str, hosts: &[u8]) -> Vec<Value> {
    let all: Vec<String> = hosts.iter().map(|host| format!("80 10.0.0.{host}:80")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let definition = service(registry, WEB, &["80 http"]);
    vec![Value::Service(Arc::new(definition)), Value::Endpoints(endpoints(registry, WEB, &all))]
}

/// consul/dc1 and file/a, each with endpoints of web.
fn world() -> Aggregate {
    let mut aggregate = Aggregate::new(config(&[CONSUL, "file/a *"]));
    aggregate.hears(0, CONSUL, replace(web(CONSUL, &[1, 2]), vec![]));
    aggregate.hears(0, FILE, replace(web(FILE, &[8]), vec![]));
    aggregate
}

fn whole(registry: &str) -> Scope {
    Scope { registry: registry.into(), service: None }
}

fn freeze(since: u64, until: u64) -> Change {
    let freeze = Freeze { since: moment(since), until: moment(until), reason: String::new() };
    Change::Freeze(whole(CONSUL), Some(freeze))
}

fn drain(since: u64, until: u64, from: u8, to: u8) -> Drain {
    Drain { since: moment(since), until: moment(until), from, to, reason: String::new() }
}

fn drained(drain: Drain) -> Change {
    Change::Drain(CONSUL.into(), Some(drain))
}

#[test]
fn a_frozen_registry_keeps_its_members_and_their_health_still_flows() {
    let mut aggregate = world();
    aggregate.is_told(1, freeze(1, 100));
    let ill = Endpoint { health: Health::Unhealthy, ..endpoint(CONSUL, WEB, "80 10.0.0.2:80") };
    let new = endpoint(CONSUL, WEB, "80 10.0.0.3:80");
    let mut updates = vec![RegistryUpdate::Put(Value::Endpoints(set(WEB, vec![ill, new])))];
    updates.push(RegistryUpdate::Put(Value::Service(Arc::new(service(CONSUL, DB, &["80"])))));
    aggregate.hears(2, CONSUL, updates);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1x 10.0.0.8=1");
    assert!(aggregate.snapshot().service(&key(DB)).is_none());
    // Others go on.
    aggregate.hears(3, FILE, [put_endpoints(endpoints(FILE, WEB, &["80 10.0.0.9:80"]))]);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1x 10.0.0.9=1");
    // What the registry did meanwhile takes effect with the end.
    aggregate.is_told(4, Change::Freeze(whole(CONSUL), None));
    assert_eq!(aggregate.serves(WEB), "10.0.0.2=1x 10.0.0.3=1 10.0.0.9=1");
    assert!(aggregate.snapshot().service(&key(DB)).is_some());
}

#[test]
fn a_frozen_member_that_is_not_ready_is_unhealthy_though_its_registry_leaves_it_out() {
    let mut aggregate = world();
    let pod = WorkloadKey::new("dc1".into(), "shop".into(), "web-2");
    let origins = endpoint(CONSUL, WEB, "80 10.0.0.2:80").origins;
    let member =
        Endpoint { workload: Some(pod.clone()), ..endpoint(CONSUL, WEB, "80 10.0.0.2:80") };
    let of = |health| {
        let workload = Workload { health, ..Workload::new(pod.clone(), origins.clone()) };
        RegistryUpdate::Put(Value::Workload(Arc::new(workload)))
    };
    let all = vec![endpoint(CONSUL, WEB, "80 10.0.0.1:80"), member];
    let said = RegistryUpdate::Put(Value::Endpoints(set(WEB, all)));
    aggregate.hears(1, CONSUL, [said, of(Health::Healthy)]);
    aggregate.is_told(2, freeze(2, 100));
    aggregate.hears(3, CONSUL, [put_endpoints(endpoints(CONSUL, WEB, &["80 10.0.0.1:80"]))]);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1 10.0.0.8=1");
    aggregate.hears(4, CONSUL, [of(Health::Unhealthy)]);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1x 10.0.0.8=1");
    aggregate.hears(5, CONSUL, [of(Health::Healthy)]);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1 10.0.0.8=1");
}

#[test]
fn a_freeze_ends_by_itself_and_its_past_means_nothing_to_the_next() {
    let mut aggregate = world();
    aggregate.is_told(1, freeze(1, 100));
    aggregate.hears(2, CONSUL, [put_endpoints(endpoints(CONSUL, WEB, &["80 10.0.0.3:80"]))]);
    let late = aggregate.control_state().frozen.values().next().unwrap().clone();
    aggregate.is_told(100, Change::Expire(moment(100)));
    let after = "10.0.0.3=1 10.0.0.8=1";
    assert!(aggregate.serves(WEB).starts_with("10.0.0.3=1"), "{}", aggregate.serves(WEB));
    aggregate.is_told(101, Change::Freeze(whole(CONSUL), None));
    aggregate.is_told(110, freeze(110, 200));
    let key = HoldKey { registry: CONSUL.into(), service: key(WEB) };
    aggregate.is_told(111, Change::Keep(key, late));
    let live = aggregate.serves(WEB).replace("10.0.0.1=1* ", "").replace("10.0.0.2=1* ", "");
    assert_eq!(live, after);
}

#[test]
fn a_frozen_service_leaves_the_rest_of_its_registry_alone() {
    let mut aggregate = world();
    let scope = Scope { registry: CONSUL.into(), service: Some(key(WEB)) };
    let freeze = Freeze { since: moment(1), until: moment(100), reason: String::new() };
    aggregate.is_told(1, Change::Freeze(scope, Some(freeze)));
    aggregate.hears(2, CONSUL, [remove_endpoints(WEB)]);
    aggregate.hears(2, CONSUL, [put_endpoints(endpoints(CONSUL, DB, &["80 10.0.0.5:80"]))]);
    let db = Arc::new(service(CONSUL, DB, &["80 tcp"]));
    aggregate.hears(2, CONSUL, [RegistryUpdate::Put(Value::Service(db))]);
    assert_eq!(aggregate.serves(WEB), "10.0.0.1=1 10.0.0.2=1 10.0.0.8=1");
    assert_eq!(aggregate.serves(DB), "10.0.0.5=1");
}

#[test]
fn a_drained_registry_loses_weight_step_by_step_and_ends_in_the_last_tier() {
    let mut aggregate = world();
    aggregate.is_told(0, drained(drain(0, 100, 100, 0)));
    let mut seen = vec![aggregate.serves(WEB)];
    for seconds in [25, 50, 99, 100] {
        let (dirty, _) = aggregate.steer(at(seconds));
        aggregate.publish(&dirty);
        seen.push(aggregate.serves(WEB));
    }
    let expected = [
        "10.0.0.1=1 10.0.0.2=1 10.0.0.8=1",
        "10.0.0.1=3 10.0.0.2=3 10.0.0.8=4",
        "10.0.0.1=1 10.0.0.2=1 10.0.0.8=2",
        "10.0.0.1=1 10.0.0.2=1 10.0.0.8=100",
        "10.0.0.1=1* 10.0.0.2=1* 10.0.0.8=1",
    ];
    assert_eq!(seen, expected);
    // And back.
    aggregate.is_told(200, drained(drain(200, 210, 0, 100)));
    let (dirty, next) = aggregate.steer(at(205));
    aggregate.publish(&dirty);
    assert_eq!(aggregate.serves(WEB), expected[2]);
    assert_eq!(next, Some(at(206)));
    aggregate.is_told(210, Change::Expire(moment(210)));
    assert_eq!(aggregate.serves(WEB), expected[0]);
    assert!(aggregate.control_state().drains.is_empty());
}

proptest! {
    #[test]
    fn a_drain_goes_evenly_one_way_and_says_when_it_moves_next(
        since in 0..1_000_000u64, length in 0..500_000u64, from in 0..=100u8, to in 0..=100u8,
        times in prop::collection::vec(0..700_000u64, 1..20),
    ) {
        let drain = Drain { since: Moment(since), until: Moment(since + length), from, to, reason: String::new() };
        let mut times = times;
        times.sort_unstable();
        let shares: Vec<u8> = times.iter().map(|t| drain.share(Moment(since + t))).collect();
        let onward = |pair: &[u8]| if from <= to { pair[0] <= pair[1] } else { pair[0] >= pair[1] };
        prop_assert!(shares.windows(2).all(onward));
        prop_assert_eq!(drain.share(Moment(since + length)), to);
        prop_assert!(length == 0 || drain.share(Moment(since)) == from);
        for t in times {
            let now = Moment(since + t);
            let Some(next) = drain.next_change(now) else {
                prop_assert_eq!(drain.share(now), to);
                continue;
            };
            prop_assert!(next > now);
            prop_assert_eq!(drain.share(Moment(next.0 - 1)), drain.share(now));
        }
    }

    /// Two replicas hear the same of a frozen registry, cut into batches differently, and
    /// learn of the freeze at different times.
    #[test]
    fn replicas_agree_on_what_is_frozen_whenever_they_learn_of_it(
        sets in prop::collection::vec(prop::collection::btree_set(1..6u8, 0..4), 1..8),
        learns in 0..4usize,
    ) {
        let put = |hosts: &std::collections::BTreeSet<u8>| {
            let hosts: Vec<u8> = hosts.iter().copied().collect();
            RegistryUpdate::Put(web(CONSUL, &hosts).remove(1))
        };
        let mut one = world();
        one.is_told(1, freeze(1, 1000));
        sets.iter().for_each(|hosts| one.hears(2, CONSUL, [put(hosts)]));
        let mut other = world();
        for (at, hosts) in sets.iter().enumerate() {
            if at == learns {
                other.is_told(1, freeze(1, 1000));
            }
            other.hears(3, CONSUL, [put(hosts)]);
        }
        // What the first keeps reaches the second.
        let mut state = other.control_state().merge(one.control_state());
        state.settle();
        for replica in [&mut one, &mut other] {
            let dirty = replica.control(state.clone());
            replica.publish(&dirty);
        }
        prop_assert_eq!(one.serves(WEB), "10.0.0.1=1 10.0.0.2=1 10.0.0.8=1");
        prop_assert_eq!(other.serves(WEB), one.serves(WEB));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Says(&'static str, Vec<u8>),
    Freezes(bool, u64),
    Thaws(bool),
    Drains(&'static str, u8, u64),
    Undrains(&'static str),
    Waits(u64),
}

fn a_step() -> impl Strategy<Value = Step> {
    let registry = || prop::sample::select(vec![CONSUL, FILE]);
    prop_oneof![
        4 => (registry(), prop::collection::btree_set(1..6u8, 0..4))
            .prop_map(|(registry, hosts)| Step::Says(registry, hosts.into_iter().collect())),
        1 => (any::<bool>(), 1..50u64).prop_map(|(whole, time)| Step::Freezes(whole, time)),
        1 => any::<bool>().prop_map(Step::Thaws),
        1 => (registry(), 0..100u8, 0..40u64).prop_map(|(r, to, time)| Step::Drains(r, to, time)),
        1 => registry().prop_map(Step::Undrains),
        1 => (1..30u64).prop_map(Step::Waits),
    ]
}

fn scope(whole_registry: bool) -> Scope {
    let service = (!whole_registry).then(|| key(WEB));
    Scope { registry: CONSUL.into(), service }
}

fn step(aggregate: &mut Aggregate, step: Step, now: &mut u64) {
    let until = |time: u64, now: u64| moment(now + time);
    match step {
        Step::Says(registry, hosts) => {
            let update = RegistryUpdate::Put(web(registry, &hosts).remove(1));
            aggregate.hears(*now, registry, [update]);
        }
        Step::Freezes(whole, time) => {
            let (since, until) = (moment(*now), until(time, *now));
            let freeze = Freeze { since, until, reason: String::new() };
            aggregate.is_told(*now, Change::Freeze(scope(whole), Some(freeze)));
        }
        Step::Thaws(whole) => aggregate.is_told(*now, Change::Freeze(scope(whole), None)),
        Step::Drains(registry, to, time) => {
            let from = aggregate.share(&registry.into());
            let drain = drain(*now, *now + time, from, to);
            aggregate.is_told(*now, Change::Drain(registry.into(), Some(drain)));
        }
        Step::Undrains(registry) => aggregate.is_told(*now, Change::Drain(registry.into(), None)),
        Step::Waits(time) => {
            *now += time;
            aggregate.is_told(*now, Change::Expire(moment(*now)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever was decided in whatever order, what is served follows from what registries
    /// say now, the control state and the time.
    #[test]
    fn what_is_served_is_a_function_of_registries_control_state_and_time(
        steps in prop::collection::vec(a_step(), 1..16),
    ) {
        let (mut aggregate, mut now) = (world(), 10);
        for one in steps {
            step(&mut aggregate, one, &mut now);
            let mut anew = Aggregate { held: aggregate.held.clone(), ..Aggregate::default() };
            anew.control(aggregate.control_state().clone());
            anew.steer(at(now));
            let dirty = anew.configure(aggregate.config.clone());
            anew.publish(&dirty);
            prop_assert_eq!(anew.serves(WEB), aggregate.serves(WEB));
        }
    }
}
