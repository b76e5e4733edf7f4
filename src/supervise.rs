//! Core tasks: none is spawned and forgotten.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long tasks may take to end once they were asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The core tasks of the process. Each runs until the shutdown; one that ends
/// before stops the others and makes [`run`](Supervisor::run) fail.
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// No tasks yet; all are to end when `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// Starts a task under a name.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits for the shutdown, or for a task that ends before, then for all
    /// tasks to end. What is still running after ten seconds is aborted.
    ///
    /// # Errors
    /// When a task ended before the shutdown, or failed.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut result = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next_with_id() => {
                let error = self.early(ended);
                error!(error = format!("{error:#}"), "stopping");
                Err(error)
            }
        };
        self.shutdown.cancel();
        let drained = tokio::time::timeout(PATIENCE, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let (name, ended) = self.outcome(ended);
                if let Err(error) = ended.with_context(|| format!("ending {name}")) {
                    warn!(error = format!("{error:#}"), "a task failed while shutting down");
                    if result.is_ok() {
                        result = Err(error);
                    }
                }
            }
        });
        if drained.await.is_err() {
            let names: Vec<_> = self.names.values().copied().collect();
            warn!(tasks = names.join(", "), "aborting tasks that do not end");
            self.tasks.shutdown().await;
        }
        result
    }

    fn early(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> anyhow::Error {
        match self.outcome(ended) {
            (name, Ok(())) => anyhow!("core task {name} ended without being asked to"),
            (name, Err(error)) => error.context(format!("core task {name} failed")),
        }
    }

    fn outcome(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, anyhow::Result<()>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(anyhow!(panic_text(error)))),
        };
        (self.names.remove(&id).unwrap_or("unknown"), result)
    }
}

/// What a task that did not end by itself said.
pub fn panic_text(error: JoinError) -> String {
    if !error.is_panic() {
        return "cancelled".to_owned();
    }
    let payload = error.into_panic();
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(shutdown: &CancellationToken) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_others_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.spawn("patient", patient(&shutdown));
        tasks.spawn("hasty", async { Ok(()) });
        let error = tasks.run().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "core task hasty ended without being asked to");
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_is_reported_with_its_words() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown);
        tasks.spawn("fragile", async { panic!("index 3 of 2") });
        let error = tasks.run().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "core task fragile failed: panicked: index 3 of 2");
    }

    #[tokio::test]
    async fn a_shutdown_ends_all_tasks_well() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.spawn("one", patient(&shutdown));
        tasks.spawn("two", patient(&shutdown));
        shutdown.cancel();
        tasks.run().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_aborted_after_a_time() {
        let shutdown = CancellationToken::new();
        let mut tasks = Supervisor::new(shutdown.clone());
        tasks.spawn("stuck", std::future::pending());
        shutdown.cancel();
        tasks.run().await.unwrap();
    }
}
