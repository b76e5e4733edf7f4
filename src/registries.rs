//! The registry manager: one task per adapter, started, restarted and stopped.
//!
//! ```text
//! configuration ─▶ manage ─▶ follow (one per registry) ─▶ adapter ─ UpdateSender ─▶ aggregate
//!                                └─ restarts with backoff, says so in the condition
//! ```
//!
//! Invariants:
//! - What an adapter has said stays in force while it is restarted or replaced:
//!   its successor's sender takes over, and only a complete answer replaces it.
//! - A registry that is gone from the configuration is cancelled and joined
//!   before the aggregate hears that it is gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mainstem_memory::Stores;
use mainstem_model::RegistryId;
use mainstem_registry::{Adapter, Backoff, ExportSettings, Updates};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::AdapterConfig;
use crate::supervise::panic_text;

/// An adapter that ran this long was well: its next failure is the first again.
const WELL: Duration = Duration::from_secs(60);

/// What an adapter is made of.
pub trait Recipe: Clone + PartialEq + Send + Sync + 'static {
    /// An adapter that follows the registry.
    fn adapter(&self) -> Box<dyn Adapter>;

    /// What of it the mesh is given, and under which names.
    fn export(&self) -> ExportSettings {
        ExportSettings::default()
    }
}

/// A configured registry, as far as its adapter is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// How it is followed.
    pub adapter: AdapterConfig,
    /// What of it the mesh is given, and under which names.
    pub export: ExportSettings,
    /// Where registrations are.
    pub stores: Stores,
}

impl Recipe for Followed {
    fn adapter(&self) -> Box<dyn Adapter> {
        self.adapter.adapter(&self.stores)
    }

    fn export(&self) -> ExportSettings {
        self.export.clone()
    }
}

/// The registries that shall run.
pub type Plan<R> = BTreeMap<RegistryId, R>;

/// Why an adapter is not running.
#[derive(Debug, thiserror::Error)]
enum AdapterError {
    #[error("the adapter {0}; it is being restarted")]
    Panicked(String),
    #[error("the adapter ended by itself; it is being restarted")]
    Returned,
}

/// A registry that runs.
struct Running<R> {
    recipe: R,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl<R> Running<R> {
    async fn stop(self) {
        self.cancel.cancel();
        // `follow` catches the adapter's panics and has none of its own.
        let _ = self.task.await;
    }
}

/// Runs what the plan says, until the shutdown.
///
/// # Errors
/// Never; the signature is that of a core task.
pub async fn manage<R: Recipe>(
    mut plans: watch::Receiver<Plan<R>>,
    updates: Updates,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = BTreeMap::new();
    loop {
        let plan = plans.borrow_and_update().clone();
        reconcile(&mut running, plan, &updates).await;
        let changed = tokio::select! {
            () = shutdown.cancelled() => false,
            changed = plans.changed() => changed.is_ok(),
        };
        if !changed {
            shutdown.cancelled().await;
            break;
        }
    }
    futures::future::join_all(running.into_values().map(Running::stop)).await;
    Ok(())
}

async fn reconcile<R: Recipe>(
    running: &mut BTreeMap<RegistryId, Running<R>>,
    plan: Plan<R>,
    updates: &Updates,
) {
    let gone: Vec<_> = running.keys().filter(|id| !plan.contains_key(*id)).cloned().collect();
    for id in gone {
        if let Some(registry) = running.remove(&id) {
            registry.stop().await;
        }
        updates.remove(&id);
        info!(registry = %id, "removed");
    }
    for (id, recipe) in plan {
        let before = running.remove(&id);
        if let Some(same) = before.as_ref().filter(|before| before.recipe == recipe) {
            debug_assert!(!same.cancel.is_cancelled(), "only stopped registries are cancelled");
            running.extend(before.map(|before| (id, before)));
            continue;
        }
        let word = if before.is_some() { "changed" } else { "added" };
        info!(registry = %id, "{word}");
        let next = start(id.clone(), recipe, updates.clone());
        if let Some(before) = before {
            before.stop().await;
        }
        running.insert(id, next);
    }
}

fn start<R: Recipe>(id: RegistryId, recipe: R, updates: Updates) -> Running<R> {
    let cancel = CancellationToken::new();
    let task = tokio::spawn(follow(id, recipe.clone(), updates, cancel.clone()));
    Running { recipe, cancel, task }
}

/// Runs one registry's adapter, again after each end, until it is cancelled.
async fn follow<R: Recipe>(id: RegistryId, recipe: R, updates: Updates, cancel: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        let started = Instant::now();
        let Some(error) = run(&id, &recipe, &updates, &cancel).await else { return };
        error!(registry = %id, %error, "adapter stopped");
        // A sender of its own: late words of the one that ended reach nobody.
        updates.sender(id.clone()).failed(&error);
        if started.elapsed() > WELL {
            backoff.reset();
        }
        if cancel.run_until_cancelled(backoff.wait()).await.is_none() {
            return;
        }
    }
}

/// Runs the adapter until it ends, which it should not, or is cancelled: `None`.
async fn run<R: Recipe>(
    id: &RegistryId,
    recipe: &R,
    updates: &Updates,
    cancel: &CancellationToken,
) -> Option<AdapterError> {
    let recipe = recipe.clone();
    let sender = updates.sender_through(id.clone(), &recipe.export());
    let mut task = JoinSet::new();
    task.spawn(async move { recipe.adapter().run(sender).await });
    match cancel.run_until_cancelled(task.join_next()).await {
        Some(Some(Err(error))) => Some(AdapterError::Panicked(panic_text(error))),
        Some(Some(Ok(())) | None) => Some(AdapterError::Returned),
        None => {
            task.shutdown().await;
            None
        }
    }
}

#[cfg(test)]
mod tests;
