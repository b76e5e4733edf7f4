//! Endpoints converted a second: from the JSON of Services, EndpointSlices and
//! Pods to services, endpoints and workloads.

#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mainstem_kubernetes::{KubernetesConfig, check};
use serde_json::{Value, json};

const SERVICES: u64 = 100;
const PODS: u64 = 10;

fn service(s: u64) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": format!("web-{s}"), "namespace": "shop", "resourceVersion": "7",
                     "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "ClusterIP", "clusterIP": format!("10.0.{}.{}", s / 250, s % 250 + 1),
                 "selector": {"app": format!("web-{s}")},
                 "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

fn slice(s: u64) -> Value {
    let endpoint = |p: u64| {
        json!({"addresses": [address(s, p)], "nodeName": format!("node-{p}"), "zone": "eu-1",
               "conditions": {"ready": true, "serving": true, "terminating": false},
               "targetRef": {"kind": "Pod", "name": format!("web-{s}-{p}"), "namespace": "shop"}})
    };
    json!({
        "kind": "EndpointSlice",
        "metadata": {"name": format!("web-{s}-x"), "namespace": "shop", "resourceVersion": "8",
                     "labels": {"kubernetes.io/service-name": format!("web-{s}")}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..PODS).map(endpoint).collect::<Vec<_>>(),
    })
}

fn pod(s: u64, p: u64) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": format!("web-{s}-{p}"), "namespace": "shop", "resourceVersion": "9",
                     "labels": {"app": format!("web-{s}"), "version": "v1"}},
        "spec": {"nodeName": format!("node-{p}"), "serviceAccountName": "web",
                 "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": address(s, p), "podIPs": [{"ip": address(s, p)}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn address(s: u64, p: u64) -> String {
    format!("10.{}.{}.{}", s / 250 + 1, s % 250, p + 1)
}

/// As `kubectl get services,endpointslices,pods -o json` writes them.
fn body() -> Vec<u8> {
    let one = |s: u64| [service(s), slice(s)].into_iter().chain((0..PODS).map(move |p| pod(s, p)));
    json!({"items": (0..SERVICES).flat_map(one).collect::<Vec<_>>()}).to_string().into_bytes()
}

fn convert(criterion: &mut Criterion) {
    let (body, config) = (body(), KubernetesConfig::new("eu"));
    let checked = check(&config, &body).expect("our own JSON");
    assert_eq!(checked.rejected, [], "sound objects");
    let mut group = criterion.benchmark_group("kubernetes");
    group.throughput(Throughput::Elements(SERVICES * PODS));
    group.bench_function("convert", |bencher| {
        bencher.iter(|| check(&config, black_box(&body)));
    });
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
