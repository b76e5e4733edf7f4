//! Instances converted a second: from an answer's bytes to a service and its endpoints.

#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mainstem_consul::ConsulConfig;
use mainstem_consul::api::{Instance, RawInstance};
use mainstem_consul::convert::{Context, assemble, contribution};
use mainstem_model::{RegistryId, ServiceKey};
use serde_json::{Value, json};

const INSTANCES: u64 = 1_000;

fn body() -> Vec<u8> {
    let check = |id: String, service: &str| {
        json!({"Node": "n", "CheckID": id, "Status": "passing", "ServiceName": service,
               "Output": "HTTP GET http://10.0.0.1:8080/health: 200 OK", "ModifyIndex": 9})
    };
    let one = |i: u64| {
        json!({
            "Node": {"Node": format!("node-{i}"), "Address": "10.0.0.9", "Datacenter": "dc1",
                     "Meta": {"region": "eu", "zone": "eu-1"}, "ModifyIndex": 5},
            "Service": {"ID": format!("web-{i}"), "Service": "web",
                        "Tags": ["version=v1", "env=prod"],
                        "Address": format!("10.1.{}.{}", i / 250, i % 250), "Port": 8080,
                        "Meta": {"protocol": "http", "service-port": "80"},
                        "Weights": {"Passing": 1, "Warning": 1}, "ModifyIndex": 7},
            "Checks": [check("serfHealth".to_owned(), ""), check(format!("up-{i}"), "web")],
        })
    };
    Value::from((0..INSTANCES).map(one).collect::<Vec<_>>()).to_string().into_bytes()
}

fn convert(criterion: &mut Criterion) {
    let body = body();
    let (config, registry) = (ConsulConfig::new("vm"), RegistryId::new("consul", "vm"));
    let context = Context { config: &config, registry: &registry, datacenter: "dc1" };
    let key = ServiceKey::new("web.service.dc1.consul", "default");
    let mut group = criterion.benchmark_group("consul");
    group.throughput(Throughput::Elements(INSTANCES));
    group.bench_function("convert", |bencher| {
        bencher.iter(|| {
            let read: Vec<Instance> =
                serde_json::from_slice(black_box(&body)).expect("our own JSON");
            let made: Vec<_> = read
                .into_iter()
                .map(|one| -> RawInstance { Ok(one) })
                .filter_map(|one| contribution(context, "web", &one).expect("sound instances"))
                .collect();
            black_box(assemble(context, "web", &key, &made))
        });
    });
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
