use mainstem_model::{Key, ServiceKey, WorkloadKey};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::{Said, config, full, good, store};
use super::*;
use crate::config::KubernetesConfig;
use crate::objects;

fn apply(store: &mut Store, kind: Kind, value: Value) {
    store.apply(kind, objects::read(kind, value));
}

fn service_key(name: &str, namespace: &str) -> ServiceKey {
    ServiceKey::new(format!("{name}.{namespace}.svc.cluster.local"), namespace)
}

fn external(name: &str, target: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "shop" },
        "spec": { "type": "ExternalName", "externalName": target },
    })
}

fn service(said: &Said, name: &str) -> Option<Value> {
    said.values.get(&Key::Service(service_key(name, "shop"))).map(|v| v["Service"].clone())
}

/// The keys of what is said when an object is changed.
fn touched(change: impl FnOnce(&mut Value), kind: Kind) -> Vec<Key> {
    let (mut store, _) = full();
    let mut value = good(kind);
    change(&mut value);
    apply(&mut store, kind, value);
    let keys = store.drain().into_iter().map(|update| match update {
        RegistryUpdate::Put(value) => value.key(),
        RegistryUpdate::Remove(key) => key,
        other => panic!("{other:?}"),
    });
    keys.collect()
}

fn web() -> ServiceKey {
    service_key("web", "shop")
}

fn db() -> ServiceKey {
    ServiceKey::new("db.example.com", "shop")
}

fn workload(name: &str) -> Key {
    Key::Workload(WorkloadKey::new("eu".into(), "shop".into(), name))
}

#[test]
fn a_pods_change_touches_its_workload_and_what_names_or_selects_it() {
    let relabelled = touched(|pod| pod["metadata"]["labels"]["v"] = json!("2"), Kind::Pod);
    let mut expected = vec![Key::Endpoints(db()), Key::Endpoints(web()), workload("web-1")];
    expected.sort();
    assert_eq!(relabelled, expected);
}

#[test]
fn a_pods_readiness_touches_what_selects_it_since_slices_have_their_own_word() {
    let unready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("False");
    assert_eq!(touched(unready, Kind::Pod), [Key::Endpoints(db()), workload("web-1")]);
}

#[test]
fn a_status_only_write_touches_at_most_the_value_that_shows_the_revision() {
    let write = |object: &mut Value| {
        object["metadata"]["resourceVersion"] = json!("8");
        object["status"]["observedGeneration"] = json!(3);
    };
    assert_eq!(touched(write, Kind::Pod), [workload("web-1")]);
    assert_eq!(touched(write, Kind::Node), []);
    assert_eq!(touched(write, Kind::Service), [Key::Service(web())]);
    assert_eq!(touched(write, Kind::Namespace), [Key::Namespace("shop".into())]);
    assert_eq!(touched(write, Kind::EndpointSlice), [Key::Endpoints(web())]);
}

#[test]
fn a_node_that_moves_takes_its_pods_along() {
    let moved = |node: &mut Value| {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("z2");
    };
    let keys = touched(moved, Kind::Node);
    assert!(keys.contains(&workload("web-1")) && keys.contains(&Key::Endpoints(web())), "{keys:?}");
}

#[test]
fn an_external_name_stands_for_the_end_of_its_chain_and_the_end_knows_it() {
    let mut store = store(&config());
    let mut said = Said::default();
    apply(&mut store, Kind::Service, external("a", "b.shop.svc.cluster.local"));
    apply(&mut store, Kind::Service, external("b", "c.shop.svc.cluster.local"));
    apply(&mut store, Kind::Service, json!({ "metadata": { "name": "c", "namespace": "shop" } }));
    said.hear(store.drain());
    let aliases = ["a.shop.svc.cluster.local", "b.shop.svc.cluster.local"];
    let c = "c.shop.svc.cluster.local";
    assert_eq!(service(&said, "a").unwrap()["aliasOf"], json!(c));
    assert_eq!(service(&said, "b").unwrap()["aliasOf"], json!(c));
    assert_eq!(service(&said, "c").unwrap()["aliases"], json!(aliases));

    apply(&mut store, Kind::Service, external("b", "db.example.com"));
    said.hear(store.drain());
    assert_eq!(service(&said, "a").unwrap()["aliasOf"], json!("db.example.com"));
    assert_eq!(service(&said, "c").unwrap()["aliases"], json!([]));
    assert_eq!(said, Said::all(&mut store));
}

#[test]
fn external_names_that_loop_are_dropped_and_named_until_they_do_not() {
    let mut store = store(&config());
    let mut said = Said::default();
    apply(&mut store, Kind::Service, external("a", "b.shop.svc.cluster.local"));
    apply(&mut store, Kind::Service, external("b", "a.shop.svc.cluster.local"));
    said.hear(store.drain());
    let named: Vec<_> = said.rejected.keys().map(|object| object.name.to_string()).collect();
    assert_eq!((said.values.len(), named), (0, vec!["shop/a".to_owned(), "shop/b".to_owned()]));

    apply(&mut store, Kind::Service, external("b", "db.example.com"));
    said.hear(store.drain());
    assert_eq!(said.rejected, BTreeMap::new());
    assert_eq!(service(&said, "a").unwrap()["aliasOf"], json!("db.example.com"));
    assert_eq!(said, Said::all(&mut store));
}

#[test]
fn a_service_comes_before_a_service_entry_of_its_name_and_takes_its_endpoints() {
    let (mut store, mut said) = full();
    let entry = json!({
        "metadata": { "name": "extra", "namespace": "shop", "resourceVersion": "9" },
        "spec": {
            "hosts": ["web.shop.svc.cluster.local"], "resolution": "STATIC",
            "ports": [{ "name": "http", "number": 15443 }],
            "endpoints": [{ "address": "10.3.0.1", "ports": { "http": 8080 } }],
        },
    });
    let before = service(&said, "web");
    apply(&mut store, Kind::ServiceEntry, entry);
    said.hear(store.drain());
    assert_eq!(service(&said, "web"), before);
    let set = &said.values[&Key::Endpoints(web())]["Endpoints"]["endpoints"];
    let mut addresses: Vec<_> =
        set.as_array().unwrap().iter().map(|e| e["address"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.1.0.1", "10.1.0.9", "10.2.0.1", "10.3.0.1"]);
}

#[test]
fn of_two_service_entries_of_one_host_the_older_one_speaks() {
    let entry = |name: &str, created: &str, port: u16| {
        json!({
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created },
            "spec": { "hosts": ["db.example.com"], "ports": [{ "name": "tcp", "number": port }] },
        })
    };
    let mut store = store(&config());
    apply(&mut store, Kind::ServiceEntry, entry("a", "2026-01-02T00:00:00Z", 1));
    apply(&mut store, Kind::ServiceEntry, entry("b", "2026-01-01T00:00:00Z", 2));
    let said = Said::all(&mut store);
    assert_eq!(said.values[&Key::Service(db())]["Service"]["ports"][0]["number"], json!(2));
}

#[test]
fn the_system_namespace_names_the_network_unless_the_configuration_does() {
    let system = json!({ "metadata": {
        "name": "istio-system", "labels": { "topology.istio.io/network": "net-1" },
    } });
    let network_of = |config: &KubernetesConfig| {
        let mut store = store(config);
        let mut said = Said::default();
        let mut pod = good(Kind::Pod);
        pod["metadata"]["labels"] = json!({});
        apply(&mut store, Kind::Pod, pod);
        apply(&mut store, Kind::WorkloadEntry, good(Kind::WorkloadEntry));
        said.hear(store.drain());
        apply(&mut store, Kind::Namespace, system.clone());
        said.hear(store.drain());
        assert_eq!(said, Said::all(&mut store));
        ["web-1", "vm"].map(|name| said.values[&workload(name)]["Workload"]["network"].clone())
    };
    assert_eq!(network_of(&config()), [json!("net-1"), json!("net-1")]);
    let own = KubernetesConfig { network: "own".into(), ..config() };
    assert_eq!(network_of(&own), [json!("own"), json!("own")]);
}

#[test]
fn a_list_removes_what_it_lacks_and_keeps_what_it_has_in_a_bad_state() {
    let (mut store, mut said) = full();
    apply(&mut store, Kind::Service, external("old", "old.example.com"));
    said.hear(store.drain());
    let mut bad = good(Kind::Service);
    bad["spec"]["ports"][0]["port"] = json!(0);
    let before = service(&said, "web");

    store.relist(Kind::Service, vec![objects::read(Kind::Service, bad)]);
    said.hear(store.drain());
    let rejected: Vec<_> = said.rejected.keys().map(ToString::to_string).collect();
    assert_eq!((service(&said, "old"), service(&said, "web")), (None, before));
    assert_eq!(rejected, ["Service shop/web"]);

    store.relist(Kind::Service, vec![]);
    said.hear(store.drain());
    assert_eq!((service(&said, "web"), said.rejected.len()), (None, 0));
}

/// One change of one object in a small world.
#[derive(Clone, Debug)]
enum Step {
    Put(Kind, Value),
    Remove(Kind, ObjectName),
}

fn world() -> impl Strategy<Value = Step> {
    let object = prop::sample::select(&Kind::ALL[..])
        .prop_flat_map(|kind| (Just(kind), 0..2usize, 0..2usize, 0..6usize, 0..4usize));
    (object, prop::bool::weighted(0.3)).prop_map(|((kind, n, space, variant, more), remove)| {
        let value = sample(kind, n, space, variant, more);
        let name = objects::read(kind, value.clone()).name;
        if remove { Step::Remove(kind, name) } else { Step::Put(kind, value) }
    })
}

/// The object `n` of a kind, in one of its variants.
fn sample(kind: Kind, n: usize, space: usize, variant: usize, more: usize) -> Value {
    let namespace = ["shop", "istio-system"][space];
    let name = format!("o{n}");
    let app = json!({ "app": format!("a{}", more % 2) });
    let meta = |labels: Value| {
        json!({ "name": name, "namespace": namespace, "labels": labels,
                "creationTimestamp": format!("2026-01-0{}T00:00:00Z", n + 1) })
    };
    match kind {
        Kind::Service => {
            let spec = match variant {
                0 | 1 => json!({ "clusterIP": "10.0.0.1", "selector": app,
                                 "ports": [{ "name": "http", "port": 80 + more }] }),
                2 => json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }],
                             "publishNotReadyAddresses": true }),
                3 => json!({ "type": "ExternalName", "externalName": "db.example.com" }),
                _ => json!({ "type": "ExternalName",
                             "externalName": format!("o{}.shop.svc.cluster.local", more % 2) }),
            };
            let labels = match variant {
                1 => json!({ "topology.istio.io/network": "n2" }),
                _ => json!({}),
            };
            let mut value = json!({ "metadata": meta(labels), "spec": spec });
            if variant == 1 {
                value["spec"]["externalIPs"] = json!([format!("192.0.2.{more}")]);
            }
            value
        }
        Kind::EndpointSlice => {
            let target = json!({ "kind": "Pod", "name": format!("o{}", variant % 2) });
            json!({
                "metadata": meta(json!({ "kubernetes.io/service-name": format!("o{}", more % 2) })),
                "ports": [{ "name": "http", "port": 8080 }],
                "endpoints": [
                    { "addresses": ["10.1.0.1"], "targetRef": target,
                      "conditions": { "ready": variant < 4 } },
                    { "addresses": ["10.1.0.2"], "nodeName": "o1" },
                ],
            })
        }
        Kind::Pod => json!({
            "metadata": meta(app),
            "spec": { "nodeName": format!("o{}", variant % 2) },
            "status": {
                "phase": if variant == 5 { "Failed" } else { "Running" },
                "podIP": format!("10.1.0.{}", more % 3),
                "conditions": [{ "type": "Ready", "status": if more == 3 { "False" } else { "True" } }],
            },
        }),
        Kind::Node => json!({ "metadata": {
            "name": name, "labels": { "topology.kubernetes.io/zone": format!("z{more}") },
        } }),
        Kind::Namespace => json!({ "metadata": {
            "name": namespace,
            "labels": { "mesh": if variant < 4 { "on" } else { "off" },
                        "topology.istio.io/network": format!("net-{}", more % 2) },
            "annotations": match variant {
                0 => json!({ "networking.istio.io/traffic-distribution": "PreferClose" }),
                _ => json!({}),
            },
        } }),
        Kind::ServiceEntry => {
            let host = ["db.example.com", "o0.shop.svc.cluster.local"][variant % 2];
            let mut spec = json!({ "hosts": [host], "resolution": "STATIC",
                                   "ports": [{ "name": "http", "number": 80 + more }] });
            if variant < 3 {
                spec["workloadSelector"] = json!({ "labels": app });
            } else {
                spec["endpoints"] = json!([{ "address": format!("10.3.0.{more}") }]);
            }
            json!({ "metadata": meta(json!({})), "spec": spec })
        }
        Kind::WorkloadEntry => json!({
            "metadata": meta(app),
            "spec": { "address": format!("10.2.0.{more}"), "weight": variant },
        }),
    }
}

fn with_selectors(selected: bool) -> KubernetesConfig {
    let selectors = json!([{ "matchLabels": { "mesh": "on" } }]);
    let selectors = serde_json::from_value(selectors).unwrap();
    KubernetesConfig { discovery_selectors: if selected { selectors } else { vec![] }, ..config() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_changes_ends_where_a_list_of_what_is_left_begins(
        steps in prop::collection::vec((world(), any::<bool>()), 1..40),
        selected in any::<bool>(),
    ) {
        let config = with_selectors(selected);
        let mut store = store(&config);
        let (mut said, mut left) = (Said::default(), BTreeMap::new());
        for (step, drain) in steps {
            match step {
                Step::Put(kind, value) => {
                    let item = objects::read(kind, value);
                    left.insert((kind, item.name.clone()), item.clone());
                    store.apply(kind, item);
                }
                Step::Remove(kind, name) => {
                    left.remove(&(kind, name.clone()));
                    store.remove(kind, &name);
                }
            }
            if drain {
                said.hear(store.drain());
            }
        }
        said.hear(store.drain());

        let mut fresh = super::samples::store(&config);
        for kind in Kind::ALL.into_iter().rev() {
            let items = left.iter().filter(|((of, _), _)| *of == kind);
            fresh.relist(kind, items.map(|(_, item)| item.clone()).collect());
        }
        prop_assert_eq!(&said, &Said::all(&mut store));
        prop_assert_eq!(&said, &Said::all(&mut fresh));
    }
}
