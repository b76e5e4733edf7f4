//! What a change costs a real Consul, and how long it takes to be seen.
//!
//! For each catalog: queries and bytes of one change of health of a service with
//! a query of its own (hot) and of one without (cold), and of one change of a
//! cold service that no check tells (its port). Delays are from the write's
//! return to the update; queries and bytes count until then. Then a catalog that is
//! loaded on demand, and what a minute costs in which nothing changes.
//!
//! `--on-demand` measures that alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_consul::{ConsulAdapter, ConsulConfig, TlsConfig, Traffic};
use mainstem_model::{Health, Key, ServiceKey, TimeSpan, Value};
use mainstem_registry::Interest;
use mainstem_test_support::battery::{View, Watch};
use mainstem_test_support::{Consul, ConsulOptions, Scratch};
use serde_json::{Value as Json, json};

const ROUNDS: usize = 20;
/// Longer than a change may put off asking for the list of services.
const AFTERWARDS: Duration = Duration::from_secs(6);
const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    consul: Consul,
    watch: Watch,
    traffic: Arc<Traffic>,
    services: usize,
    first_sync: Duration,
    _scratch: Scratch,
}

/// One kind of change, measured.
#[derive(Default)]
struct Costs {
    delays: Vec<Duration>,
    queries: u64,
    bytes: u64,
}

/// A node of a thousand services.
fn node(i: usize) -> String {
    format!("vms-{}", i / 1_000)
}

fn service(i: usize, port: u16) -> Json {
    let name = format!("many-{i}");
    json!({"Service": {"Verb": "set", "Node": node(i),
        "Service": {"ID": name, "Service": name, "Address": "10.9.0.1", "Port": port}}})
}

fn check(i: usize, status: &str) -> Json {
    let name = format!("many-{i}");
    json!({"Check": {"Verb": "set", "Check": {"Node": node(i), "CheckID": format!("c-{name}"),
        "Name": "up", "Status": status, "ServiceID": name}}})
}

fn is(view: &View, i: usize, port: u16, health: Health) -> Result<(), String> {
    let key = ServiceKey::new(format!("many-{i}.service.dc1.consul"), "default");
    match view.values.get(&Key::Endpoints(key)) {
        Some(Value::Endpoints(set)) => match set.endpoints() {
            [one] if (one.target_port, one.health) == (port, health) => Ok(()),
            _ => Err("another state".to_owned()),
        },
        _ => Err("unknown".to_owned()),
    }
}

impl Scene {
    /// With the probe off, and queries that wait for longer than the benchmark lasts.
    async fn set(services: usize, tls: bool) -> Self {
        Self::set_with(services, tls, |config| ConsulConfig {
            probe_interval: TimeSpan::from_secs(3600),
            ..config
        })
        .await
    }

    async fn set_with(
        services: usize,
        tls: bool,
        with: impl FnOnce(ConsulConfig) -> ConsulConfig,
    ) -> Self {
        let mut options = ConsulOptions::default();
        (options.tls, options.connection_limit) = (tls, 200);
        let consul = Consul::start(options).await;
        let set = |node: String| json!({"Node": {"Verb": "set", "Node": {"Node": node, "Address": "10.9.9.9"}}});
        let nodes = (0..services).step_by(1_000).map(|i| set(node(i)));
        consul.txn(&nodes.collect::<Vec<_>>()).await;
        consul.txn(&(0..services).map(|i| service(i, 8080)).collect::<Vec<_>>()).await;
        consul.txn(&(0..services).map(|i| check(i, "passing")).collect::<Vec<_>>()).await;
        let scratch = Scratch::new("load");
        let ca = consul.ca().map(|ca| scratch.write("ca.pem", ca.pem()));
        let adapter = ConsulAdapter::new(with(ConsulConfig {
            address: consul.http_url(),
            tls: TlsConfig { ca, ..TlsConfig::default() },
            ..ConsulConfig::new("vm")
        }));
        let (registry, traffic) = (adapter.registry(), adapter.traffic());
        let start = Instant::now();
        let mut watch = Watch::start(registry, Box::new(adapter));
        watch.until("the first sync", View::live).await;
        let first_sync = start.elapsed();
        Self { consul, watch, traffic, services, first_sync, _scratch: scratch }
    }

    async fn change(
        &mut self,
        operation: Json,
        i: usize,
        port: u16,
        health: Health,
        to: &mut Costs,
    ) {
        let before = (self.traffic.queries(), self.traffic.bytes());
        self.consul.txn(&[operation]).await;
        let start = Instant::now();
        self.watch.until("the change", |view| is(view, i, port, health)).await;
        to.delays.push(start.elapsed());
        to.queries += self.traffic.queries() - before.0;
        to.bytes += self.traffic.bytes() - before.1;
    }

    /// Changes of health; `spread` changes another service each time.
    async fn flips(&mut self, first: usize, spread: bool) -> Costs {
        let mut costs = Costs::default();
        for round in 0..ROUNDS {
            let i = if spread { first - round } else { first };
            let (status, health) = match (spread, round % 2) {
                (false, 1) => ("passing", Health::Healthy),
                _ => ("critical", Health::Unhealthy),
            };
            self.change(check(i, status), i, 8080, health, &mut costs).await;
        }
        costs
    }

    /// Changes that no check tells, of another service each time, with what follows when
    /// all are over.
    async fn ports(&mut self, first: usize) -> Costs {
        let before = (self.traffic.queries(), self.traffic.bytes());
        let mut costs = Costs::default();
        for i in (first - ROUNDS + 1..=first).rev() {
            self.change(service(i, 9090), i, 9090, Health::Healthy, &mut costs).await;
        }
        tokio::time::sleep(AFTERWARDS).await;
        costs.queries = self.traffic.queries() - before.0;
        costs.bytes = self.traffic.bytes() - before.1;
        costs
    }
}

fn row(what: &str, scene: &Scene, kind: &str, mut costs: Costs) {
    costs.delays.sort();
    let milliseconds = |at: usize| costs.delays[at].as_secs_f64() * 1000.0;
    let rounds = ROUNDS as f64;
    println!(
        "| {what} | {} | {:.2} | {kind} | {:.1} | {:.1} | {:.0} | {:.0} |",
        scene.services,
        scene.first_sync.as_secs_f64(),
        costs.queries as f64 / rounds,
        costs.bytes as f64 / rounds / 1000.0,
        milliseconds(ROUNDS / 2),
        milliseconds(ROUNDS - 1),
    );
}

async fn over_tls(services: usize) {
    let what = "HTTP/2 over TLS";
    let mut scene = Scene::set(services, true).await;
    let last = services - 1;
    let costs = scene.flips(last, false).await;
    row(what, &scene, "health", costs);
    let costs = scene.ports(last - 100).await;
    row(what, &scene, "registration", costs);
}

async fn over_plain_http(services: usize) {
    let what = "plain HTTP, 128";
    let mut scene = Scene::set(services, false).await;
    let last = services - 1;
    let costs = scene.flips(last, false).await;
    row(what, &scene, "health, same service", costs);
    if services > 500 {
        let costs = scene.flips(last - 100, true).await;
        row(what, &scene, "health, each a cold service", costs);
        let costs = scene.ports(last - 300).await;
        row(what, &scene, "registration, each a cold service", costs);
    }
}

/// A minute in which each blocking query ends once, as none does in the first of the
/// five minutes that it waits by default.
async fn idle(services: usize, tls: bool) {
    let scene =
        Scene::set_with(services, tls, |config| ConsulConfig { wait: MINUTE.into(), ..config })
            .await;
    // The first queries are under way, each at its own pace.
    tokio::time::sleep(MINUTE).await;
    let before = (scene.traffic.queries(), scene.traffic.bytes());
    tokio::time::sleep(MINUTE).await;
    let queries = scene.traffic.queries() - before.0;
    let bytes = (scene.traffic.bytes() - before.1) as f64 / 1000.0;
    let transport = if tls { "HTTP/2 over TLS" } else { "plain HTTP, 128" };
    println!(
        "| {transport} | {services} | | an idle minute, `wait: 1m` | {queries} | {bytes:.0} | | |"
    );
}

/// A catalog of which a hundredth of a percent is needed: what the list costs, one more
/// service that somebody needs, its changes, and registrations that nobody needs.
async fn on_demand(services: usize) {
    let what = "plain HTTP, on demand";
    let with = |config| ConsulConfig { on_demand: true, ..config };
    let mut scene = Scene::set_with(services, false, with).await;
    let (queries, bytes) = (scene.traffic.queries(), scene.traffic.bytes() as f64 / 1000.0);
    let first = scene.first_sync.as_secs_f64();
    println!(
        "| {what} | {services} | {first:.2} | the list, nothing loaded | {queries} | {bytes:.0} | | |"
    );
    let (mut interest, mut costs) = (Interest::default(), Costs::default());
    for i in 0..ROUNDS {
        interest.hosts.insert(format!("many-{i}.service.dc1.consul").as_str().into(), ());
        scene.watch.need(interest.clone());
        let before = (scene.traffic.queries(), scene.traffic.bytes());
        let start = Instant::now();
        scene.watch.until("it is loaded", |view| is(view, i, 8080, Health::Healthy)).await;
        costs.delays.push(start.elapsed());
        costs.queries += scene.traffic.queries() - before.0;
        costs.bytes += scene.traffic.bytes() - before.1;
    }
    row(what, &scene, "somebody needs a service", costs);
    let costs = scene.flips(0, false).await;
    row(what, &scene, "health of one that is needed", costs);
    let before = (scene.traffic.queries(), scene.traffic.bytes());
    let mut costs = Costs { delays: vec![Duration::ZERO; ROUNDS], ..Costs::default() };
    for i in services - ROUNDS..services {
        scene.consul.txn(&[service(i, 9090)]).await;
    }
    tokio::time::sleep(AFTERWARDS).await;
    costs.queries = scene.traffic.queries() - before.0;
    costs.bytes = scene.traffic.bytes() - before.1;
    row(what, &scene, "registration that nobody needs", costs);
}

#[tokio::main]
async fn main() {
    println!("| transport | services | first sync s | change | queries | kB | p50 ms | max ms |");
    println!("|---|---|---|---|---|---|---|---|");
    // `cargo test --all-targets` runs this too; it is to show only that it works.
    let full = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if full { &[1_000, 10_000] } else { &[200] };
    let only = std::env::args().any(|argument| argument == "--on-demand");
    for services in sizes.iter().filter(|_| !only) {
        over_tls(*services).await;
        over_plain_http(*services).await;
    }
    for services in if full { &[10_000, 100_000] } else { sizes } {
        on_demand(*services).await;
    }
    if full && !only {
        for tls in [true, false] {
            idle(sizes[0], tls).await;
        }
    }
}
