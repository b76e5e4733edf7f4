#![allow(clippy::unwrap_used)]

use mainstem_model::{RegistryId, ServiceKey};
use pretty_assertions::assert_eq;

use super::*;
use crate::FileConfig;
use crate::convert;
use crate::parse::parse;
use crate::yaml::Source;

fn parsed(name: &str, text: &str) -> Parsed {
    let config = FileConfig::new("static", "unused");
    let around = convert::around(&config, &RegistryId::new("file", "static"));
    parse(&around, Source { name, text }, 100)
}

fn held(files: &[(&str, &str)]) -> Holdings {
    let mut holdings = Holdings::default();
    read(&mut holdings, files);
    holdings.whole();
    holdings
}

fn read(holdings: &mut Holdings, files: &[(&str, &str)]) {
    let read = files.iter().map(|(name, text)| (Arc::from(*name), parsed(name, text)));
    holdings.take(read.collect(), &BTreeSet::new());
}

/// The updates in short, in order.
fn said(updates: Vec<RegistryUpdate>) -> Vec<String> {
    let short = |update| match update {
        RegistryUpdate::Put(value) => format!("put {}", key(&value.key())),
        RegistryUpdate::Remove(gone) => format!("remove {}", key(&gone)),
        RegistryUpdate::Reject(rejected) => format!("reject {}", rejected.object.name),
        RegistryUpdate::Accept(object) => format!("accept {}", object.name),
        other => format!("{other:?}"),
    };
    updates.into_iter().map(short).collect()
}

fn key(key: &Key) -> String {
    match key {
        Key::Service(key) => format!("service {}", key.hostname()),
        Key::Endpoints(key) => format!("endpoints {}", key.hostname()),
        Key::Workload(key) => format!("workload {}", key.name()),
        other => format!("{other:?}"),
    }
}

const A: &str =
    "- { hostname: a.x, ports: [{ number: 80 }], endpoints: [{ address: 10.0.0.1 }] }\n";
const B: &str =
    "- { hostname: b.x, ports: [{ number: 80 }], endpoints: [{ address: 10.0.0.2 }] }\n";

fn services(items: &[&str]) -> String {
    format!("services:\n{}", items.concat())
}

#[test]
fn only_what_changed_is_said() {
    let mut holdings = held(&[("f", &services(&[A, B]))]);

    let external = B.replace("b.x,", "b.x, external: true,");
    read(&mut holdings, &[("f", &services(&["# moved\n", &external, A]))]);
    assert_eq!(said(holdings.changes()), ["put service b.x", "put endpoints b.x"]);

    read(&mut holdings, &[("f", &services(&[&external]))]);
    assert_eq!(said(holdings.changes()), ["remove service a.x", "remove endpoints a.x"]);

    holdings.take(BTreeMap::new(), &["f".into()].into());
    assert_eq!(said(holdings.changes()), ["remove service b.x", "remove endpoints b.x"]);
}

#[test]
fn a_malformed_object_keeps_its_last_good_form() {
    let mut holdings = held(&[("f", &services(&[A, B]))]);

    let bad = A.replace("ports", "prots");
    read(&mut holdings, &[("f", &services(&[&bad]))]);
    assert_eq!(
        said(holdings.changes()),
        ["remove service b.x", "remove endpoints b.x", "reject f#default/a.x"],
        "what is missing is gone, what is malformed stays"
    );

    read(&mut holdings, &[("f", &services(&[A]))]);
    assert_eq!(said(holdings.changes()), ["accept f#default/a.x"]);
}

#[test]
fn what_cannot_be_told_to_be_another_object_may_be_any_that_is_missed() {
    let good = format!("{}---\n{}", services(&[A]), services(&[B]));
    let mut holdings = held(&[("f", &good), ("g", "services: [{ hostname: c.x }]")]);

    read(&mut holdings, &[("f", &format!("{}---\nservices: [\n", services(&[A]))), ("g", "")]);
    assert_eq!(
        said(holdings.changes()),
        ["remove service c.x", "remove endpoints c.x", "reject f#2"],
        "of this file nothing goes, of others what is missed"
    );

    let nameless = B.replace("hostname", "hostnme");
    read(&mut holdings, &[("f", &services(&[A, &nameless]))]);
    assert_eq!(said(holdings.changes()), ["reject f#1/services[1]", "accept f#2"]);

    read(&mut holdings, &[("f", &services(&[A]))]);
    assert_eq!(
        said(holdings.changes()),
        ["remove service b.x", "remove endpoints b.x", "accept f#1/services[1]"]
    );
}

#[test]
fn the_first_of_two_objects_with_one_name_counts() {
    let mut holdings = held(&[("b", &services(&[A]))]);
    let address = A.replace("10.0.0.1", "10.0.0.9");

    read(&mut holdings, &[("c", &services(&[&address]))]);
    let updates = holdings.changes();
    let [RegistryUpdate::Reject(rejected)] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(
        rejected.reason,
        "c:2:3: service default/a.x is already declared by Service b#default/a.x; that one counts"
    );

    read(&mut holdings, &[("a", &services(&[&address]))]);
    assert_eq!(
        said(holdings.changes()),
        ["put service a.x", "put endpoints a.x", "reject b#default/a.x", "reject c#default/a.x"],
        "the third names another winner now"
    );
}

#[test]
fn workloads_of_any_file_are_selected_and_a_change_touches_only_their_services() {
    let selecting = "services:\n- { hostname: s.x, ports: [{ number: 80, name: web }], selector: { app: s } }\n";
    let vm = |address: &str, app: &str| {
        format!("workloads: [{{ name: vm, addresses: [{address}], labels: {{ app: {app} }} }}]")
    };
    let mut holdings =
        held(&[("s", selecting), ("o", &services(&[A])), ("w", &vm("10.0.0.1", "s"))]);
    let addresses = |holdings: &Holdings| -> Vec<String> {
        let key = Key::Endpoints(ServiceKey::new("s.x", "default"));
        let Value::Endpoints(set) = &holdings.values[&key] else { panic!("no endpoints") };
        set.endpoints().iter().map(|e| e.address.to_string()).collect()
    };
    assert_eq!(addresses(&holdings), ["10.0.0.1"]);

    read(&mut holdings, &[("w", &vm("10.0.0.7", "s"))]);
    assert_eq!(said(holdings.changes()), ["put endpoints s.x", "put workload vm"]);
    assert_eq!(addresses(&holdings), ["10.0.0.7"]);

    read(&mut holdings, &[("w", &vm("10.0.0.7", "other"))]);
    assert_eq!(said(holdings.changes()), ["put endpoints s.x", "put workload vm"]);
    assert_eq!(addresses(&holdings), [""; 0]);

    read(&mut holdings, &[("w", &vm("10.0.0.7", "other"))]);
    assert_eq!(said(holdings.changes()), [""; 0]);
}

#[test]
fn the_same_files_give_the_same_values_in_any_order() {
    let files: [(&str, String); 3] =
        [("a", services(&[A])), ("b", services(&[A, B])), ("c", services(&[B]))];
    let whole = |order: &[usize]| {
        let mut holdings = Holdings::default();
        for index in order {
            let (name, text) = &files[*index];
            read(&mut holdings, &[(name, text)]);
        }
        format!("{:?}", holdings.whole())
    };
    assert_eq!(whole(&[0, 1, 2]), whole(&[2, 1, 0]));
}
