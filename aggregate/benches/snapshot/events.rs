//! The time from an adapter's word to the swapped pointer.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_aggregate::{AggregateConfig, Debounce, Published, channel, run};
use mainstem_model::{
    Condition, Endpoint, EndpointSet, Health, Key, Labels, RegistryUpdate, Service, Snapshot, Value,
};
use mainstem_registry::UpdateSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{self, REGISTRIES};

const PASSES: usize = 20;
const ROUNDS: usize = 1_000;

pub const HEADER: &str = "\
| services | event | p50 µs | p99 µs | max µs |
|---:|---|---:|---:|---:|";

/// Measures each kind of event, one at a time.
pub fn measure(services: usize) {
    let mesh = Mesh::start(services, quick());
    for (name, registry, event) in EVENTS {
        let [p50, p99, max] = mesh.measure(registry, event);
        println!("| {services} | {name} | {p50:.0} | {p99:.0} | {max:.0} |");
    }
}

/// The aggregate's loop with everything that the registries have.
pub struct Mesh {
    services: usize,
    senders: [UpdateSender; 4],
    config: watch::Sender<AggregateConfig>,
    task: JoinHandle<()>,
    reader: Reader,
    /// Events so far: no two rounds say the same.
    rounds: Cell<usize>,
}

impl Mesh {
    /// Runs the loop on one thread, so that other cores' wake-up times are not
    /// measured, and waits until it has published all services.
    pub fn start(services: usize, config: AggregateConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (updates, receiver) = mainstem_registry::channel();
        let (config, settings) = watch::channel(config);
        let (publisher, published) = channel();
        let task = runtime.spawn(run(receiver, settings, publisher, CancellationToken::new()));
        let senders = REGISTRIES.map(|id| updates.sender(id.into()));
        for (registry, sender) in senders.iter().enumerate() {
            sender.replace(everything(registry, services), Vec::new());
            sender.send(RegistryUpdate::Condition(Condition::Live));
        }
        let reader = Reader { published, runtime };
        let synced = |snapshot: &Snapshot| snapshot.registries().values().all(|state| state.synced);
        reader.wait(&mut |snapshot| snapshot.service_count() == services && synced(snapshot));
        Self { services, senders, config, task, reader, rounds: Cell::new(0) }
    }

    /// Percentiles of the time from the adapter's call to the moment when a waiting
    /// reader has the new snapshot. Of several passes the one with the lowest p99
    /// counts: a busy machine takes the core away for milliseconds, which is
    /// nothing that the aggregate could help.
    pub fn measure(&self, registry: usize, event: Event) -> [f64; 3] {
        let pass = |_| {
            let times = (0..ROUNDS).map(|_| {
                let round = self.rounds.replace(self.rounds.get() + 1);
                let (n, update) = event(round, self.services, registry);
                self.reader.time(&self.senders[registry], n, update)
            });
            percentiles(times.collect())
        };
        // The first pass warms up.
        let passes = (0..=PASSES).map(pass).skip(1);
        passes.min_by(|a, b| a[1].total_cmp(&b[1])).unwrap()
    }

    /// Changes what no snapshot depends on.
    pub fn replace_config(&self, config: AggregateConfig) {
        self.config.send_replace(config);
    }

    /// Changes the configuration; returns how long it took until a snapshot that
    /// follows from it was published.
    pub fn configure(&self, config: AggregateConfig) -> Duration {
        let before = self.reader.published.snapshots.load().generation();
        let start = Instant::now();
        self.config.send_replace(config);
        self.reader.wait(&mut |snapshot| snapshot.generation() > before);
        start.elapsed()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The service that changes in a round, and what its registry says.
pub type Event = fn(usize, usize, usize) -> (usize, RegistryUpdate);

const EVENTS: [(&str, usize, Event); 4] = [
    ("endpoint of a Kubernetes service", 0, kubernetes_endpoint),
    ("endpoint of Consul on a Kubernetes service", 2, consul_endpoint),
    ("new definition of a service", 0, definition),
    ("service removed or added", 0, coming_and_going),
];

/// Everything published at once: what waits on purpose is no cost.
pub fn quick() -> AggregateConfig {
    let debounce =
        Debounce { quiet: Duration::ZERO, longest: Duration::ZERO, spacing: Duration::ZERO };
    AggregateConfig { debounce, ..world::config() }
}

pub fn everything(registry: usize, services: usize) -> Vec<Value> {
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

pub fn kubernetes_endpoint(
    round: usize,
    services: usize,
    registry: usize,
) -> (usize, RegistryUpdate) {
    endpoint_event(spread(round, services, round % 5), registry, round)
}

fn consul_endpoint(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    endpoint_event(spread(round, services, 7), registry, round)
}

/// An endpoint of Kubernetes in a service that all registries share.
pub fn shared_weight(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    endpoint_event(spread(round, services, world::OF_ALL), registry, round)
}

/// An endpoint of Consul there that becomes degraded or well: with its health
/// everybody's share may change.
pub fn shared_health(round: usize, services: usize, registry: usize) -> (usize, RegistryUpdate) {
    let n = spread(round, services, world::OF_ALL);
    let weight = u32::try_from(round + 2).unwrap();
    let value = world::endpoints(n, registry, weight, &[]);
    let Some(Value::Endpoints(set)) = value else { unreachable!() };
    let mut all = set.endpoints().to_vec();
    let health = [Health::Degraded, Health::Healthy][round % 2];
    all[0] = Arc::new(Endpoint { health, ..Endpoint::clone(&all[0]) });
    (n, RegistryUpdate::Put(Value::Endpoints(Arc::new(EndpointSet::new(world::key(n), all)))))
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
        // What a policy leaves out is merged, and changes nothing.
        assert!(
            changes.is_empty()
                || changes.services.contains(&key)
                || changes.endpoints.contains(&key)
        );
        took
    }
}

/// 50th, 99th and 100th percentile in microseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort();
    [50, 99, 100].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6)
}
