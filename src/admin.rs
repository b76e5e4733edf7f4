//! The admin API: readiness, metrics, and what the operator's verbs show and change.
//!
//! ```text
//! request ─ access: who may? ─▶ handlers, dump, explain ─ views, control ─▶ what is so   (routes)
//!               │                verbs ─ decide ─▶ Change ─▶ control state
//!               │                registrations ─▶ the store of a memory registry
//!               └──────────────▶ audit ◀─┘
//! ```
//!
//! It listens on loopback unless the configuration says otherwise. What reads is open
//! there; what changes something needs the admin token, or for registrations one of their
//! registry, and is written to the audit log.

mod access;
mod audit;
mod control;
mod decide;
mod dump;
mod explain;
mod handlers;
mod registrations;
mod routes;
mod verbs;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use axum::Extension;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use mainstem_aggregate::Published;
use mainstem_memory::Stores;
use mainstem_registry::Updates;
use mainstem_xds::Clients;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::audit::{Audit, Record};
use self::routes::Route;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::policies::Judged;
use crate::xds::Source;

/// The configuration in force, and why a newer one is not.
#[derive(Clone, Debug)]
pub struct Current {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its file, if it has one.
    pub file: Option<PathBuf>,
    /// Since when it is in force.
    pub since: SystemTime,
    /// Why a newer one was refused.
    pub error: Option<String>,
}

/// All that the admin API reads.
#[derive(Clone)]
pub struct App {
    /// The configuration in force.
    pub current: watch::Receiver<Current>,
    /// What the aggregate publishes.
    pub published: Published,
    /// What proxies are told.
    pub source: Source,
    /// Who is connected.
    pub clients: Clients,
    /// When the process started.
    pub started: SystemTime,
    /// What registries say, and how steadily.
    pub updates: Updates,
    /// Where proxies are served.
    pub xds_address: watch::Receiver<String>,
    /// Where changes are written down.
    pub audit: Arc<Audit>,
    /// What registered itself.
    pub registrations: Stores,
    /// What became of policies.
    pub policies: watch::Receiver<Arc<Judged>>,
}

impl App {
    /// Writes an attempt down that comes to nothing.
    fn audit(&self, record: Record) {
        if let Err(error) = self.try_audit(record) {
            warn!(%error, "the audit log cannot be written");
        }
    }

    /// Writes an attempt down; fails when the audit log cannot be written.
    fn try_audit(&self, record: Record) -> std::io::Result<()> {
        let file = self.current.borrow().config.admin.audit_file.clone();
        self.audit.write(file.as_deref(), record)
    }
}

/// What answers each path, and who is let through to it.
pub fn router(app: App, metrics: Metrics) -> Router {
    let add = |router: Router<App>, route: Route| router.route(route.path, route.handler);
    routes::all()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(handlers::unknown)
        .layer(Extension(Arc::new(metrics)))
        .layer(DefaultBodyLimit::max(64 << 10))
        .layer(middleware::from_fn_with_state(app.clone(), access::guard))
        .with_state(app)
}

/// Serves the API until the shutdown.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("serving the admin API")
}
