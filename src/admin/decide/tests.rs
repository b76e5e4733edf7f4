use std::sync::Arc;

use mainstem_aggregate::{Cause, Hold};
use mainstem_model::{EndpointSet, Service, Sourced};
use pretty_assertions::assert_eq;

use super::*;

const HOST: &str = "orders.shop.svc.cluster.local";

fn snapshot() -> Snapshot {
    let before = Snapshot::default();
    let mut draft = before.edit();
    for namespace in ["shop", "test"] {
        let origins = Sourced::only(&"file/a".into(), "Service", "orders", "1");
        draft.put_service(Arc::new(Service::new(ServiceKey::new(HOST, namespace), origins)));
    }
    draft.finish()
}

fn held(service: &ServiceKey) -> Change {
    let endpoints = Arc::new(EndpointSet::new(service.clone(), Vec::new()));
    let (since, until) = (Moment(0), Moment(600_000));
    let hold = Hold { since, until, cause: Cause::Service, definition: None, endpoints };
    let key = HoldKey { registry: "consul/dc1".into(), service: service.clone() };
    Change::Hold(key, Arc::new(hold))
}

fn with<T>(state: &ControlState, ask: impl FnOnce(&Ground<'_>) -> T) -> T {
    let snapshot = snapshot();
    let registries = ["consul/dc1", "file/a"].map(RegistryId::from).into();
    ask(&Ground { state, snapshot: &snapshot, registries, now: Moment(1_000) })
}

fn said(changes: Changes) -> Result<Vec<String>, u16> {
    let each = |changes: Vec<Change>| changes.iter().map(|change| format!("{change:?}")).collect();
    changes.map(each).map_err(|Refusal(status, _)| status.as_u16())
}

fn asked(target: &str) -> api::Freeze {
    api::Freeze { target: Some(target.to_owned()), ..api::Freeze::default() }
}

fn count(changes: Changes) -> Result<usize, u16> {
    said(changes).map(|changes| changes.len())
}

#[test]
fn a_host_means_its_services_in_all_registries_and_a_registry_itself() {
    let state = ControlState::default();
    let freeze = |asked: &api::Freeze| count(with(&state, |ground| freeze(ground, asked)));
    assert_eq!(freeze(&asked("consul/dc1")), Ok(1));
    assert_eq!(freeze(&asked(HOST)), Ok(4));
    let one = api::Freeze { namespace: Some("shop".to_owned()), ..asked(HOST) };
    assert_eq!(freeze(&one), Ok(2));
    let one = api::Freeze { registry: Some("file/a".to_owned()), ..one };
    assert_eq!(freeze(&one), Ok(1));
    assert_eq!(freeze(&asked("nothing.shop")), Err(404));
    assert_eq!(freeze(&api::Freeze { registry: Some("file/b".to_owned()), ..one }), Err(404));
    assert_eq!(freeze(&api::Freeze::default()), Err(400));
    let both = api::Freeze { proxies: Some("all".to_owned()), ..asked(HOST) };
    assert_eq!(freeze(&both), Err(400));
    let long = api::Freeze { span: Some(TimeSpan::from_secs(31 * 86_400)), ..asked(HOST) };
    assert_eq!(freeze(&long), Err(400));
}

#[test]
fn freezing_again_changes_the_end_and_unfreezing_needs_something_frozen() {
    let mut state = ControlState::default();
    let proxies = |group: &str| api::Freeze {
        proxies: Some(group.to_owned()),
        reason: "r".to_owned(),
        ..api::Freeze::default()
    };
    for asked in [asked("consul/dc1"), proxies("namespace=shop")] {
        let first = with(&state, |ground| freeze(ground, &asked)).unwrap();
        first.iter().for_each(|change| drop(state.apply(change)));
        let again = with(&state, |ground| {
            let later =
                Ground { now: Moment(9_000), registries: ground.registries.clone(), ..*ground };
            freeze(&later, &asked)
        });
        let text = &said(again).unwrap()[0];
        assert!(text.contains("since: Moment(1000), until: Moment(3609000)"), "{text}");
        assert_eq!(count(with(&state, |ground| unfreeze(ground, &asked))), Ok(1));
    }
    assert_eq!(count(with(&state, |ground| unfreeze(ground, &proxies("all")))), Err(404));
    assert_eq!(count(with(&state, |ground| unfreeze(ground, &asked("file/a")))), Err(404));
}

#[test]
fn a_release_is_of_what_is_held() {
    let mut state = ControlState::default();
    let ask = |target: &str| api::Release { target: target.to_owned(), ..api::Release::default() };
    assert_eq!(count(with(&state, |ground| release(ground, &ask(HOST)))), Err(404));
    state.apply(&held(&ServiceKey::new(HOST, "shop")));
    state.apply(&held(&ServiceKey::new("gone.shop.svc", "shop")));
    for target in [HOST, "gone.shop.svc", "consul/dc1"] {
        let changes = with(&state, |ground| release(ground, &ask(target))).unwrap();
        assert_eq!(changes.len(), 1, "{target}");
        let mut after = state.clone();
        changes.iter().for_each(|change| drop(after.apply(change)));
        assert!(after.holds.len() < state.holds.len(), "{target}");
    }
}

#[test]
fn a_drain_goes_on_from_where_the_registry_is() {
    let mut state = ControlState::default();
    let ask = |percent, over| api::Drain {
        registry: "consul/dc1".to_owned(),
        percent,
        over: TimeSpan::from_secs(over),
        reason: String::new(),
    };
    let changes = with(&state, |ground| drain(ground, &ask(50, 0))).unwrap();
    changes.iter().for_each(|change| drop(state.apply(change)));
    let text = &said(with(&state, |ground| drain(ground, &ask(100, 10)))).unwrap()[0];
    assert!(text.contains("until: Moment(11000), from: 50, to: 0"), "{text}");
    assert_eq!(count(with(&state, |ground| drain(ground, &ask(0, 0)))), Err(400));
    let back = |over| api::Undrain {
        registry: "consul/dc1".to_owned(),
        over: TimeSpan::from_secs(over),
        reason: String::new(),
    };
    let text = &said(with(&state, |ground| undrain(ground, &back(10)))).unwrap()[0];
    assert!(text.contains("from: 50, to: 100"), "{text}");
    let none = ControlState::default();
    assert_eq!(count(with(&none, |ground| undrain(ground, &back(0)))), Err(404));
}
