//! The admin API: readiness, metrics, and what the operator's verbs show and change.
//!
//! ```text
//! request ─ access: who may? ─▶ handlers, dump ─ views, control ─▶ what is so
//!               │                verbs ─ decide ─▶ Change ─▶ control state
//!               └──────────────▶ audit ◀─┘
//! ```
//!
//! It listens on loopback unless the configuration says otherwise. What reads is open
//! there; what changes something needs the admin token, and is written to the audit log.

mod access;
mod audit;
mod control;
mod decide;
mod dump;
mod handlers;
mod verbs;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use mainstem_aggregate::Published;
use mainstem_xds::Clients;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::audit::{Audit, Record};
use crate::config::Config;
use crate::metrics::Metrics;
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
    /// Where proxies are served.
    pub xds_address: watch::Receiver<String>,
    /// Where changes are written down.
    pub audit: Arc<Audit>,
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

/// The API's paths. `/debug/…` are those of Istio whose meaning is the same.
pub fn router(app: App, metrics: Metrics) -> Router {
    let metrics = Arc::new(metrics);
    Router::new()
        .route("/live", get(handlers::live))
        .route("/ready", get(handlers::ready))
        .route("/metrics", get(move || handlers::metrics(metrics)))
        .route("/api/v1/status", get(handlers::status))
        .route("/api/v1/registries", get(handlers::registries))
        .route("/api/v1/services", get(handlers::services))
        .route("/api/v1/endpoints", get(handlers::endpoints))
        .route("/api/v1/proxies", get(handlers::proxies))
        .route("/api/v1/conflicts", get(handlers::conflicts))
        .route("/api/v1/control", get(handlers::control))
        .route("/api/v1/release", post(verbs::release))
        .route("/api/v1/freeze", post(verbs::freeze))
        .route("/api/v1/unfreeze", post(verbs::unfreeze))
        .route("/api/v1/drain", post(verbs::drain))
        .route("/api/v1/undrain", post(verbs::undrain))
        .route("/api/v1/config", get(handlers::config))
        .route("/api/v1/config_dump", get(dump::config_dump))
        .route("/debug/registryz", get(handlers::services))
        .route("/debug/endpointz", get(handlers::endpoints))
        .route("/debug/syncz", get(handlers::proxies))
        .route("/debug/config_dump", get(dump::config_dump))
        .fallback(handlers::unknown)
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
