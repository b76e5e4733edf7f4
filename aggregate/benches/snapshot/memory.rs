//! What is resident after each kind of value has arrived.

use std::fs;
use std::time::Duration;

use mainstem_aggregate::Aggregate;
use mainstem_model::{RegistryUpdate, Value};
use mainstem_registry::Batch;

use crate::world::{self, ENDPOINTS, REGISTRIES};

pub const HEADER: &str = "\
| services | endpoints | services with endpoints, bytes an endpoint | of these endpoints alone | pods, bytes each |
|---:|---:|---:|---:|---:|";

/// Pods first, then services, then endpoints, so that each adds what is its own:
/// held by the aggregate and in the snapshot together.
pub fn measure(services: usize) {
    let mut aggregate = Aggregate::new(world::config());
    let mut pods: Vec<Vec<_>> = Vec::new();
    let empty = resident();

    each(services, |n, registry| pods.push(world::pods(n, registry)));
    let mut next = pods.iter();
    each(services, |_, registry| {
        let pods = next.next().unwrap().iter().cloned().map(Value::Workload);
        hear(&mut aggregate, registry, pods);
    });
    let with_pods = resident();

    each(services, |n, registry| hear(&mut aggregate, registry, world::service(n, registry)));
    let with_services = resident();

    let mut next = pods.iter();
    each(services, |n, registry| {
        let endpoints = world::endpoints(n, registry, 1, next.next().unwrap());
        hear(&mut aggregate, registry, endpoints);
    });
    let with_endpoints = resident();

    let snapshot = aggregate.snapshot();
    let endpoints = services * ENDPOINTS;
    let published: usize =
        snapshot.services().filter_map(|s| snapshot.endpoints(&s.key)).map(|set| set.len()).sum();
    assert_eq!((snapshot.service_count(), published), (services, endpoints));
    println!(
        "| {services} | {endpoints} | {} | {} | {} |",
        (with_endpoints - with_pods) / endpoints,
        (with_endpoints - with_services) / endpoints,
        (with_pods - empty) / snapshot.workloads().count(),
    );
}

fn each(services: usize, mut act: impl FnMut(usize, usize)) {
    for n in 0..services {
        (0..REGISTRIES.len()).for_each(|registry| act(n, registry));
    }
}

fn hear(aggregate: &mut Aggregate, registry: usize, values: impl IntoIterator<Item = Value>) {
    let mut batch = Batch::default();
    values.into_iter().for_each(|value| batch.merge(RegistryUpdate::Put(value)));
    let dirty = aggregate.apply(REGISTRIES[registry].into(), batch);
    aggregate.publish(&dirty);
}

/// Resident bytes of this process.
fn resident() -> usize {
    // The allocator gives freed pages back after a moment.
    std::thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
