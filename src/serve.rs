//! `mainstem serve`: the control plane, from registries to sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use mainstem_translate::Settings;
use mainstem_xds::{Clients, Server};
use tokio::net::TcpListener;
use tracing::info;

use crate::admin::{self, App};
use crate::authentication::Gate;
use crate::configuration::{self, Followers};
use crate::listeners::Listeners;
use crate::metrics::{AuthMetrics, Metrics, Pushes};
use crate::spans::Spans;
use crate::supervise::Supervisor;
use crate::xds::Source;
use crate::{conflict_events, control_store, policies, registries, shutdown};

/// Runs the control plane until a signal ends it.
///
/// # Errors
/// When the configuration cannot be used, an address cannot be listened on, or
/// a core task fails.
pub async fn run(file: Option<PathBuf>) -> anyhow::Result<()> {
    let started = SystemTime::now();
    let shutdown = shutdown::on_signal().context("listening for signals")?;
    let config = Arc::new(configuration::load(file.as_deref())?);
    let mut listeners = Listeners::bind(&config.xds).await?;
    let admin = TcpListener::bind(config.admin.address.0)
        .await
        .with_context(|| format!("listening for the admin API on {}", config.admin.address))?;
    let (xds_address, admin_address) = (listeners.addresses(), admin.local_addr()?);
    let mut followers = Followers::new(config.clone(), file);
    let mut tasks = Supervisor::new(shutdown.clone());

    // Registries in.
    let (updates, receiver) = mainstem_registry::channel();
    tasks.spawn(
        "registries",
        registries::manage(followers.plan.subscribe(), updates.clone(), shutdown.clone()),
    );

    // One snapshot.
    let (mut publisher, published) = mainstem_aggregate::channel();
    if let Some(store) = control_store::of(&config) {
        publisher = publisher.with_store(store);
    }
    policies::restore(&followers.merging, &config).await;
    let merge = followers.merging.aggregate();
    let follow = policies::follow(
        followers.merging.clone(),
        followers.current.subscribe(),
        shutdown.clone(),
    );
    tasks.spawn("policies", follow);
    let aggregate = mainstem_aggregate::run(receiver, merge, publisher, shutdown.clone());
    tasks.spawn("aggregate", async move {
        aggregate.await;
        Ok(())
    });

    let events =
        conflict_events::report(published.clone(), followers.current.subscribe(), shutdown.clone());
    tasks.spawn("conflicts", events);

    // xDS out.
    let source = Source::new(&published, Settings::default(), config.cluster.clone());
    if let Some(directory) = &config.state.directory {
        source.keep_tracks(directory);
    }
    source.set_authorities(config.xds.authorities.iter().cloned());
    followers.source = Some(source.clone());
    tasks.spawn("scopes", source.clone().follow(shutdown.clone()));
    let (clients, pushes) = (Clients::default(), Pushes::default());
    source.tell_of(clients.clone());
    source.tell_needs(updates.clone());
    let spans = Spans::from_environment()?;
    source.trace(spans.clone());
    let server = Server::observed(
        config.xds.server(),
        Arc::new(source.clone()),
        clients.clone(),
        Arc::new((pushes.clone(), spans.clone())),
    );
    let loads = server.loads().clone();
    let auth = AuthMetrics::default();
    let gate = Gate::new(&config, source.clone(), auth.clone());
    listeners.observe(auth.clone());
    let current = followers.current.subscribe();
    tasks.spawn("xds", listeners.serve(server, gate, current, shutdown.clone()));

    // Operators.
    let current = followers.current.subscribe();
    let app = App {
        current,
        published,
        source,
        clients,
        started,
        updates,
        xds_address: xds_address.clone(),
        audit: Arc::default(),
        registrations: followers.stores.clone(),
        policies: followers.merging.judged(),
    };
    let router = admin::router(app.clone(), Metrics::new(app, &pushes, &auth, loads));
    tasks.spawn("admin", admin::serve(admin, router, shutdown.clone()));
    tasks.spawn("configuration", followers.follow(shutdown.clone()));

    info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = %config.cluster,
        xds = *xds_address.borrow(),
        admin = %admin_address,
        registries = config.registries.len(),
        "mainstem is serving"
    );
    let result = tasks.run().await;
    spans.flush().await;
    info!("stopped");
    result
}
