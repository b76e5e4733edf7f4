//! What policies make of shared services.

use mainstem_model::{ClusterId, Health, Place, RegistryId};
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;
use crate::policy::{Fields, Isolation, Sharing};

const ALL: [&str; 3] = ["kubernetes/home", "consul/dc1", "file/a"];

fn by(sharing: Sharing) -> Option<MergePolicy> {
    let hosts = vec!["*".into()];
    Some(MergePolicy { name: "p".to_owned(), hosts, sharing, fields: Fields::default() })
}

fn ids(registries: &[&str]) -> Vec<RegistryId> {
    registries.iter().map(|id| RegistryId::from(*id)).collect()
}

/// Two endpoints of each registry on port 80, on 10.<registry>.0.1 and .2.
fn three(sharing: Sharing, change: impl Fn(&str, Endpoint) -> Endpoint) -> Merged {
    let mut said = Said::default().service("kubernetes/home", web("kubernetes/home", &["80 http"]));
    said.1 = by(sharing);
    for (n, id) in ALL.into_iter().enumerate() {
        let one = |at| change(id, endpoint(id, "web", &format!("80 10.{n}.0.{at}:80")));
        let set = set(WEB, vec![one(1), one(2)]);
        match n {
            0 => said.0[0].2 = Some(set),
            _ => said = said.endpoints(id, set),
        }
    }
    said.merged(&ALL)
}

/// Second octet of the address (the registry's place), tier and weight.
fn places(merged: &Merged) -> Vec<(u8, u8, u32)> {
    let place = |e: &Arc<Endpoint>| match e.address.ip() {
        Some(std::net::IpAddr::V4(ip)) => (ip.octets()[1], e.tier, e.weight),
        other => panic!("{other:?}"),
    };
    merged.endpoints.iter().flat_map(|set| set.endpoints()).map(place).collect()
}

fn as_it_is(_: &str, endpoint: Endpoint) -> Endpoint {
    endpoint
}

#[test]
fn the_preferred_registry_serves_alone_and_being_named_lets_it_join() {
    let merged = three(Sharing::Prefer(ids(&["consul/dc1", "kubernetes/home"])), as_it_is);
    assert_eq!(places(&merged), [(1, 0, 1), (1, 0, 1)]);
    // The file is not named, may not join, and says so.
    assert_eq!(conflicts(&merged).len(), 1);
    assert_eq!(conflicts(&merged)[0].1, "file/a");
}

#[test]
fn without_a_usable_endpoint_of_the_preferred_the_next_serves() {
    let order = Sharing::Prefer(ids(&["consul/dc1", "kubernetes/home"]));
    let failing = |id: &str, endpoint: Endpoint| match id {
        "consul/dc1" => Endpoint { health: Health::Unhealthy, ..endpoint },
        _ => endpoint,
    };
    assert_eq!(places(&three(order, failing)), [(0, 0, 1), (0, 0, 1)]);
}

#[test]
fn failover_puts_each_registry_on_its_tier_and_others_last() {
    let tiers = [("consul/dc1".into(), 0), ("kubernetes/home".into(), 1)].into();
    let mut said = three(Sharing::Failover(tiers), as_it_is);
    assert_eq!(places(&said), [(0, 1, 1), (0, 1, 1), (1, 0, 1), (1, 0, 1)]);
    let tiers = [("consul/dc1".into(), 3), ("file/a".into(), 0)].into();
    said = three(Sharing::Failover(tiers), as_it_is);
    assert_eq!(places(&said), [(0, 4, 1), (0, 4, 1), (1, 3, 1), (1, 3, 1), (2, 0, 1), (2, 0, 1)]);
}

#[test]
fn shares_are_exact_whatever_the_number_and_weights_of_endpoints() {
    let shares = [("kubernetes/home".into(), 90), ("consul/dc1".into(), 10)].into();
    let heavy = |id: &str, endpoint: Endpoint| match id {
        "consul/dc1" => Endpoint { weight: 3, ..endpoint },
        _ => endpoint,
    };
    let merged = three(Sharing::Weighted(shares), heavy);
    // 2 × 27 against 2 × 3.
    assert_eq!(places(&merged), [(0, 0, 27), (0, 0, 27), (1, 0, 3), (1, 0, 3)]);
    assert!(merged.service.unwrap().exact_shares);
}

#[test]
fn who_has_no_share_stands_behind() {
    let shares = [("kubernetes/home".into(), 100), ("consul/dc1".into(), 0)].into();
    let merged = three(Sharing::Weighted(shares), as_it_is);
    assert_eq!(places(&merged), [(0, 0, 1), (0, 0, 1), (1, 1, 1), (1, 1, 1)]);
}

#[test]
fn an_unhealthy_endpoint_takes_no_part_of_its_registrys_share() {
    let shares = [("kubernetes/home".into(), 50), ("consul/dc1".into(), 50)].into();
    let failing = |id: &str, endpoint: Endpoint| {
        let first = endpoint.address.to_string().ends_with(".1");
        let health = if id == "consul/dc1" && first { Health::Unhealthy } else { Health::Healthy };
        Endpoint { health, ..endpoint }
    };
    let merged = three(Sharing::Weighted(shares), failing);
    assert_eq!(places(&merged), [(0, 0, 1), (0, 0, 1), (1, 0, 2), (1, 0, 2)]);
}

#[test]
fn isolation_leaves_the_named_or_the_clients_own_cluster() {
    let only = Isolation::Registries(ids(&["consul/dc1"]));
    assert_eq!(places(&three(Sharing::Isolate(only), as_it_is)), [(1, 0, 1), (1, 0, 1)]);
    let merged = three(Sharing::Isolate(Isolation::OwnCluster), as_it_is);
    assert!(merged.service.unwrap().cluster_local);
}

#[test]
fn a_field_comes_from_the_registry_that_the_policy_names_for_it() {
    let far = "kubernetes/far";
    let mut of_far = web(far, &["80 tcp"]);
    of_far.resolution = Resolution::Passthrough;
    of_far.labels = mainstem_model::Labels::from_iter([("from", "far")]);
    of_far.addresses.insert(ClusterId::from("c"), ["10.0.0.2".parse().unwrap()]);
    let mut of_home = web("kubernetes/home", &["80 http", "90 grpc"]);
    of_home.addresses.insert(ClusterId::from("c"), ["10.0.0.1".parse().unwrap()]);
    let mut said = Said::default().service("kubernetes/home", of_home).service(far, of_far.clone());
    said.1 = by(Sharing::Union);
    let named = || vec![RegistryId::from(far)];
    said.1.as_mut().unwrap().fields =
        Fields { ports: named(), labels: named(), resolution: named(), addresses: named() };
    let merged = said.merged(&["kubernetes/home", far]);
    let service = merged.service.clone().unwrap();
    let ports: Vec<_> = service.ports.iter().map(|p| (p.number, p.name.as_str())).collect();
    assert_eq!(ports, [(80, "tcp"), (90, "grpc")]);
    assert_eq!(
        (service.resolution, &service.labels, &service.addresses),
        (of_far.resolution, &of_far.labels, &of_far.addresses)
    );
    let losers: Vec<_> = merged.conflicts.iter().map(|c| (c.kind, c.loser.as_str())).collect();
    let home = "kubernetes/home";
    assert_eq!(
        losers,
        [
            (ConflictKind::PortName, home),
            (ConflictKind::PortProtocol, home),
            (ConflictKind::Resolution, home)
        ]
    );
}

fn a_set(id: &'static str) -> impl Strategy<Value = Vec<Endpoint>> {
    let one = (1..9u8, 1..u32::MAX, prop::bool::ANY).prop_map(move |(at, weight, healthy)| {
        let health = if healthy { Health::Healthy } else { Health::Unhealthy };
        Endpoint { weight, health, ..endpoint(id, "web", &format!("80 10.0.0.{at}:80")) }
    });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn shares_hold_within_a_thousandth_at_any_weights(
        a in a_set("consul/dc1"), b in a_set("file/a"), percent in 1..100u8,
    ) {
        let registries = ["consul/dc1", "file/a", "kubernetes/home"];
        let shares = [("consul/dc1".into(), percent), ("file/a".into(), 100 - percent)].into();
        // Apart, so that none is the other's.
        let b: Vec<_> = b.into_iter().map(|e| Endpoint { place: Place { network: "b".into(), ..Place::default() }.into(), ..e }).collect();
        let mut said = Said::default()
            .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
            .endpoints("consul/dc1", set(WEB, a))
            .endpoints("file/a", set(WEB, b));
        said.1 = by(Sharing::Weighted(shares));
        let merged = said.merged(&registries);
        let healthy = |network: &str| -> f64 {
            let set = merged.endpoints.as_ref().unwrap();
            let of = set.endpoints().iter().filter(|e| e.place.network.as_str() == network);
            of.filter(|e| e.health == Health::Healthy).map(|e| f64::from(e.weight)).sum()
        };
        let (of_a, of_b) = (healthy(""), healthy("b"));
        if of_a > 0.0 && of_b > 0.0 {
            let share = of_a / (of_a + of_b) * 100.0;
            prop_assert!((share - f64::from(percent)).abs() < 0.1, "{share} of {percent}");
        }
    }
}

/// Any way of sharing among `ALL`.
fn a_sharing() -> impl Strategy<Value = Sharing> {
    let some = prop::sample::subsequence(ids(&ALL), 1..=ALL.len());
    let tiers = prop::collection::btree_map(prop::sample::select(ids(&ALL)), 0..4u8, 1..4);
    let shares = (0..=100u8).prop_map(|first| {
        let [one, other, _] = ALL.map(RegistryId::from);
        [(one, first), (other, 100 - first)].into()
    });
    prop_oneof![
        Just(Sharing::Union),
        some.clone().prop_shuffle().prop_map(Sharing::Prefer),
        tiers.prop_map(Sharing::Failover),
        shares.prop_map(Sharing::Weighted),
        Just(Sharing::Isolate(Isolation::OwnCluster)),
        some.prop_map(|only| Sharing::Isolate(Isolation::Registries(only))),
    ]
}

/// Endpoints of the registry at this place, none of which another registry has,
/// with weights that leave shares exact.
fn own_set(n: usize) -> impl Strategy<Value = Vec<Endpoint>> {
    let health = prop::sample::select(vec![
        Health::Healthy,
        Health::Degraded,
        Health::Draining,
        Health::Unhealthy,
    ]);
    let one = (1..9u8, 1..50u32, health).prop_map(move |(at, weight, health)| {
        let of = endpoint(ALL[n], "web", &format!("80 10.{n}.0.{at}:80"));
        Endpoint { weight, health, ..of }
    });
    prop::collection::vec(one, 0..5)
}

fn shared(sharing: &Sharing, sets: &[Vec<Endpoint>; 3]) -> Merged {
    let mut said = Said::default().service(ALL[0], web(ALL[0], &["80 http"]));
    said.0[0].2 = Some(set(WEB, sets[0].clone()));
    for n in 1..3 {
        said = said.endpoints(ALL[n], set(WEB, sets[n].clone()));
    }
    said.1 = by(sharing.clone());
    said.merged(
        &ALL.map(|id| if id == ALL[0] { id.to_owned() } else { format!("{id} *") })
            .each_ref()
            .map(String::as_str),
    )
}

/// What each registry has of a merged service.
fn apart(merged: &Merged) -> [Vec<Endpoint>; 3] {
    let all = merged.endpoints.as_ref().map_or(&[][..], |set| set.endpoints());
    ALL.map(|id| {
        let own = all.iter().filter(|e| e.origins[0].origin.registry.as_str() == id);
        own.map(|endpoint| Endpoint::clone(endpoint)).collect()
    })
}

proptest! {
    #[test]
    fn sharing_what_is_shared_already_changes_nothing(
        sharing in a_sharing(), sets in (own_set(0), own_set(1), own_set(2)),
    ) {
        let once = shared(&sharing, &sets.into());
        let twice = shared(&sharing, &apart(&once));
        let written = |merged: &Merged| format!("{:?}", apart(merged));
        prop_assert_eq!(written(&twice), written(&once));
    }
}
