use std::sync::Arc;

use mainstem_model::{RegistryUpdate, Value};
use pretty_assertions::assert_eq;

use super::*;
use crate::fixtures::{
    batch, endpoint, key, put_endpoints, rejected, replace, service, set, written,
};

const WEB: &str = "shop/web.shop.svc";

fn two_slices() -> Arc<EndpointSet> {
    let bad = endpoint("file/a", "bad", "80 10.0.0.1:1");
    set(WEB, vec![bad, endpoint("file/a", "good", "80 10.0.0.2:1")])
}

fn good_slice() -> Arc<EndpointSet> {
    set(WEB, vec![endpoint("file/a", "good", "80 10.0.0.2:1")])
}

fn a_service() -> Value {
    Value::Service(Arc::new(service("file/a", WEB, &["80"])))
}

/// What is held after these batches, and what the last of them made dirty.
fn after(batches: Vec<Vec<RegistryUpdate>>) -> (Held, Dirty) {
    let (mut held, mut dirty) = (Held::default(), Dirty::default());
    for updates in batches {
        dirty = Dirty::default();
        held.apply(batch(updates), &mut dirty);
    }
    (held, dirty)
}

fn addresses(held: &Held) -> Vec<String> {
    let said = held.values.said(&key(WEB));
    said.and_then(|said| said.endpoints.as_ref()).map(|set| written(set)).unwrap_or_default()
}

#[test]
fn a_complete_state_touches_what_differs() {
    let other = service("file/a", "shop/db.shop.svc", &["80"]);
    let values = vec![a_service(), Value::Service(Arc::new(other)), Value::Endpoints(good_slice())];
    let first = replace(values, vec![]).to_vec();
    let second = replace(vec![a_service(), Value::Endpoints(two_slices())], vec![]).to_vec();
    let (held, dirty) = after(vec![first, second]);
    assert_eq!(addresses(&held), ["80 10.0.0.1:1", "80 10.0.0.2:1"]);
    assert_eq!(Vec::from_iter(&dirty.endpoints), [&key(WEB)]);
    assert_eq!(Vec::from_iter(&dirty.services), [&key("shop/db.shop.svc")]);
    assert_eq!((held.state().services, held.state().endpoints), (1, 2));
}

#[test]
fn an_endpoint_change_waits_for_nothing_and_a_mere_revision_does() {
    let first = vec![put_endpoints(good_slice())];
    let (_, dirty) = after(vec![first.clone(), vec![put_endpoints(two_slices())]]);
    assert_eq!((dirty.endpoints.len(), dirty.settles()), (1, false));
    let (_, dirty) = after(vec![first.clone(), first]);
    assert_eq!((dirty.endpoints.len(), dirty.revisions.len(), dirty.settles()), (0, 1, true));
}

#[test]
fn a_complete_state_spares_what_was_made_of_a_rejected_object() {
    let first = replace(vec![a_service(), Value::Endpoints(two_slices())], vec![]).to_vec();
    let bad = vec![rejected("EndpointSlice", "bad"), rejected("Service", WEB)];
    let second = replace(vec![Value::Endpoints(good_slice())], bad).to_vec();
    let (held, _) = after(vec![first.clone(), second]);
    assert_eq!(addresses(&held), ["80 10.0.0.1:1", "80 10.0.0.2:1"]);
    assert_eq!((held.state().services, held.state().rejected.len()), (1, 2));

    let nothing = replace(vec![], vec![rejected("EndpointSlice", "bad")]).to_vec();
    let (held, _) = after(vec![first, nothing]);
    assert_eq!(addresses(&held), ["80 10.0.0.1:1"]);
    assert_eq!(held.state().services, 0);
}

#[test]
fn what_stood_only_for_a_rejected_object_goes_when_it_is_accepted() {
    let first = replace(vec![a_service(), Value::Endpoints(two_slices())], vec![]).to_vec();
    let bad = vec![rejected("EndpointSlice", "bad"), rejected("Service", WEB)];
    let second = replace(vec![Value::Endpoints(good_slice())], bad).to_vec();
    let gone = |kind, name| RegistryUpdate::Accept(rejected(kind, name).object);
    let both = vec![gone("EndpointSlice", "bad"), gone("Service", WEB)];
    let (held, dirty) = after(vec![first, second, both]);
    assert_eq!(addresses(&held), ["80 10.0.0.2:1"]);
    assert_eq!((held.state().services, held.state().rejected.len()), (0, 0));
    assert!(dirty.services.contains(&key(WEB)));
}

#[test]
fn a_rejected_definition_spares_the_endpoints_that_need_it() {
    let first = replace(vec![a_service(), Value::Endpoints(two_slices())], vec![]).to_vec();
    let second = replace(vec![], vec![rejected("Service", WEB)]).to_vec();
    let spared = vec![first, second.clone(), second];
    let (held, _) = after(spared.clone());
    assert_eq!(addresses(&held), ["80 10.0.0.1:1", "80 10.0.0.2:1"]);
    assert_eq!((held.state().services, held.state().rejected.len()), (1, 1));

    let deleted = vec![RegistryUpdate::Accept(rejected("Service", WEB).object)];
    let back =
        [vec![RegistryUpdate::Put(a_service()), put_endpoints(good_slice())], deleted.clone()]
            .concat();
    let (held, _) = after([spared.clone(), vec![back]].concat());
    assert_eq!(addresses(&held), ["80 10.0.0.2:1"]);
    let (held, dirty) = after([spared.clone(), vec![deleted]].concat());
    assert_eq!((addresses(&held).len(), held.state().services), (0, 0));
    assert!(dirty.services.contains(&key(WEB)));

    let without = replace(vec![], vec![]).to_vec();
    let (held, _) = after([spared, vec![without]].concat());
    assert_eq!((addresses(&held).len(), held.state().services), (0, 0));
}

#[test]
fn an_object_accepted_with_new_values_keeps_them() {
    let first = replace(vec![Value::Endpoints(two_slices())], vec![]).to_vec();
    let second = vec![RegistryUpdate::Reject(rejected("EndpointSlice", "bad"))];
    let shorter = vec![put_endpoints(good_slice())];
    let (held, _) = after(vec![first.clone(), second.clone(), shorter.clone()]);
    assert_eq!(addresses(&held), ["80 10.0.0.1:1", "80 10.0.0.2:1"]);

    let back = vec![
        put_endpoints(set(WEB, vec![endpoint("file/a", "bad", "80 10.0.0.9:1")])),
        RegistryUpdate::Accept(rejected("EndpointSlice", "bad").object),
    ];
    let (held, _) = after(vec![first, second, shorter, back]);
    assert_eq!(addresses(&held), ["80 10.0.0.9:1"]);
}

#[test]
fn an_explicit_removal_spares_nothing() {
    let first = replace(vec![Value::Endpoints(two_slices())], vec![]).to_vec();
    let mut second = replace(vec![], vec![rejected("EndpointSlice", "bad")]).to_vec();
    second.push(crate::fixtures::remove_endpoints(WEB));
    let (held, _) = after(vec![first, second]);
    assert_eq!(addresses(&held), [""; 0]);
}

#[test]
fn a_failure_changes_nothing_but_the_condition() {
    let first = replace(vec![Value::Endpoints(two_slices())], vec![]).to_vec();
    let failed = RegistryUpdate::Condition(Condition::Failed("connection refused".into()));
    let (held, dirty) = after(vec![first, vec![failed]]);
    assert_eq!(addresses(&held).len(), 2);
    assert_eq!((held.state().condition.word(), held.synced()), ("stale", true));
    assert_eq!(dirty, Dirty::default());
}

#[test]
fn a_retained_endpoint_of_two_rejected_objects_stays_for_the_second() {
    let (a, b) = (rejected("EndpointSlice", "a"), rejected("EndpointSlice", "b"));
    let of = |slice, text| endpoint("file/a", slice, text);
    let both = set(WEB, vec![of("a", "80 10.0.0.1:1"), of("b", "80 10.0.0.2:1")]);
    let first = replace(vec![Value::Endpoints(both)], vec![]).to_vec();
    let second = replace(vec![], vec![a.clone(), b]).to_vec();
    let (held, _) = after(vec![first, second, vec![RegistryUpdate::Accept(a.object)]]);
    assert_eq!(addresses(&held), ["80 10.0.0.2:1"]);
}
