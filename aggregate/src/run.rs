//! The loop around the aggregate.

use std::future::pending;
use std::sync::Arc;

use mainstem_model::{Condition, RegistryId};
use mainstem_registry::{Batch, UpdateReceiver};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::aggregate::{Aggregate, Publication};
use crate::conflict_times::ConflictTimes;
use crate::dirty::{Dirty, Pending};
use crate::publish::{self, SnapshotPublisher, Snapshots};
use crate::readiness::{Gate, Readiness};
use crate::schedule::{Due, Schedule};
use crate::settings::AggregateConfig;
use crate::status::{Statuses, WallClock};

/// What the aggregate publishes, for the rest of the program to read.
#[derive(Clone, Debug)]
pub struct Published {
    /// The newest snapshot.
    pub snapshots: Snapshots,
    /// Whether it is worth serving.
    pub readiness: Readiness,
    /// Each registry's times.
    pub statuses: Statuses,
    /// Since when registries disagree about what.
    pub conflicts: ConflictTimes,
}

/// The end that [`run`] publishes to.
#[derive(Debug)]
pub struct Publisher {
    snapshots: SnapshotPublisher,
    gate: Gate,
    statuses: Statuses,
    conflicts: ConflictTimes,
}

/// What [`run`] publishes to, and where it is read.
pub fn channel() -> (Publisher, Published) {
    let (snapshots, reader) = publish::channel(Arc::default());
    let (gate, readiness) = Gate::new();
    let published = Published {
        snapshots: reader,
        readiness,
        statuses: Statuses::default(),
        conflicts: ConflictTimes::default(),
    };
    let publisher = Publisher {
        snapshots,
        gate,
        statuses: published.statuses.clone(),
        conflicts: published.conflicts.clone(),
    };
    (publisher, published)
}

/// Follows registries and configuration and publishes snapshots until `shutdown`.
pub async fn run(
    mut updates: UpdateReceiver,
    mut config: watch::Receiver<AggregateConfig>,
    publisher: Publisher,
    shutdown: CancellationToken,
) {
    let mut state = Loop::new(publisher, config.borrow_and_update().clone());
    loop {
        let wake = state.advance(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batches = updates.recv() => {
                for (registry, batch) in batches {
                    state.hear(registry, batch, Instant::now());
                }
            }
            () = changed(&mut config) => {
                state.configure(config.borrow_and_update().clone(), Instant::now());
            }
            () = until(wake) => {}
        }
        // A storm must not keep the thread from everybody else.
        tokio::task::coop::consume_budget().await;
    }
}

async fn changed(config: &mut watch::Receiver<AggregateConfig>) {
    if config.changed().await.is_err() {
        // Nobody can change it any more.
        pending::<()>().await;
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

struct Loop {
    aggregate: Aggregate,
    pending: Pending,
    schedule: Schedule,
    publisher: Publisher,
    clock: WallClock,
}

impl Loop {
    fn new(publisher: Publisher, config: AggregateConfig) -> Self {
        let now = Instant::now();
        let mut state = Self {
            aggregate: Aggregate::default(),
            pending: Pending::default(),
            schedule: Schedule::new(now),
            publisher,
            clock: WallClock::start(),
        };
        state.configure(config, now);
        state
    }

    fn configure(&mut self, config: AggregateConfig, now: Instant) {
        self.publisher.gate.configure(&config, now);
        self.publisher.statuses.configure(&config, self.clock.at(now));
        let dirty = self.aggregate.configure(config);
        self.add(dirty, now);
    }

    fn hear(&mut self, registry: RegistryId, batch: Batch, now: Instant) {
        log_condition(&registry, self.aggregate.condition(&registry), &batch);
        self.publisher.statuses.note(&registry, &batch, self.clock.at(now));
        let dirty = self.aggregate.apply(registry, batch);
        self.add(dirty, now);
    }

    fn add(&mut self, dirty: Dirty, now: Instant) {
        if dirty.settles() {
            self.schedule.unsettled(&self.aggregate.config().debounce, now);
        }
        self.pending.add(dirty);
    }

    /// Publishes what is due; returns when to look again.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        let awaited = self.awaited(now);
        if awaited.is_none() && !self.publisher.gate.is_open() {
            self.publish(Due::Everything, now);
            info!("ready");
            self.publisher.gate.open();
        }
        match self.schedule.due(&self.pending, now) {
            Due::Nothing => {}
            due => self.publish(due, now),
        }
        self.schedule.next(&self.pending).into_iter().chain(awaited).min()
    }

    fn awaited(&mut self, now: Instant) -> Option<Instant> {
        if self.publisher.gate.is_open() {
            return None;
        }
        let aggregate = &self.aggregate;
        self.publisher.gate.awaits(aggregate.config(), |id| aggregate.synced(id), now)
    }

    fn publish(&mut self, due: Due, now: Instant) {
        let dirty = match due {
            Due::Nothing => return,
            Due::AtOnce => self.pending.take_at_once(),
            Due::Everything => self.pending.take_all(),
        };
        if let Some(publication) = self.aggregate.publish(&dirty) {
            let Publication { before, snapshot, merged } = publication;
            self.publisher.snapshots.publish(snapshot.clone());
            for key in &merged {
                let (before, after) = (before.conflicts_of(key), snapshot.conflicts_of(key));
                self.publisher.conflicts.note(before, after, self.clock.at(now));
            }
        }
        self.schedule.published(due, &self.aggregate.config().debounce, now);
    }
}

/// A condition is logged when it changes, here and nowhere else.
fn log_condition(registry: &RegistryId, before: Option<&Condition>, batch: &Batch) {
    match &batch.condition {
        after if after.as_ref() == before => {}
        Some(Condition::Failed(reason)) => {
            warn!(%registry, %reason, "registry failed; what it last said stays");
        }
        Some(Condition::Live) => info!(%registry, "registry is live"),
        Some(Condition::Syncing) | None => {}
    }
}

#[cfg(test)]
mod tests;
