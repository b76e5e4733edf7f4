//! What translating costs, and how much it tells a proxy.
//!
//! Sizes first: bytes for one sidecar that sees 1,000 services with 10 endpoints
//! each. Then times, at several sizes of the mesh of which each proxy sees 1,000
//! services: they should not grow with it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use mainstem_model::{
    Address, Endpoint, EndpointSet, Labels, Locality, MeshSettings, Place, Port, Protocol, Proxy,
    RegistryId, Service, ServiceKey, Snapshot, Sourced, TargetPort, Visibility, WorkloadKey,
};
use mainstem_translate::{Attached, Kind, Scopes, Settings};
use serde_json::json;

const VISIBLE: usize = 1_000;
const ENDPOINTS: u8 = 10;
const PROXIES: usize = 100;

/// Services in groups of 1,000, each group for the namespaces `tenant-N`.
fn mesh(services: usize) -> Arc<Snapshot> {
    let mut draft = Snapshot::new(MeshSettings::default()).edit();
    for n in 0..services {
        let key = key_of(n);
        let registry = RegistryId::new("kubernetes", "c1");
        let name = format!("tenant-{}/service-{n}", n / VISIBLE);
        let origins = Sourced::only(&registry, "Service", &name, "1");
        let mut service = Service::new(key, origins);
        service.ports = vec![Port {
            number: 80,
            name: "http".into(),
            protocol: Protocol::Http,
            target: TargetPort::Number(8080),
        }];
        let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
        service.addresses = [("c1".into(), vec![[10, a, b, c].into()])].into();
        service.visibility = Visibility::Namespaces([namespace_of(n).into()].into());
        draft.put_service(Arc::new(service));
        draft.put_endpoints(endpoints(n, 1));
    }
    Arc::new(draft.finish())
}

fn namespace_of(n: usize) -> String {
    format!("tenant-{}", n / VISIBLE)
}

fn key_of(n: usize) -> ServiceKey {
    let namespace = namespace_of(n);
    ServiceKey::new(format!("service-{n}.{namespace}.svc.cluster.local"), namespace)
}

fn endpoints(n: usize, weight: u32) -> Arc<EndpointSet> {
    let registry = RegistryId::new("kubernetes", "c1");
    let origins = Sourced::only(&registry, "EndpointSlice", "slice", "1");
    let [_, a, b, _] = u32::try_from(n).unwrap().to_be_bytes();
    let all = (0..ENDPOINTS).map(|last| {
        let name = format!("service-{n}-6d4f8c9b7-x{last}z9q");
        let mut endpoint =
            Endpoint::new(80, Address::Ip([10, a, b, last].into()), 8080, origins.clone());
        endpoint.weight = if last == 0 { weight } else { 1 };
        let locality = Locality::new("eu", if last < 5 { "eu-1" } else { "eu-2" }, "");
        endpoint.place = Place { cluster: "c1".into(), locality, ..Place::default() }.into();
        let app = format!("service-{n}");
        endpoint.labels =
            Labels::from_iter([("app", app.as_str()), ("pod-template-hash", "6d4f8c9b7")]);
        endpoint.workload =
            Some(WorkloadKey::new("c1".into(), namespace_of(n).as_str().into(), &name));
        Arc::new(endpoint)
    });
    Arc::new(EndpointSet::new(key_of(n), all.collect()))
}

fn proxy(n: usize, tenants: usize) -> Proxy {
    let namespace = format!("tenant-{}", n % tenants);
    let id =
        format!("sidecar~10.200.0.{}~pod-{n}.{namespace}~{namespace}.svc.cluster.local", n % 250);
    Proxy::parse(&id, json!({}), Locality::default(), &"c1".into()).unwrap()
}

fn attach(scopes: &Scopes, count: usize, tenants: usize) -> Vec<Arc<Attached>> {
    (0..count).map(|n| scopes.attach(proxy(n, tenants))).collect()
}

fn sizes() {
    let scopes = Scopes::new(Settings::default(), mesh(VISIBLE));
    let attached = scopes.attach(proxy(0, 1));
    let moment = attached.moment();
    let mut total = 0;
    for kind in Kind::ALL {
        let view = moment.view(kind);
        let bytes: usize = view.iter().map(|resource| resource.body.len()).sum();
        println!("{kind:?}: {} resources, {bytes} bytes", view.len());
        total += bytes;
    }
    println!("total: {total} bytes for a sidecar\n");
}

/// Time of `rounds` updates, the making of snapshots apart.
fn updates(
    scopes: &Scopes,
    snapshot: &mut Arc<Snapshot>,
    rounds: u64,
    mut change: impl FnMut(&mut mainstem_model::Draft, u64),
) -> Duration {
    let mut spent = Duration::ZERO;
    for round in 0..rounds {
        let mut draft = snapshot.edit();
        change(&mut draft, round);
        *snapshot = Arc::new(draft.finish());
        let start = Instant::now();
        black_box(scopes.update(snapshot));
        spent += start.elapsed();
    }
    spent
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one change, 100 proxies that see 1,000 services");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for services in [1_000, 10_000, 100_000] {
        let mut snapshot = mesh(services);
        let scopes = Scopes::new(Settings::default(), snapshot.clone());
        let _attached = attach(&scopes, PROXIES, services / VISIBLE);
        group.bench_function(BenchmarkId::new("endpoint", services), |bencher| {
            bencher.iter_custom(|rounds| {
                updates(&scopes, &mut snapshot, rounds, |draft, round| {
                    let weight = 2 + u32::try_from(round % 7).unwrap();
                    draft.put_endpoints(endpoints(7, weight));
                })
            });
        });
        group.bench_function(BenchmarkId::new("service", services), |bencher| {
            bencher.iter_custom(|rounds| {
                updates(&scopes, &mut snapshot, rounds, |draft, round| {
                    let mut service = (**draft.current().service(&key_of(7)).unwrap()).clone();
                    let last = u8::try_from(round % 7).unwrap();
                    service.addresses = [("c1".into(), vec![[10, 99, 0, last].into()])].into();
                    draft.put_service(Arc::new(service));
                })
            });
        });
    }
    group.finish();
}

fn cold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold, 1,000 services");
    group.sample_size(10);
    let snapshot = mesh(VISIBLE);
    for proxies in [1, 1_000] {
        group.bench_function(BenchmarkId::new("proxies", proxies), |bencher| {
            bencher.iter_with_large_drop(|| {
                let scopes = Scopes::new(Settings::default(), snapshot.clone());
                let attached = attach(&scopes, proxies, 1);
                (attached, scopes)
            });
        });
    }
    group.finish();
}

fn main() {
    sizes();
    let mut criterion = Criterion::default().configure_from_args();
    cold(&mut criterion);
    changes(&mut criterion);
    criterion.final_summary();
}
