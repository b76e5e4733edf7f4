//! The loop around the aggregate.

use std::collections::VecDeque;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::{Condition, Freshness, RegistryId};
use mainstem_registry::{Batch, UpdateReceiver};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::aggregate::{Aggregate, Publication};
use crate::conflict_times::ConflictTimes;
use crate::control::{self, Change, Control, ControlState, ControlStore, HoldKey, Keeper, Shared};
use crate::dirty::{Dirty, Pending};
use crate::freshness::Ageing;
use crate::last_good::{Order, Refused, Restored, Saved, Saver};
use crate::publish::{self, SnapshotPublisher, Snapshots};
use crate::readiness::{Gate, Readiness};
use crate::schedule::{Due, Schedule};
use crate::settings::AggregateConfig;
use crate::status::{LastGoodStatus, Statuses, WallClock};
use crate::testimony::{self, Questions, Testimony};

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
    /// What the guard and operators decided, and the way to decide more.
    pub control: Control,
    /// Where to ask what registries said, before it was merged.
    pub questions: Questions,
}

/// Where the loop publishes.
#[derive(Debug)]
struct Outlet {
    snapshots: SnapshotPublisher,
    gate: Gate,
    statuses: Statuses,
    conflicts: ConflictTimes,
    control: Control,
}

/// The end that [`run`] publishes to, and the keeper of the control state.
pub struct Publisher {
    outlet: Outlet,
    keeper: Keeper,
    store: Option<Arc<dyn ControlStore>>,
    questions: mpsc::Receiver<oneshot::Sender<Testimony>>,
}

impl Publisher {
    /// Keeps control state in a store; without one it ends with the process.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn ControlStore>) -> Self {
        Self { store: Some(store), ..self }
    }
}

/// What [`run`] publishes to, and where it is read.
pub fn channel() -> (Publisher, Published) {
    let (control, keeper) = control::channel();
    let (snapshots, reader) = publish::channel(Arc::default());
    let (gate, readiness) = Gate::new();
    let (questions, asked) = testimony::channel();
    let published = Published {
        snapshots: reader,
        readiness,
        statuses: Statuses::default(),
        conflicts: ConflictTimes::default(),
        control,
        questions,
    };
    let outlet = Outlet {
        snapshots,
        gate,
        statuses: published.statuses.clone(),
        conflicts: published.conflicts.clone(),
        control: published.control.clone(),
    };
    (Publisher { outlet, keeper, store: None, questions: asked }, published)
}

/// Follows registries, control state and configuration and publishes snapshots
/// until `shutdown`.
pub async fn run(
    updates: UpdateReceiver,
    config: watch::Receiver<AggregateConfig>,
    publisher: Publisher,
    shutdown: CancellationToken,
) {
    let Publisher { outlet, keeper, store, questions } = publisher;
    let keeping = keeper.run(store, shutdown.clone());
    tokio::join!(follow(updates, config, outlet, questions, shutdown), keeping);
}

async fn follow(
    mut updates: UpdateReceiver,
    mut config: watch::Receiver<AggregateConfig>,
    outlet: Outlet,
    mut questions: mpsc::Receiver<oneshot::Sender<Testimony>>,
    shutdown: CancellationToken,
) {
    let mut control = outlet.control.shared().clone();
    let mut state = Loop::new(outlet, config.borrow_and_update().clone());
    loop {
        let wake = state.advance(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = changed(&mut config) => {
                state.configure(config.borrow_and_update().clone(), Instant::now());
            }
            Some(found) = state.restoring.join_next() => state.restore(found, Instant::now()),
            Ok(()) = control.changed() => {
                let shared = control.borrow_and_update().clone();
                state.control(&shared, Instant::now());
            }
            // Whoever asked may have gone.
            Some(asked) = questions.recv() => drop(asked.send(state.aggregate.testimony())),
            // What a registry was, and what was decided, has to be known before it speaks.
            batches = updates.recv(), if state.prepared() => {
                for (registry, batch) in batches {
                    state.hear(registry, batch, Instant::now());
                }
            }
            saved = state.saver.finished() => state.note_saved(saved, Instant::now()),
            () = until(wake) => {}
        }
        // A storm must not keep the thread from everybody else.
        tokio::task::coop::consume_budget().await;
    }
    state.flush().await;
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

/// What was read of a registry's last good state.
type Found = (RegistryId, Result<Option<Restored>, Refused>);

struct Loop {
    aggregate: Aggregate,
    pending: Pending,
    /// When the first of what is pending was said or decided.
    since: Option<Instant>,
    schedule: Schedule,
    publisher: Outlet,
    /// Decisions made here, by number, that the control state may not have yet.
    proposed: VecDeque<(u64, Change)>,
    /// Whether the control state is known.
    decided: bool,
    ageing: Ageing,
    saver: Saver,
    restoring: JoinSet<Found>,
    clock: WallClock,
}

impl Loop {
    fn new(publisher: Outlet, config: AggregateConfig) -> Self {
        let now = Instant::now();
        let mut state = Self {
            aggregate: Aggregate::default(),
            pending: Pending::default(),
            since: None,
            schedule: Schedule::new(now),
            publisher,
            proposed: VecDeque::new(),
            decided: false,
            ageing: Ageing::default(),
            saver: Saver::default(),
            restoring: JoinSet::new(),
            clock: WallClock::start(),
        };
        state.configure(config, now);
        state
    }

    fn configure(&mut self, config: AggregateConfig, now: Instant) {
        self.publisher.gate.configure(&config, now);
        self.publisher.statuses.configure(&config, self.clock.at(now));
        self.ageing.configure(&config);
        self.saver.configure(config.state.directory.as_ref(), config.state.interval);
        let new: Vec<_> = config.registries.iter().map(|registry| registry.id.clone()).collect();
        let new = new.into_iter().filter(|id| !self.aggregate.knows(id)).collect::<Vec<_>>();
        let dirty = self.aggregate.configure(config);
        self.add(dirty, now);
        new.into_iter().for_each(|registry| self.look_up(registry));
    }

    /// Reads what is kept of a registry that is new in the configuration.
    fn look_up(&mut self, registry: RegistryId) {
        if let Some(files) = self.saver.files().cloned() {
            self.restoring.spawn_blocking(move || {
                let found = files.read(&registry);
                (registry, found)
            });
        }
    }

    fn restore(&mut self, found: Result<Found, JoinError>, now: Instant) {
        let (registry, found) = found.expect("reading a file neither panics nor is cancelled");
        match found {
            Ok(None) => {}
            Ok(Some(Restored { values, live_at })) => {
                info!(%registry, values = values.len(), "its last good state is used");
                let spared = self.clock.at(now) + self.aggregate.deadline(&registry);
                self.ageing.restored(&registry, live_at, spared);
                self.publisher.statuses.note_restored(&registry, live_at);
                let dirty = self.aggregate.restore(&registry, values);
                self.add(dirty, now);
                self.note_freshness(&registry, now);
            }
            Err(refused) => {
                let reason = full(&refused);
                warn!(%registry, %reason, "its last good state is not used");
                let reason = Arc::from(reason);
                let note = |last_good: &mut LastGoodStatus| last_good.error = Some(reason);
                self.publisher.statuses.note_last_good(&registry, note);
            }
        }
    }

    fn hear(&mut self, registry: RegistryId, batch: Batch, now: Instant) {
        log_condition(&registry, self.aggregate.condition(&registry), &batch);
        self.publisher.statuses.note(&registry, &batch, self.clock.at(now));
        if batch.removed
            && let Err(error) = self.saver.forget(&registry)
        {
            warn!(%registry, error = full(&error), "its last good state stays on disk");
        }
        match &batch.condition {
            Some(Condition::Live) => self.ageing.live(&registry),
            Some(_) => self.ageing.stale(&registry, self.clock.at(now)),
            None => {}
        }
        if batch.replace.is_some() || !batch.values.is_empty() {
            self.saver.changed(&registry, now);
        }
        let said = batch.since.unwrap_or(now);
        let heard = self.aggregate.receive(registry.clone(), batch, self.clock.at(now));
        if !heard.dirty.is_empty() {
            self.news(said);
        }
        self.add(heard.dirty, now);
        self.decide(heard.decisions, now);
        self.note_freshness(&registry, now);
    }

    /// Whether what registries say can be judged.
    fn prepared(&self) -> bool {
        self.decided && self.restoring.is_empty()
    }

    /// Puts the guard's decisions in force here, and proposes them to everybody.
    fn decide(&mut self, decisions: Vec<Change>, now: Instant) {
        if decisions.is_empty() {
            return;
        }
        let dirty = self.aggregate.decide(&decisions);
        self.add(dirty, now);
        for change in decisions {
            log_decision(&change, self.aggregate.control_state());
            let number = self.publisher.control.propose(change.clone());
            self.proposed.push_back((number, change));
        }
    }

    /// Takes over the control state that all replicas agree on.
    fn control(&mut self, shared: &Shared, now: Instant) {
        self.proposed.retain(|(number, _)| *number > shared.applied);
        let mut state = (*shared.state).clone();
        self.proposed.iter().for_each(|(_, change)| drop(state.apply(change)));
        log_ends(self.aggregate.control_state(), &state);
        let dirty = self.aggregate.control(state);
        self.add(dirty, now);
        self.decided = shared.ready;
    }

    fn note_freshness(&self, registry: &RegistryId, now: Instant) {
        if let Some(freshness) = self.aggregate.freshness(registry) {
            self.publisher.statuses.note_freshness(registry, freshness, self.clock.at(now));
        }
    }

    /// Takes over which registries have expired; returns when the next one does.
    fn expire(&mut self, now: Instant) -> Option<Instant> {
        let (expired, next) = self.ageing.expired(self.aggregate.config(), self.clock.at(now));
        let dirty = self.aggregate.expire(expired);
        for registry in &dirty.registries {
            self.note_freshness(registry, now);
            if self.aggregate.freshness(registry) == Some(Freshness::Expired) {
                warn!(%registry, "registry has not answered for too long and has expired");
            }
        }
        self.add(dirty, now);
        next.map(|at| self.clock.moment(at))
    }

    /// Takes over how far drains are; returns when the next one moves.
    fn steer(&mut self, now: Instant) -> Option<Instant> {
        let (dirty, next) = self.aggregate.steer(self.clock.at(now));
        self.add(dirty, now);
        next.map(|at| self.clock.moment(at))
    }

    /// Has what changed written to disk, where that is due.
    fn save(&mut self, now: Instant) {
        let (aggregate, statuses) = (&self.aggregate, &self.publisher.statuses);
        let now_at = self.clock.at(now);
        self.saver.advance(now, |registry| order(aggregate, statuses, registry, now_at));
    }

    fn note_saved(&mut self, saved: Saved, now: Instant) {
        let Saved { registry, bytes } = saved;
        let at = self.clock.at(now);
        if let Err(error) = &bytes {
            warn!(%registry, error = full(error), "its last good state was not written");
        }
        self.publisher.statuses.note_last_good(&registry, |last_good| match bytes {
            Ok(Some(bytes)) => {
                let writes = last_good.writes + 1;
                *last_good = LastGoodStatus { written: Some(at), writes, bytes, error: None };
            }
            Ok(None) => {}
            Err(error) => last_good.error = Some(full(&error).into()),
        });
    }

    /// Writes what waits for its interval, before the process ends.
    async fn flush(&mut self) {
        let now = Instant::now();
        let (aggregate, statuses) = (&self.aggregate, &self.publisher.statuses);
        let now_at = self.clock.at(now);
        let saved = self.saver.flush(|id| order(aggregate, statuses, id, now_at)).await;
        saved.into_iter().for_each(|saved| self.note_saved(saved, now));
    }

    /// Something was said or decided at that time.
    fn news(&mut self, at: Instant) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
    }

    fn add(&mut self, dirty: Dirty, now: Instant) {
        if !dirty.is_empty() {
            self.news(now);
        }
        if dirty.settles() {
            self.schedule.unsettled(&self.aggregate.config().debounce, now);
        }
        self.pending.add(dirty);
    }

    /// Publishes what is due; returns when to look again.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        let awaited = self.awaited(now);
        if awaited.is_none() && self.prepared() && !self.publisher.gate.is_open() {
            self.publish(Due::Everything, now);
            info!("ready");
            self.publisher.gate.open();
        }
        let expires = self.expire(now);
        let steers = self.steer(now);
        match self.schedule.due(&self.pending, now) {
            Due::Nothing => {}
            due => self.publish(due, now),
        }
        self.save(now);
        let next = self.schedule.next(&self.pending).into_iter().chain(awaited);
        next.chain(expires).chain(steers).chain(self.saver.next()).min()
    }

    fn awaited(&mut self, now: Instant) -> Option<Instant> {
        if self.publisher.gate.is_open() {
            return None;
        }
        let aggregate = &self.aggregate;
        self.publisher.gate.awaits(aggregate.config(), |id| aggregate.complete(id), now)
    }

    fn publish(&mut self, due: Due, now: Instant) {
        let dirty = match due {
            Due::Nothing => return,
            Due::AtOnce => self.pending.take_at_once(),
            Due::Everything => self.pending.take_all(),
        };
        if let Some(publication) = self.aggregate.publish(&dirty) {
            let Publication { before, snapshot, merged } = publication;
            let since = self.since.unwrap_or(now).into_std();
            self.publisher.snapshots.publish(snapshot.clone(), since);
            for key in &merged {
                let (before, after) = (before.conflicts_of(key), snapshot.conflicts_of(key));
                self.publisher.conflicts.note(before, after, self.clock.at(now));
            }
        }
        if self.pending.settling.is_empty() {
            self.since = None;
        }
        self.schedule.published(due, &self.aggregate.config().debounce, now);
    }
}

/// The state of a registry that may be written, with until when it was so.
fn order(
    aggregate: &Aggregate,
    statuses: &Statuses,
    registry: &RegistryId,
    now: SystemTime,
) -> Option<Order> {
    let values = aggregate.values(registry)?.clone();
    let live_until = statuses.get(registry).and_then(|status| status.live_until);
    Some(Order { values, live_at: live_until.unwrap_or(now) })
}

fn log_decision(change: &Change, state: &ControlState) {
    let Change::Hold(key, hold) = change else { return };
    if !state.holds.contains_key(key) {
        return;
    }
    let HoldKey { registry, service } = key;
    let (endpoints, cause) = (hold.endpoints.len(), hold.cause);
    let until = humantime::format_rfc3339_seconds(hold.until.time());
    warn!(%registry, %service, endpoints, ?cause, %until, "holding what the registry withdrew");
}

fn log_ends(before: &ControlState, after: &ControlState) {
    for (key, hold) in before.holds.iter().filter(|(key, _)| !after.holds.contains_key(key)) {
        let HoldKey { registry, service } = key;
        info!(%registry, %service, endpoints = hold.endpoints.len(), "a hold has ended");
    }
}

/// An error with its causes.
fn full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
