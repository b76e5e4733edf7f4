//! Objects for tests.

use std::collections::BTreeMap;

use mainstem_model::{Key, ObjectRef, RegistryId, RegistryUpdate, Rejected};
use serde_json::{Value, json};

use super::Store;
use crate::PROVIDER;
use crate::api::Kind;
use crate::config::KubernetesConfig;
use crate::convert::Settings;
use crate::objects;

pub(crate) fn config() -> KubernetesConfig {
    KubernetesConfig::new("eu")
}

pub(crate) fn store(config: &KubernetesConfig) -> Store {
    Store::new(Settings::new(RegistryId::new(PROVIDER, "eu"), config), config)
}

/// A good object of a kind, of which others would notice a change.
pub(crate) fn good(kind: Kind) -> Value {
    let meta = |name: &str, labels: Value| {
        json!({ "name": name, "namespace": "shop", "resourceVersion": "7", "labels": labels,
                "creationTimestamp": "2026-01-01T00:00:00Z" })
    };
    match kind {
        Kind::Service => json!({
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": "7",
                "labels": { "topology.istio.io/network": "n2" },
                "annotations": {
                    "networking.istio.io/exportTo": ".,other",
                    "traffic.istio.io/nodeSelector": "{\"edge\": \"yes\"}",
                },
            },
            "spec": {
                "type": "NodePort", "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.1"],
                "selector": { "app": "web" },
                "ports": [{ "name": "http", "port": 15443, "targetPort": "main", "nodePort": 30000 }],
            },
        }),
        Kind::EndpointSlice => json!({
            "metadata": meta("web-1", json!({ "kubernetes.io/service-name": "web" })),
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }],
            "endpoints": [
                { "addresses": ["10.1.0.1"], "conditions": { "ready": true }, "nodeName": "n1",
                  "targetRef": { "kind": "Pod", "name": "web-1", "namespace": "shop" } },
                { "addresses": ["10.1.0.9"] },
            ],
        }),
        Kind::Pod => json!({
            "metadata": meta("web-1", json!({ "app": "web", "topology.istio.io/network": "n1" })),
            "spec": { "nodeName": "n1", "serviceAccountName": "web", "containers": [
                { "ports": [{ "name": "main", "containerPort": 8080 }] },
            ] },
            "status": { "phase": "Running", "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }],
                        "conditions": [{ "type": "Ready", "status": "True" }] },
        }),
        Kind::Node => json!({
            "metadata": { "name": "n1", "labels": {
                "topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z",
                "edge": "yes",
            } },
            "status": { "addresses": [{ "type": "ExternalIP", "address": "198.51.100.1" }] },
        }),
        Kind::Namespace => json!({
            "metadata": { "name": "shop", "resourceVersion": "7", "annotations": {
                "networking.istio.io/traffic-distribution": "PreferClose",
            } },
        }),
        Kind::ServiceEntry => json!({
            "metadata": meta("db", json!({})),
            "spec": {
                "hosts": ["db.example.com"], "resolution": "STATIC",
                "ports": [{ "name": "tcp", "number": 5432, "protocol": "TCP" }],
                "workloadSelector": { "labels": { "app": "web" } },
            },
        }),
        Kind::WorkloadEntry => json!({
            "metadata": meta("vm", json!({ "app": "web" })),
            "spec": { "address": "10.2.0.1", "serviceAccount": "vm", "weight": 2,
                      "ports": { "http": 8081 } },
        }),
    }
}

/// Leaves the content.
fn strip_revisions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("revision");
            members.values_mut().for_each(strip_revisions);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_revisions),
        _ => {}
    }
}

/// What a store has said, as its receiver holds it, revisions aside.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) values: BTreeMap<Key, Value>,
    pub(crate) rejected: BTreeMap<ObjectRef, Rejected>,
}

impl Said {
    pub(crate) fn hear(&mut self, updates: Vec<RegistryUpdate>) {
        for update in updates {
            match update {
                RegistryUpdate::Put(value) => {
                    let mut written = serde_json::to_value(&value).expect("values can be written");
                    strip_revisions(&mut written);
                    self.values.insert(value.key(), written);
                }
                RegistryUpdate::Remove(key) => drop(self.values.remove(&key)),
                RegistryUpdate::Reject(r) => drop(self.rejected.insert(r.object.clone(), r)),
                RegistryUpdate::Accept(object) => drop(self.rejected.remove(&object)),
                other => panic!("a store does not say {other:?}"),
            }
        }
    }

    /// Everything that a store says at once.
    pub(crate) fn all(store: &mut Store) -> Self {
        let (values, rejected) = store.all();
        let mut said = Self::default();
        said.hear(values.into_iter().map(RegistryUpdate::Put).collect());
        said.hear(rejected.into_iter().map(RegistryUpdate::Reject).collect());
        said
    }
}

/// A store that holds a good object of every kind, and what it has said.
pub(crate) fn full() -> (Store, Said) {
    let mut store = store(&config());
    for kind in Kind::ALL {
        store.apply(kind, objects::read(kind, good(kind)));
    }
    let mut said = Said::default();
    said.hear(store.drain());
    assert_eq!(said.rejected, BTreeMap::new());
    (store, said)
}

/// Whether an object among good ones is understood, or rejected while everything
/// stays as it was; and whether what is said bit by bit equals what is said at once.
pub(crate) fn assert_harmless(kind: Kind, value: Value) {
    let (mut store, mut said) = full();
    let item = objects::read(kind, value);
    let before = said.values.clone();
    let name = item.name.to_string();
    store.apply(kind, item);
    said.hear(store.drain());
    if let Some(rejected) = said.rejected.values().next() {
        assert_eq!(rejected.object, ObjectRef { kind: kind.name(), name: name.as_str().into() });
        assert_eq!(said.values, before);
    }
    assert_eq!(said, Said::all(&mut store));
}
