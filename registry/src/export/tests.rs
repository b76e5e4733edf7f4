use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, EndpointSet, Key, Labels, ObjectRef, Port, PortName, Protocol, RegistryId,
    RegistryUpdate, Service, ServiceKey, Sourced, TargetPort, Value,
};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn settings(json: serde_json::Value) -> ExportSettings {
    serde_json::from_value(json).unwrap()
}

fn export(json: serde_json::Value) -> Export {
    let settings = settings(json);
    assert_eq!(settings.check(), []);
    Export::new(&settings)
}

fn key(host: &str, namespace: &str) -> ServiceKey {
    ServiceKey::new(host, namespace)
}

fn renamed(host: &str, namespace: &str, rule: &str) -> Verdict {
    Verdict::Renamed { to: key(host, namespace), rule: rule.to_owned() }
}

fn left_out(rule: &str) -> Verdict {
    Verdict::LeftOut { rule: rule.to_owned() }
}

#[rstest]
#[case("a.dc1.consul", renamed("a.shop.svc", "shop", "rewrite {service}.{datacenter}.consul"))]
#[case("orders.dc1.consul", renamed("orders.svc", "prod", "alias orders.dc1.consul"))]
#[case("x.secret.consul", left_out("exclude *.secret.consul"))]
#[case("a.other", left_out("include names others"))]
#[case("a.b.dc1.consul", Verdict::Kept)]
fn a_name_is_left_out_aliased_rewritten_or_kept(#[case] host: &str, #[case] expected: Verdict) {
    let export = export(json!({
        "include": ["*.consul"],
        "exclude": ["*.secret.consul"],
        "aliases": { "orders.dc1.consul": "prod/orders.svc" },
        "rewrite": [{
            "host": "{service}.{datacenter}.consul",
            "to": "{service}.{namespace}.svc",
            "merge": true,
        }],
    }));
    assert_eq!(export.name(&key(host, "shop")), expected);
}

#[test]
fn a_capture_may_become_the_namespace() {
    let export = export(json!({ "rewrite": [
        { "host": "{s}.{d}.consul", "to": "{s}.{d}.svc.cluster.local", "namespace": "{d}" },
    ]}));
    let to = renamed("a.dc1.svc.cluster.local", "dc1", "rewrite {s}.{d}.consul");
    assert_eq!(export.name(&key("a.dc1.consul", "default")), to);
}

#[test]
fn labels_are_dropped_renamed_and_set_in_this_order() {
    let export = export(json!({ "labels": {
        "drop": ["a"], "rename": { "b": "c" }, "set": { "d": "4" },
    }}));
    let labels = Labels::from_iter([("a", "1"), ("b", "2"), ("c", "3"), ("d", "0")]);
    assert_eq!(export.labels(&labels), Labels::from_iter([("c", "2"), ("d", "4")]));
}

#[rstest]
#[case(json!({ "include": ["a.x"], "exclude": ["*.x"] }), "include", "never matches")]
#[case(json!({ "services": ["a=1", "a=2"] }), "services", "no labels meet a=1 and a=2")]
#[case(json!({ "endpoints": ["=2"] }), "endpoints", "no requirement")]
#[case(json!({ "aliases": { "a.x": "a.x" } }), "aliases", "leads back to itself")]
#[case(json!({ "aliases": { "a.x": "b.x", "b.x": "c.x" } }), "aliases", "an alias itself")]
#[case(json!({ "aliases": { "a.x": "*.x" } }), "aliases", "two exact names")]
#[case(json!({ "rewrite": [{ "host": "{s}.x", "to": "{t}.y" }] }), "rewrite", "captured nowhere")]
#[case(json!({ "rewrite": [{ "host": "{s}{t}.x", "to": "y" }] }), "rewrite", "nor a capture")]
#[case(json!({ "rewrite": [{ "host": "{s}.{t}.x", "to": "{s}.y" }] }), "rewrite", "get one name")]
#[case(
    json!({ "rewrite": [{ "host": "{s}.x", "to": "{s}.y" }, { "host": "a.x", "to": "a.z" }] }),
    "rewrite", "never matches"
)]
#[case(
    json!({ "rewrite": [
        { "host": "{s}.a.x", "to": "{s}.y" }, { "host": "b.{s}.x", "to": "{s}.z" },
    ] }),
    "rewrite", "overlap"
)]
#[case(
    json!({ "rewrite": [{ "host": "{s}.x", "to": "{s}.z" }, { "host": "{s}.y", "to": "{s}.z" }] }),
    "rewrite", "an earlier rewrite gives"
)]
#[case(
    json!({ "labels": { "rename": { "a": "c", "b": "c" } } }),
    "labels", "two labels are renamed"
)]
fn a_rule_that_cannot_be_meant_is_refused_with_advice(
    #[case] rules: serde_json::Value,
    #[case] setting: &str,
    #[case] message: &str,
) {
    let faults = settings(rules).check();
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(fault.setting, setting);
    assert!(fault.message.contains(message) && fault.message.contains("; "), "{fault}");
}

#[test]
fn every_member_of_a_circle_of_aliases_is_named() {
    let faults = settings(json!({ "aliases": { "a.x": "b.x", "b.x": "a.x" } })).check();
    let circle = |fault: &ExportFault| fault.message.contains("leads back to itself");
    assert_eq!((faults.len(), faults.iter().all(circle)), (2, true), "{faults:?}");
}

fn service(host: &str, port: u16, labels: &[(&str, &str)]) -> Value {
    let origins = Sourced::only(&RegistryId::from("consul/dc1"), "service", host, "1");
    let mut service = Service::new(key(host, "shop"), origins);
    service.labels = labels.iter().copied().collect();
    service.ports = vec![Port {
        number: port,
        name: PortName::from(format!("p{port}")),
        protocol: Protocol::Tcp,
        target: TargetPort::Number(port),
    }];
    Value::Service(Arc::new(service))
}

fn endpoints(host: &str, address: &str, labels: &[(&str, &str)]) -> Value {
    let origins = Sourced::only(&RegistryId::from("consul/dc1"), "instance", host, "1");
    let mut endpoint = Endpoint::new(80, Address::parse(address), 80, origins);
    endpoint.labels = labels.iter().copied().collect();
    Value::Endpoints(Arc::new(EndpointSet::new(key(host, "shop"), vec![Arc::new(endpoint)])))
}

/// What the aggregate holds after these updates, by key, as JSON.
fn held(export: Export, updates: Vec<RegistryUpdate>) -> Vec<(Key, serde_json::Value)> {
    let mut stage = Stage::new(export);
    let mut held = std::collections::BTreeMap::new();
    for update in updates.into_iter().flat_map(|update| stage.apply(update)) {
        match update {
            RegistryUpdate::Put(value) => {
                held.insert(value.key(), serde_json::to_value(&value).unwrap());
            }
            RegistryUpdate::Remove(key) => drop(held.remove(&key)),
            RegistryUpdate::Replace { values, .. } => {
                let json = |value: Value| (value.key(), serde_json::to_value(&value).unwrap());
                held = values.into_iter().map(json).collect();
            }
            _ => {}
        }
    }
    held.into_iter().collect()
}

fn aliased() -> serde_json::Value {
    json!({
        "aliases": { "a.consul": "web.svc", "b.consul": "web.svc" },
        "services": ["!hidden"],
        "endpoints": ["!canary"],
        "labels": { "set": { "from": "consul" } },
    })
}

fn put(value: Value) -> RegistryUpdate {
    RegistryUpdate::Put(value)
}

#[test]
fn services_under_one_name_are_one_and_origins_stay_native() {
    let updates = vec![
        put(service("b.consul", 81, &[])),
        put(endpoints("b.consul", "10.0.0.2", &[])),
        put(service("a.consul", 80, &[])),
        put(endpoints("a.consul", "10.0.0.1", &[])),
        put(endpoints("c.consul", "10.0.0.3", &[("canary", "1")])),
    ];
    let held = held(export(aliased()), updates);
    let keys: Vec<String> = held.iter().map(|(key, _)| format!("{key:?}")).collect();
    let (web, c) = ("shop/web.svc", "shop/c.consul");
    let expected =
        [format!("Service({web})"), format!("Endpoints({c})"), format!("Endpoints({web})")];
    assert_eq!(keys, expected);
    let service = &held[0].1["Service"];
    assert_eq!(service["labels"], json!({ "from": "consul" }));
    let numbers: Vec<_> =
        service["ports"].as_array().unwrap().iter().map(|p| p["number"].clone()).collect();
    assert_eq!(numbers, [80, 81]);
    let origin = ObjectRef { kind: "service", name: "a.consul".into() };
    assert_eq!(service["origins"][0]["name"], json!(origin.name));
    assert_eq!(held[1].1["Endpoints"]["endpoints"], json!([]));
    let all = held[2].1["Endpoints"]["endpoints"].as_array().unwrap();
    let addresses: Vec<_> = all.iter().map(|e| e["address"].clone()).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn endpoints_go_and_return_with_the_labels_of_their_service() {
    let before = vec![
        put(service("c.consul", 80, &[])),
        put(endpoints("c.consul", "10.0.0.3", &[])),
        put(service("c.consul", 80, &[("hidden", "1")])),
    ];
    assert_eq!(held(export(aliased()), before.clone()), []);
    let mut after = before;
    after.push(put(service("c.consul", 80, &[])));
    assert_eq!(held(export(aliased()), after).len(), 2);
}

fn any_update() -> impl Strategy<Value = RegistryUpdate> {
    let host = prop::sample::select(vec!["a.consul", "b.consul", "c.consul", "web.svc"]);
    let label = prop::sample::select(vec!["hidden", "canary", "plain"]);
    (host, label, 0u8..4, 1u8..4).prop_map(|(host, label, what, n)| {
        let labels = [(label, "1")];
        match what {
            0 => put(service(host, 80 + u16::from(n), &labels)),
            1 => put(endpoints(host, &format!("10.0.0.{n}"), &labels)),
            2 => RegistryUpdate::Remove(Key::Service(key(host, "shop"))),
            _ => RegistryUpdate::Remove(Key::Endpoints(key(host, "shop"))),
        }
    })
}

proptest! {
    #[test]
    fn what_is_held_after_changes_equals_a_complete_state(
        updates in prop::collection::vec(any_update(), 0..40)
    ) {
        let mut natives = std::collections::BTreeMap::new();
        for update in &updates {
            match update {
                RegistryUpdate::Put(value) => drop(natives.insert(value.key(), value.clone())),
                RegistryUpdate::Remove(key) => drop(natives.remove(key)),
                _ => {}
            }
        }
        let values = natives.into_values().rev().collect();
        let whole = RegistryUpdate::Replace { values, rejected: Vec::new() };
        let at_once = held(export(aliased()), vec![whole]);
        prop_assert_eq!(held(export(aliased()), updates), at_once);
    }
}

#[test]
fn a_name_is_unloaded_while_one_of_its_natives_is() {
    let unloaded = |host| Value::Unloaded(key(host, "shop"));
    let native = |host| Key::Unloaded(key(host, "shop"));
    let rules =
        json!({ "aliases": { "a.consul": "x.svc", "b.consul": "x.svc" }, "exclude": ["c.consul"] });
    let named = [Key::Unloaded(key("x.svc", "shop"))];
    let all = ["a.consul", "b.consul", "c.consul"].map(unloaded);
    let said = |updates: Vec<RegistryUpdate>| -> Vec<Key> {
        held(export(rules.clone()), updates).into_iter().map(|(key, _)| key).collect()
    };
    let replaced = || RegistryUpdate::Replace { values: all.to_vec(), rejected: Vec::new() };
    assert_eq!(said(vec![replaced()]), named);
    assert_eq!(said(all.clone().map(put).to_vec()), named);
    let gone = |host| RegistryUpdate::Remove(native(host));
    assert_eq!(said(vec![replaced(), gone("a.consul")]), named);
    assert_eq!(said(vec![replaced(), gone("a.consul"), gone("b.consul")]), []);
}
