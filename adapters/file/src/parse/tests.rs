#![allow(clippy::unwrap_used)]

use mainstem_model::{Key, RegistryId};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::FileConfig;

fn read(text: &str) -> Parsed {
    let config = FileConfig::new("static", "unused");
    let around = convert::around(&config, &RegistryId::new("file", "static"));
    parse(&around, Source { name: "a.yaml", text }, 100)
}

fn ids(parsed: &Parsed) -> Vec<String> {
    parsed.objects.iter().map(|object| object.id.to_string()).collect()
}

/// Object, whether it is told which one, and the first line of the reason.
fn refused(parsed: &Parsed) -> Vec<(String, bool, &str)> {
    let shown = |refused: &'_ Refused| (refused.rejected.object.to_string(), refused.identified);
    let reasons = parsed.refused.iter().map(|r| r.rejected.reason.lines().next().unwrap());
    let objects = parsed.refused.iter().map(shown);
    objects.zip(reasons).map(|((object, told), reason)| (object, told, reason)).collect()
}

#[test]
fn a_file_may_hold_every_kind() {
    let parsed = read(
        r#"
defaults: { namespace: shop }
services:
- hostname: orders.shop.svc.cluster.local
- hostname: legacy.example.com
- hostname: other.example.com
  namespace: ops
workloads:
- { name: vm-1, addresses: [10.0.0.1] }
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: { name: db, namespace: data, creationTimestamp: null, uid: x }
spec: { hosts: [db.example.com, db2.example.com], resolution: DNS }
status: { anything: 1 }
---
apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: WorkloadEntry
  metadata: { name: vm-2 }
  spec: { address: 10.0.0.2 }
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: { name: routes, namespace: shop, labels: { a: b } }
  spec: { hosts: [x] }
- apiVersion: v1
  kind: Namespace
  metadata: { name: shop, labels: { team: a } }
"#,
    );

    assert_eq!(refused(&parsed), []);
    assert_eq!(
        ids(&parsed),
        [
            "Service a.yaml#shop/orders.shop.svc.cluster.local",
            "Service a.yaml#shop/legacy.example.com",
            "Service a.yaml#ops/other.example.com",
            "Workload a.yaml#shop/vm-1",
            "ServiceEntry a.yaml#data/db",
            "WorkloadEntry a.yaml#default/vm-2",
            "VirtualService a.yaml#shop/routes",
            "Namespace a.yaml#shop",
        ]
    );
    let keys: Vec<Key> =
        parsed.objects.iter().flat_map(|o| o.values.iter().map(Value::key)).collect();
    assert_eq!(keys.len(), 3 * 2 + 1 + 2 * 2 + 1 + 1 + 1);
}

#[test]
fn each_malformed_object_is_refused_alone() {
    let parsed = read(
        r#"
services:
- hostname: good.example.com
- hostname: bad.example.com
  ports: [{ number: 0, name: http }, { number: 80, name: http }]
- hostnme: nameless.example.com
- hostname: good.example.com
workloads:
- { name: vm-1, addresses: [] }
- { name: vm-2, addresses: [10.0.0.2] }
servces: []
---
a: [unclosed
---
services: 7
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: db }
spec:
  hosts: [db.example.com]
  resolution: STATIC
  ports: [{ number: 80, name: http }]
  endpoints:
  - { address: 10.0.0.1, ports: { htpt: 8080 } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { namespace: x }
---
just a word
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: fine }
spec: { address: 10.0.0.9 }
"#,
    );

    assert_eq!(
        ids(&parsed),
        [
            "Service a.yaml#default/good.example.com",
            "Workload a.yaml#default/vm-2",
            "WorkloadEntry a.yaml#default/fine",
        ]
    );
    let expected = [
        (
            "Document a.yaml#1",
            false,
            "a.yaml:11:1: unknown field \"servces\"; did you mean \"services\"?",
        ),
        (
            "Service a.yaml#default/bad.example.com",
            true,
            "a.yaml:5:21: ports[0].number: 0 is no port; ports are 1 to 65535",
        ),
        (
            "Service a.yaml#1/services[2]",
            false,
            "a.yaml:6:3: unknown field \"hostnme\"; did you mean \"hostname\"?",
        ),
        (
            "Service a.yaml#default/good.example.com at line 7",
            true,
            "a.yaml:7:3: a.yaml#default/good.example.com stands in this file twice; the one at line 3 counts",
        ),
        ("Workload a.yaml#default/vm-1", true, "a.yaml:9:28: addresses: has no address"),
        ("Document a.yaml#2", false, "a.yaml:13:4: unclosed bracket '['"),
        ("Document a.yaml#3", false, "a.yaml:15:11: services: expected a list, found `7`"),
        (
            "ServiceEntry a.yaml#default/db",
            true,
            "a.yaml:25:41: spec.endpoints[0].ports.htpt: no port is named \"htpt\"; there are: http",
        ),
        (
            "Document a.yaml#5",
            false,
            "a.yaml:28:7: Deployment of apps/v1 is not read from files; there are ServiceEntry, \
             WorkloadEntry, Namespace, List, AuthorizationPolicy, DestinationRule, EnvoyFilter, \
             Gateway, PeerAuthentication, ProxyConfig, RequestAuthentication, Sidecar, Telemetry, \
             TrafficExtension, VirtualService, WasmPlugin, WorkloadGroup",
        ),
        ("Document a.yaml#6", false, "a.yaml:33:11: metadata.name is missing"),
        (
            "Document a.yaml#7",
            false,
            "a.yaml:35:1: expected services, workloads or a Kubernetes object, found the text \"just a word\"",
        ),
    ];
    let expected: Vec<_> =
        expected.map(|(object, told, reason)| (object.to_owned(), told, reason)).into();
    assert_eq!(refused(&parsed), expected);
}

#[test]
fn a_selecting_service_waits_for_its_workloads() {
    let parsed = read(
        "services:\n- { hostname: a.b, selector: { app: a }, ports: [{ number: 80 }] }\n\
         - { hostname: c.d, aliasOf: a.b }\n",
    );
    let brings: Vec<_> =
        parsed.objects.iter().map(|o| (o.values.len(), o.selecting.len())).collect();
    assert_eq!(brings, [(1, 1), (1, 0)]);
}

#[test]
fn the_revision_follows_the_object_and_its_defaults() {
    let revision = |text: &str| read(text).objects[0].revision;
    let plain = revision("services: [{hostname: a.b}]");
    assert_eq!(plain, revision("# moved\n\nservices:\n- hostname: a.b\n- hostname: c.d\n"));
    assert_ne!(plain, revision("services: [{hostname: a.b, external: true}]"));
    assert_ne!(plain, revision("defaults: {network: n}\nservices: [{hostname: a.b}]"));
}

#[test]
fn too_many_documents_keep_the_first() {
    let parsed = read(&"---\nservices: [{hostname: a.b}]\n".repeat(101));
    let last = parsed.refused.last().unwrap();
    assert_eq!(last.rejected.object.to_string(), "File a.yaml");
    assert!(last.rejected.reason.starts_with("a.yaml:201:1: more than 100 documents"));
}

#[rstest]
#[case("kind: ServiceEntry", "apiVersion is missing")]
#[case("apiVersion: networking.istio.io/v1", "kind is missing")]
#[case(
    "apiVersion: networking.istio.io/v7\nkind: ServiceEntry",
    "ServiceEntry has no version networking.istio.io/v7; there are v1, v1beta1 and v1alpha3"
)]
#[case(
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspek: {}",
    "unknown field \"spek\"; did you mean \"spec\"?"
)]
#[case(
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}",
    "spec is missing"
)]
#[case(
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {host: x}",
    "spec: unknown field \"host\"; did you mean \"hosts\"?"
)]
#[case("apiVersion: v1\nkind: List\nitems: 3", "items: expected a list of objects")]
fn a_frame_that_does_not_fit_is_refused(#[case] text: &str, #[case] expected: &str) {
    let parsed = read(text);
    let reason = &parsed.refused[0].rejected.reason;
    assert!(parsed.objects.is_empty());
    assert!(reason.lines().next().unwrap().ends_with(expected), "{reason}");
}

/// A value of the kind that the schema has, or something else.
fn value(depth: u32) -> BoxedStrategy<serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        prop_oneof![Just(0), Just(80), any::<i64>()].prop_map(Into::into),
        prop::sample::select(vec![
            "",
            "a.b",
            "http",
            "10.0.0.1",
            "*",
            "unix:///x",
            "STATIC",
            "x/y"
        ])
        .prop_map(Into::into),
        "[ -~é]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        let fields = prop::sample::select(vec![
            "hostname",
            "namespace",
            "ports",
            "number",
            "name",
            "protocol",
            "targetPort",
            "addresses",
            "address",
            "endpoints",
            "selector",
            "labels",
            "weight",
            "health",
            "hosts",
            "resolution",
            "port",
            "aliasOf",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(fields.prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

proptest! {
    #[test]
    fn whatever_stands_beside_them_good_objects_are_read(
        service in value(4),
        workload in value(3),
        spec in value(4),
    ) {
        let text = format!(
            "services:\n- {service}\n- {{hostname: good.example.com}}\n\
             workloads:\n- {workload}\n- {{name: good, addresses: [10.0.0.1]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: any}}\nspec: {spec}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata: {{name: any}}\nspec: {spec}\n\
             ---\nservices: [{{hostname: last.example.com}}]\n"
        );
        let parsed = read(&text);
        let ids = ids(&parsed);
        for good in [
            "Service a.yaml#default/good.example.com",
            "Workload a.yaml#default/good",
            "Service a.yaml#default/last.example.com",
        ] {
            prop_assert!(ids.iter().any(|id| id == good), "{good} of {ids:?} in {text}");
        }
        prop_assert_eq!(parsed.objects.len() + parsed.refused.len(), 7);
    }

    #[test]
    fn no_text_panics(text in "(?s)(services:\n- |kind: |apiVersion: v1\n|---\n|.{0,20}){0,8}") {
        read(&text);
    }
}
