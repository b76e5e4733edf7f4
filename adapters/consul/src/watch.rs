//! When Consul is asked.
//!
//! ```text
//! run ─▶ connect ─▶ Session ────────────────────────────┐ lost, or credentials changed
//!          ▲        probe, every few seconds            │
//!          │        registrations     (blocking)        │
//!          │        and the list when names may differ, │
//!          │        or a peer's exports, again and again│
//!          │        each hot service  (blocking)        │
//!          │        while there are cold services:      │
//!          │          checks, nodes   (blocking)        │
//!          │          errands: fetch, look, confirm     │
//!          └────────────────────────────────────────────┘
//! ```
//!
//! A session asks everything from the start, on new connections; what the
//! catalog holds stays until the answers say otherwise. All its queries live in
//! one `JoinSet`: dropping the session ends them.

mod allowance;
mod checks;
mod errands;
mod exports;
mod feeds;
mod follow;
mod list;
mod listing;
mod needed;
mod probe;
mod roster;
mod session;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use mainstem_registry::{Backoff, UpdateSender};

use crate::api::{Api, ApiError, Present, Traffic, Views};
use crate::catalog::{Catalog, Query};
use crate::config::ConsulConfig;
use crate::credentials::Credentials;
use session::{End, Session};

/// Follows the registry for ever.
pub(crate) async fn run(config: ConsulConfig, traffic: Arc<Traffic>, updates: UpdateSender) {
    let config = Arc::new(config);
    let mut catalog = Catalog::new((*config).clone(), updates.registry().clone());
    // Short at most: a registry that is back should be noticed within seconds.
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut views = Views::Welcome;
    loop {
        match connect(&config, views, &traffic).await {
            Ok((api, credentials, present)) => {
                backoff.reset();
                catalog.begin(present.datacenter);
                let session = Session::new(&config, api, credentials, &mut catalog, &updates);
                views = match session.run().await {
                    End::Lost(error) => {
                        lost(&mut catalog, &updates, &error);
                        Views::Welcome
                    }
                    End::Renewed => Views::Welcome,
                    // They may show the replaced state for a while.
                    End::WentBack => {
                        updates.churn().reset();
                        Views::Avoided
                    }
                }
            }
            Err(error) => {
                lost(&mut catalog, &updates, &error);
                backoff.wait().await;
            }
        }
    }
}

async fn connect(
    config: &ConsulConfig,
    views: Views,
    traffic: &Arc<Traffic>,
) -> Result<(Api, Credentials, Present), ApiError> {
    let credentials = Credentials::read(config).await?;
    let (api, present) = Api::connect(config, &credentials, views, traffic.clone()).await?;
    Ok((api, credentials, present))
}

fn lost(catalog: &mut Catalog, updates: &UpdateSender, error: &ApiError) {
    updates.send_all(catalog.failed(Query::Probe, error.full()));
}
