//! The time from an adapter's word to the swapped pointer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_aggregate::{AggregateConfig, Debounce, Published, channel, run};
use mainstem_model::{Key, Labels, RegistryUpdate, Service, Snapshot, Value};
use mainstem_registry::UpdateSender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::{self, REGISTRIES};

const PASSES: usize = 5;
const ROUNDS: usize = 1_000;

pub const HEADER: &str = "\
| services | event | p50 µs | p99 µs | max µs |
|---:|---|---:|---:|---:|";

/// Runs the aggregate's loop and measures each kind of event, one at a time, from
/// the adapter's call to the moment when a waiting reader has the new snapshot.
/// One thread does it all, so that other cores' wake-up times are not measured. Of
/// several passes the one with the lowest p99 counts: a busy machine takes the
/// core away for milliseconds, which is nothing that the aggregate could help.
pub fn measure(services: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let (updates, receiver) = mainstem_registry::channel();
    let (_config, settings) = watch::channel(quick());
    let (publisher, published) = channel();
    let task = runtime.spawn(run(receiver, settings, publisher, CancellationToken::new()));
    let senders = REGISTRIES.map(|id| updates.sender(id.into()));
    for (registry, sender) in senders.iter().enumerate() {
        sender.replace(everything(registry, services), Vec::new());
    }
    let reader = Reader { published, runtime };
    reader.wait(&mut |snapshot| snapshot.service_count() == services);

    for (name, registry, event) in EVENTS {
        let pass = |pass: usize| {
            let rounds = pass * ROUNDS..(pass + 1) * ROUNDS;
            let times = rounds.map(|round| {
                let (n, update) = event(round, services, registry);
                reader.time(&senders[registry], n, update)
            });
            percentiles(times.collect())
        };
        // The first pass warms up.
        let passes = (0..=PASSES).map(pass).skip(1);
        let [p50, p99, max] = passes.min_by(|a, b| a[1].total_cmp(&b[1])).unwrap();
        println!("| {services} | {name} | {p50:.0} | {p99:.0} | {max:.0} |");
    }
    task.abort();
}

type Event = fn(usize, usize, usize) -> (usize, RegistryUpdate);

const EVENTS: [(&str, usize, Event); 4] = [
    ("endpoint of a Kubernetes service", 0, kubernetes_endpoint),
    ("endpoint of Consul on a Kubernetes service", 2, consul_endpoint),
    ("new definition of a service", 0, definition),
    ("service removed or added", 0, coming_and_going),
];

/// Everything published at once: what waits on purpose is no cost.
fn quick() -> AggregateConfig {
    let debounce =
        Debounce { quiet: Duration::ZERO, longest: Duration::ZERO, spacing: Duration::ZERO };
    AggregateConfig { debounce, ..world::config() }
}

fn everything(registry: usize, services: usize) -> Vec<Value> {
    let of_service = |n| {
        let pods = world::pods(n, registry);
        let endpoints = world::endpoints(n, registry, 1, &pods);
        let service = world::service(n, registry);
        let pods = pods.into_iter().map(Value::Workload);
        service.into_iter().chain(endpoints).chain(pods).collect::<Vec<_>>()
    };
    (0..services).flat_map(of_service).collect()
}

/// Another service each round, spread over the whole mesh, of the wanted kind.
fn spread(round: usize, services: usize, kind: usize) -> usize {
    (round * 7919) % (services / 10) * 10 + kind
}

fn endpoint_event(n: usize, registry: usize, round: usize) -> (usize, RegistryUpdate) {
    let weight = u32::try_from(round + 2).unwrap();
    let pods = world::pods(n, registry);
    (n, RegistryUpdate::Put(world::endpoints(n, registry, weight, &pods).unwrap()))
}

fn kubernetes_endpoint(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    endpoint_event(spread(round, services, round % 5), registry, round)
}

fn consul_endpoint(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    endpoint_event(spread(round, services, 7), registry, round)
}

fn definition(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    let n = spread(round, services, round % 5);
    let Some(Value::Service(service)) = world::service(n, registry) else { unreachable!() };
    let labels = Labels::from_iter([("round", round.to_string())]);
    let service = Service { labels, ..Service::clone(&service) };
    (n, RegistryUpdate::Put(Value::Service(Arc::new(service))))
}

fn coming_and_going(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    let n = spread(round / 2, services, 1);
    let update = match round % 2 {
        0 => RegistryUpdate::Remove(Key::Service(world::key(n))),
        _ => RegistryUpdate::Put(world::service(n, registry).unwrap()),
    };
    (n, update)
}

struct Reader {
    published: Published,
    runtime: tokio::runtime::Runtime,
}

impl Reader {
    fn wait(&self, fits: &mut dyn FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut snapshots = self.published.snapshots.clone();
        self.runtime.block_on(snapshots.wait_for(|snapshot| fits(snapshot))).unwrap()
    }

    fn time(&self, sender: &UpdateSender, n: usize, update: RegistryUpdate) -> Duration {
        let key = world::key(n);
        let before = self.published.snapshots.load().generation();
        let mut snapshots = self.published.snapshots.clone();
        let start = Instant::now();
        let after = self.runtime.block_on(async {
            sender.send(update);
            snapshots.wait_for(|snapshot| snapshot.generation() > before).await.unwrap()
        });
        let took = start.elapsed();
        let changes = after.changes_since(before).unwrap();
        assert!(changes.services.contains(&key) || changes.endpoints.contains(&key));
        took
    }
}

/// 50th, 99th and 100th percentile in microseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort();
    [50, 99, 100].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6)
}
