//! The control plane: what `mainstem serve` wires together, with a registry in
//! memory that can change as fast as it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstem::metrics::Pushes;
use mainstem::xds::Source;
use mainstem_aggregate::{AggregateConfig, RegistrySettings};
use mainstem_registry::UpdateSender;
use mainstem_translate::Settings;
use mainstem_xds::{Clients, Listener, Server, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::child;
use crate::observer::{Observer, Tally};
use crate::process;
use crate::world::{CLUSTER, REGISTRY, World};

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// One endpoint of another service each time, until so many ACKs came.
    Changes { rounds: usize, acks: usize, gap: Duration },
    /// Endpoints said again as they are; answered by the number of messages sent.
    Nothing { rounds: usize },
    /// So many changes a second, over all services.
    Storm { rate: u32, lasting: Duration },
    /// What the process has used.
    Usage,
}

/// Runs until the driver is gone.
pub fn run(world: &World) {
    process::pin(0);
    drop(mainstem::telemetry::init(None, Default::default()));
    let runtime = mainstem::allocator::runtime().unwrap();
    runtime.block_on(serve(world));
}

async fn serve(world: &World) {
    let shutdown = CancellationToken::new();
    let (updates, receiver) = mainstem_registry::channel();
    let (publisher, published) = mainstem_aggregate::channel();
    let (_merge, merge) = watch::channel(AggregateConfig {
        cluster: CLUSTER.into(),
        registries: vec![RegistrySettings::new(REGISTRY.into())],
        ..AggregateConfig::default()
    });
    tokio::spawn(mainstem_aggregate::run(receiver, merge, publisher, shutdown.clone()));

    let source = Source::new(&published, Settings::default(), CLUSTER.into());
    tokio::spawn(source.clone().follow(shutdown.clone()));
    let observer = Observer { tally: Arc::default(), metrics: Pushes::default() };
    let tally = observer.tally.clone();
    let server = Server::observed(
        ServerConfig::default(),
        Arc::new(source),
        Clients::default(),
        Arc::new(observer),
    );
    let listener = Listener::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(async move { server.serve(listener, shutdown).await });

    let registry = updates.sender(REGISTRY.into());
    registry.replace(world.values(), Vec::new());
    let mut snapshots = published.snapshots.clone();
    snapshots.wait_for(|now| now.service_count() == world.services).await.unwrap();
    assert!(published.readiness.clone().ready().await);
    child::reply(&address);
    let said = vec![0; world.services];
    Feed { world, registry, tally, said, changes: 0 }.obey().await;
}

/// The registry's side.
struct Feed<'a> {
    world: &'a World,
    registry: UpdateSender,
    tally: Arc<Tally>,
    /// How often each service was changed.
    said: Vec<usize>,
    changes: usize,
}

impl Feed<'_> {
    async fn obey(&mut self) {
        let mut orders = child::orders();
        while let Some(order) = orders.recv().await {
            let tally = self.tally.clone();
            match order {
                Order::Changes { rounds, acks, gap } => {
                    child::reply(&tally.rounds(rounds, acks, gap, |_| self.change()).await);
                }
                Order::Nothing { rounds } => {
                    (0..rounds).for_each(|n| self.say(n % self.world.services));
                    child::reply(&tally.quiet().await);
                }
                Order::Storm { rate, lasting } => {
                    child::reply(&tally.storm(rate, lasting, |_| self.change()).await);
                }
                Order::Usage => child::reply(&process::usage()),
            }
        }
    }

    /// One endpoint of the next service that all proxies see.
    fn change(&mut self) {
        let step = if self.world.private { self.world.namespaces } else { 1 };
        let service = self.changes * step % self.world.services;
        self.changes += 1;
        self.said[service] += 1;
        self.say(service);
    }

    fn say(&self, service: usize) {
        self.registry.put(self.world.endpoints(service, self.said[service]));
    }
}
