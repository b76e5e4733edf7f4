use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstem_model::{Endpoint, EndpointSet, Health, TimeSpan};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::control::{Cause, EndpointId};
use crate::fixtures::{endpoint, key, set};

const WEB: &str = "shop/web.shop";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000 + seconds)
}

fn rules(mode: GuardMode, complete: bool, now: u64) -> Rules {
    let guard = Guard { window: TimeSpan::from_secs(30), ..Guard::default() };
    Rules { guard, mode, complete, now: at(now) }
}

/// `1 2 3!`: endpoints 10.0.0.1, .2 and, unhealthy, .3; `3?` is draining and `3~` degraded.
fn hosts(name: &str, text: &str) -> EndpointSet {
    let each = text.split_whitespace().map(|word| {
        let (number, health) = match word.char_indices().last() {
            Some((at, '!')) => (&word[..at], Health::Unhealthy),
            Some((at, '?')) => (&word[..at], Health::Draining),
            Some((at, '~')) => (&word[..at], Health::Degraded),
            _ => (word, Health::Healthy),
        };
        let address = format!("80 10.0.0.{number}:80");
        Endpoint { health, ..endpoint("consul/dc1", name, &address) }
    });
    (*set(name, each.collect())).clone()
}

/// A registry's history, its present state, and what is held of it.
struct Watched {
    history: History,
    mode: GuardMode,
    now: std::collections::BTreeMap<&'static str, String>,
    held: std::collections::BTreeMap<&'static str, BTreeSet<EndpointId>>,
}

impl Watched {
    fn new(mode: GuardMode, services: &[(&'static str, &str)]) -> Self {
        let mut history = History::default();
        let now: std::collections::BTreeMap<_, _> =
            services.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        history.begin(services.iter().map(|(_, text)| text.split_whitespace().count()).sum());
        Self { history, mode, now, held: Default::default() }
    }

    /// The services are so now; what is to be held: `shop/web.shop service 1 2`.
    fn becomes(
        &mut self,
        seconds: u64,
        complete: bool,
        services: &[(&'static str, &str)],
    ) -> Vec<String> {
        let situations = services.iter().map(|(name, text)| {
            let before = self.now.insert(name, (*text).to_owned()).unwrap_or_default();
            let moves = compare(Some(&hosts(name, &before)), Some(&hosts(name, text)));
            let held = self.held.get(name).cloned().unwrap_or_default();
            Situation { service: key(name), definition: None, moves, held }
        });
        let situations = situations.collect();
        let held = self.held.values().map(BTreeSet::len).sum();
        let verdicts = self.history.judge(situations, held, rules(self.mode, complete, seconds));
        let words = |verdict: &Verdict| {
            let all = verdict.endpoints.iter().map(|e| e.address.to_string());
            let mut all: Vec<_> = all.map(|a| a.trim_start_matches("10.0.0.").to_owned()).collect();
            all.sort();
            let cause = if verdict.cause == Cause::Service { "service" } else { "registry" };
            format!("{} {cause} {}", verdict.service, all.join(" "))
        };
        let said = verdicts.iter().map(words).collect();
        for verdict in verdicts {
            let name = services.iter().map(|(name, _)| *name).chain(self.now.keys().copied());
            let name = name.into_iter().find(|name| key(name) == verdict.service).unwrap();
            let ids = verdict.endpoints.iter().map(|e| EndpointId::of(e));
            self.held.entry(name).or_default().extend(ids);
        }
        said
    }
}

fn web(before: &str) -> Watched {
    // Another service keeps the registry's own share out of the way.
    let many: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    Watched::new(GuardMode::All, &[(WEB, before), ("shop/rest.shop", &many.join(" "))])
}

#[rstest]
#[case::half("1 2 3 4", "3 4", &["shop/web.shop service 1 2"])]
#[case::less_than_half("1 2 3 4 5", "3 4 5", &[])]
#[case::all("1 2 3", "", &["shop/web.shop service 1 2 3"])]
#[case::below_the_floor("1", "", &[])]
#[case::mass_critical("1 2 3 4", "1! 2! 3! 4", &["shop/web.shop service 1 2 3"])]
#[case::critical_and_gone("1 2 3 4", "1! 3 4", &["shop/web.shop service 1 2"])]
#[case::warning_serves("1 2 3 4", "1~ 2~ 3~ 4~", &[])]
#[case::draining_is_a_decision("1 2 3 4", "1? 2? 3? 4", &[])]
#[case::replaced_at_once("1 2 3 4", "5 6 7 8", &[])]
#[case::half_replaced("1 2 3 4", "5 6", &["shop/web.shop service 1 2 3 4"])]
#[case::unhealthy_before_is_no_loss("1 2! 3! 4!", "1", &[])]
fn a_net_loss_of_half_and_two_is_held(
    #[case] before: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_eq!(web(before).becomes(0, false, &[(WEB, after)]), expected);
}

#[test]
fn losses_within_the_window_add_up_and_older_ones_do_not() {
    let mut watched = web("1 2 3 4 5 6");
    assert_eq!(watched.becomes(0, false, &[(WEB, "2 3 4 5 6")]), [""; 0]);
    assert_eq!(watched.becomes(40, false, &[(WEB, "3 4 5 6")]), [""; 0]);
    assert_eq!(watched.becomes(60, false, &[(WEB, "4 5 6")]), [""; 0]);
    assert_eq!(watched.becomes(65, false, &[(WEB, "5 6")]), ["shop/web.shop service 2 3 4"]);
    // While that is held, what follows joins it.
    assert_eq!(watched.becomes(66, false, &[(WEB, "6")]), ["shop/web.shop service 5"]);
}

#[test]
fn rolling_out_replaces_endpoints_and_loses_none() {
    let mut watched = web("1 2 3 4");
    for (second, text) in ["1 2 3 4 5", "2 3 4 5", "2 3 4 5 6", "3 4 5 6", "3 4 5 6 7 8", "5 6 7 8"]
        .iter()
        .enumerate()
    {
        assert_eq!(watched.becomes(second as u64, false, &[(WEB, text)]), [""; 0], "{text}");
    }
}

#[test]
fn what_came_and_went_makes_up_for_nothing() {
    let mut watched = Watched::new(GuardMode::Relist, &[("n/a", "1 2 3 4")]);
    watched.becomes(0, false, &[("n/a", "1 2 3 4 5")]);
    watched.becomes(20, false, &[("n/a", "1 2 3 4 5 6")]);
    watched.becomes(25, false, &[("n/a", "1 2 3 4 5")]);
    // That 5 came is forgotten by now, and 6 is gone again.
    assert_eq!(watched.becomes(40, false, &[("n/a", "")]), ["n/a registry 1 2 3 4 5"]);
}

#[test]
fn what_returns_is_no_longer_lost() {
    let mut watched = web("1 2 3 4 5 6");
    watched.becomes(0, false, &[(WEB, "3 4 5 6")]);
    watched.becomes(1, false, &[(WEB, "1 2 3 4 5 6")]);
    assert_eq!(watched.becomes(2, false, &[(WEB, "1 2 5 6")]), [""; 0]);
    assert_eq!(watched.becomes(3, false, &[(WEB, "1 2 6")]), ["shop/web.shop service 3 4 5"]);
}

#[test]
fn a_registry_that_loses_half_over_many_services_holds_them_all() {
    let mut watched = Watched::new(
        GuardMode::All,
        &[("n/a", "1"), ("n/b", "2"), ("n/c", "3"), ("n/d", "4"), ("n/e", "5")],
    );
    assert_eq!(watched.becomes(0, false, &[("n/a", ""), ("n/b", "")]), [""; 0]);
    let expected = ["n/a registry 1", "n/b registry 2", "n/c registry 3"];
    assert_eq!(watched.becomes(1, false, &[("n/c", "")]), expected);
    assert_eq!(watched.becomes(2, false, &[("n/d", "")]), ["n/d registry 4"]);
}

#[test]
fn of_kubernetes_single_removals_count_only_when_all_is_lost() {
    let mut watched = Watched::new(GuardMode::Relist, &[("n/a", "1 2 3 4"), ("n/b", "5")]);
    assert_eq!(watched.becomes(0, false, &[("n/a", "")]), [""; 0]);
    assert_eq!(
        watched.becomes(1, false, &[("n/b", "")]),
        ["n/a registry 1 2 3 4", "n/b registry 5"]
    );
    let mut watched = Watched::new(GuardMode::Relist, &[("n/a", "1 2 3 4"), ("n/b", "5 6 7 8 9")]);
    assert_eq!(watched.becomes(0, true, &[("n/a", "4")]), ["n/a service 1 2 3"]);
}

proptest::proptest! {
    /// The history never holds more than there was, and forgets within the window.
    #[test]
    fn the_history_is_bounded_by_what_there_was(
        steps in proptest::collection::vec((0u64..20, proptest::collection::vec(1u8..40, 0..12)), 1..40),
    ) {
        let mut watched = web("1 2 3 4 5 6");
        let mut now = 0;
        for (wait, hosts) in steps {
            now += wait;
            let text: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            let names: BTreeSet<_> = text.iter().cloned().collect();
            let text: Vec<_> = names.into_iter().collect();
            watched.becomes(now, false, &[(WEB, &text.join(" "))]);
            watched.held.clear();
            proptest::prop_assert!(watched.history.remembered() <= 12 + 6);
        }
        watched.becomes(now + 31, false, &[]);
        proptest::prop_assert_eq!(watched.history.remembered(), 0);
    }
}
