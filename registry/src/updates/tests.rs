use std::sync::Arc;

use mainstem_model::{Namespace, NamespaceName, RegistryId, Sourced};

use super::*;

fn namespace(name: &str, revision: &str) -> Value {
    let origins = Sourced::only(&RegistryId::new("file", "a"), "Namespace", name, revision);
    Value::Namespace(Arc::new(Namespace { name: name.into(), labels: Default::default(), origins }))
}

fn key(name: &str) -> Key {
    Key::Namespace(NamespaceName::from(name))
}

fn rejected(name: &str) -> Rejected {
    Rejected {
        object: ObjectRef { kind: "Namespace", name: name.into() },
        reason: "malformed".to_owned(),
    }
}

/// Names and revisions of single changes; `None` is a removal.
fn changes(batch: &Batch) -> Vec<(String, Option<String>)> {
    let revision = |value: &Value| match value {
        Value::Namespace(namespace) => namespace.origins[0].revision.to_string(),
        other => panic!("{other:?}"),
    };
    let values = batch.values.iter();
    values.map(|(key, value)| (format!("{key:?}"), value.as_ref().map(revision))).collect()
}

#[test]
fn unread_updates_merge_by_key_and_the_latest_wins() {
    let (updates, mut receiver) = channel();
    let sender = updates.sender(RegistryId::new("file", "a"));
    sender.put(namespace("x", "1"));
    sender.put(namespace("y", "1"));
    sender.put(namespace("x", "2"));
    sender.remove(key("y"));
    let batches = receiver.try_recv();
    assert_eq!(
        changes(&batches[0].1),
        [
            ("Namespace(\"x\")".to_owned(), Some("2".to_owned())),
            ("Namespace(\"y\")".to_owned(), None)
        ]
    );
    assert!(receiver.try_recv().is_empty());
}

#[test]
fn a_replacement_swallows_what_came_before_and_takes_in_what_comes_after() {
    let mut batch = Batch::default();
    batch.merge(RegistryUpdate::Put(namespace("before", "1")));
    batch.merge(RegistryUpdate::Replace {
        values: vec![namespace("x", "1"), namespace("y", "1")],
        rejected: vec![rejected("bad")],
    });
    batch.merge(RegistryUpdate::Remove(key("y")));
    batch.merge(RegistryUpdate::Put(namespace("z", "1")));
    batch.merge(RegistryUpdate::Accept(rejected("bad").object));
    let (values, rejected) = batch.replace.as_ref().unwrap();
    assert_eq!(values.keys().collect::<Vec<_>>(), [&key("x"), &key("z")]);
    assert_eq!(rejected.len(), 0);
    assert_eq!(changes(&batch), [("Namespace(\"y\")".to_owned(), None)]);
    batch.merge(RegistryUpdate::Put(namespace("y", "2")));
    assert_eq!(changes(&batch), []);
}

#[test]
fn a_superseded_sender_reaches_nobody() {
    let (updates, mut receiver) = channel();
    let registry = RegistryId::new("file", "a");
    let old = updates.sender(registry.clone());
    let new = updates.sender(registry.clone());
    old.put(namespace("x", "1"));
    assert!(receiver.try_recv().is_empty());
    new.put(namespace("x", "2"));
    assert_eq!(receiver.try_recv().len(), 1);
    updates.remove(&registry);
    new.put(namespace("x", "3"));
    let batches = receiver.try_recv();
    assert!(batches[0].1.removed && batches[0].1.values.is_empty());
}

#[tokio::test]
async fn the_receiver_wakes_for_an_update() {
    let (updates, mut receiver) = channel();
    let sender = updates.sender(RegistryId::new("file", "a"));
    let (batches, ()) = tokio::join!(receiver.recv(), async { sender.live() });
    assert_eq!(batches[0].1.condition, Some(Condition::Live));
}
