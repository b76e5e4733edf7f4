//! The loop between changes and the store.
//!
//! ```text
//! Change ─▶ waiting ─▶ state = stored + waiting ─▶ Shared      at once, whatever the store does
//!              │
//!              └─ settle (one at a time, apart) ─▶ ControlStore
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_registry::Backoff;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::settle::{self, Base};
use super::state::{Change, ControlState, Moment};
use super::store::{ControlStore, StoreError};
use crate::status::WallClock;

/// How long the start, and the end, wait for the store.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one exchange with the store may take.
const LONGEST: Duration = Duration::from_secs(60);
/// How often the store is read though nothing in it was seen to change.
const REFRESH: Duration = Duration::from_secs(30);
/// How many changes wait for a store that does not answer.
const WAITING: usize = 100_000;

/// What follows from all changes so far, as far as they are known here.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The state.
    pub state: Arc<ControlState>,
    /// How many of the changes proposed here are in it.
    pub applied: u64,
    /// Whether the store has been read, or was waited for long enough.
    pub ready: bool,
    /// The store.
    pub store: StoreStatus,
}

/// How the store of the control state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Where it is; `None` where control state ends with the process.
    pub place: Option<Arc<str>>,
    /// Why it cannot be used, and since when.
    pub error: Option<(SystemTime, Arc<str>)>,
    /// How many changes it does not have yet.
    pub waiting: usize,
    /// Entries that it cannot take, for their size; other replicas do not know them.
    pub local: usize,
    /// Entries in it that have no effect, and why.
    pub invalid: Arc<[String]>,
}

/// Proposes changes and reads what follows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    proposals: Arc<Mutex<(u64, mpsc::UnboundedSender<Change>)>>,
    shared: watch::Receiver<Shared>,
}

impl Control {
    /// Proposes a change; returns its number, from 1 on.
    pub fn propose(&self, change: Change) -> u64 {
        let mut proposals = self.proposals.lock();
        proposals.0 += 1;
        // The keeper is gone only when the process ends.
        let _ = proposals.1.send(change);
        proposals.0
    }

    /// Proposes a change and waits until it is in force here.
    pub async fn change(&self, change: Change) {
        let number = self.propose(change);
        let mut shared = self.shared.clone();
        let _ = shared.wait_for(|shared| shared.applied >= number).await;
    }

    /// What is in force, to be read and followed.
    pub fn shared(&self) -> &watch::Receiver<Shared> {
        &self.shared
    }
}

/// The end that brings changes to the store.
#[derive(Debug)]
pub(crate) struct Keeper {
    proposals: mpsc::UnboundedReceiver<Change>,
    shared: watch::Sender<Shared>,
}

/// Both ends.
pub(crate) fn channel() -> (Control, Keeper) {
    let (sender, proposals) = mpsc::unbounded_channel();
    let (shared, reader) = watch::channel(Shared::default());
    let proposer = Arc::new(Mutex::new((0, sender)));
    (Control { proposals: proposer, shared: reader }, Keeper { proposals, shared })
}

/// What an exchange with the store comes to.
type Settled = Result<Base, StoreError>;

/// What the keeper knows.
struct Kept {
    store: Option<Arc<dyn ControlStore>>,
    base: Base,
    /// Changes that the store does not have yet.
    waiting: VecDeque<Change>,
    /// How many changes were taken.
    taken: u64,
    /// The exchange with the store that goes on, and how many of the changes it brings.
    exchange: JoinSet<Settled>,
    brought: usize,
    /// When to try again.
    retry: Option<Instant>,
    backoff: Backoff,
    error: Option<(SystemTime, Arc<str>)>,
    clock: WallClock,
}

impl Keeper {
    /// Follows changes and store until `shutdown`; without a store the state lives
    /// as long as the process.
    pub(crate) async fn run(
        mut self,
        store: Option<Arc<dyn ControlStore>>,
        shutdown: CancellationToken,
    ) {
        let mut kept = Kept::new(store);
        kept.begin().await;
        loop {
            let shared = kept.shared();
            let end = shared.state.next_end().map(|end| kept.clock.moment(end.time()));
            self.shared.send_replace(shared);
            let (idle, retry) = (kept.exchange.is_empty(), kept.retry);
            let changed = kept.changed();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(change) = self.proposals.recv() => kept.take(change, &mut self.proposals),
                () = until(end) => kept.expire(),
                Some(settled) = kept.exchange.join_next() => kept.settled(flat(settled)),
                () = until(retry), if idle => kept.exchange(),
                () = changed, if idle && retry.is_none() => kept.exchange(),
            }
        }
        kept.end(self.proposals).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// An exchange neither panics nor is cancelled while somebody waits for it.
fn flat(settled: Result<Settled, tokio::task::JoinError>) -> Settled {
    settled.expect("an exchange with the store neither panics nor is cancelled")
}

impl Kept {
    fn new(store: Option<Arc<dyn ControlStore>>) -> Self {
        Self {
            store,
            base: Base::default(),
            waiting: VecDeque::new(),
            taken: 0,
            exchange: JoinSet::new(),
            brought: 0,
            retry: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            error: None,
            clock: WallClock::start(),
        }
    }

    fn shared(&self) -> Shared {
        let store = StoreStatus {
            place: self.store.as_ref().map(|store| store.place()),
            error: self.error.clone(),
            waiting: self.waiting.len(),
            local: self.base.local.len(),
            invalid: self.base.invalid.clone(),
        };
        Shared { state: self.state(), applied: self.taken, ready: true, store }
    }

    /// Reads the store for the first time.
    async fn begin(&mut self) {
        self.exchange();
        match timeout(PATIENCE, self.exchange.join_next()).await {
            Ok(Some(settled)) => self.settled(flat(settled)),
            Ok(None) => {}
            Err(_) => error!("the store of the control state does not answer"),
        }
        let ControlState { holds, freezes, drains, tracks, .. } = &self.base.state;
        let (holds, freezes, drains) = (holds.len(), freezes.len() + tracks.len(), drains.len());
        if holds + freezes + drains > 0 {
            info!(holds, freezes, drains, "control state was read");
        }
        self.expire();
    }

    /// Starts to bring store and state together.
    fn exchange(&mut self) {
        let Some(store) = self.store.clone() else { return };
        self.retry = None;
        self.brought = self.waiting.len();
        let (base, changes) = (self.base.clone(), self.waiting.iter().cloned().collect::<Vec<_>>());
        self.exchange.spawn(async move {
            let settling = settle::settle(&*store, base, &changes);
            let settled = timeout(LONGEST, settling).await;
            settled.unwrap_or_else(|_| Err(StoreError::Slow { place: store.place().to_string() }))
        });
    }

    /// Takes note of what an exchange came to.
    fn settled(&mut self, settled: Settled) {
        match settled {
            Ok(base) => {
                for entry in base.invalid.iter().filter(|e| !self.base.invalid.contains(e)) {
                    error!(error = %entry, "an entry of the control state is not used");
                }
                if self.error.take().is_some() {
                    info!("control state is shared again");
                }
                self.base = base;
                self.waiting.drain(..self.brought.min(self.waiting.len()));
                self.backoff.reset();
            }
            Err(problem) => {
                let text: Arc<str> = settle::full(&problem).into();
                if self.error.as_ref().is_none_or(|(_, before)| *before != text) {
                    warn!(error = %text, "control state is not shared at the moment");
                }
                let since = self.error.as_ref().map(|(since, _)| *since);
                let since = since.unwrap_or_else(|| self.clock.at(Instant::now()));
                self.error = Some((since, text));
                self.retry = Some(Instant::now() + self.backoff.advance());
            }
        }
        self.brought = 0;
        if self.retry.is_none() && !self.waiting.is_empty() {
            self.exchange();
        }
    }

    fn take(&mut self, first: Change, more: &mut mpsc::UnboundedReceiver<Change>) {
        self.add(first);
        while let Ok(change) = more.try_recv() {
            self.add(change);
        }
    }

    fn add(&mut self, change: Change) {
        self.taken += 1;
        self.wait(change);
    }

    fn wait(&mut self, change: Change) {
        if self.store.is_none() {
            self.base.state.apply(&change);
            return;
        }
        if self.waiting.len() >= WAITING && self.brought == 0 {
            self.waiting.pop_front();
        }
        self.waiting.push_back(change);
        if self.exchange.is_empty() && self.retry.is_none() {
            self.exchange();
        }
    }

    fn expire(&mut self) {
        let now = Moment::from(self.clock.at(Instant::now()));
        if self.state().next_end().is_some_and(|end| end <= now) {
            self.wait(Change::Expire(now));
        }
    }

    /// What is stored, and what waits on top of it.
    fn state(&self) -> Arc<ControlState> {
        let mut state = self.base.state.clone();
        self.waiting.iter().for_each(|change| drop(state.apply(change)));
        Arc::new(state)
    }

    /// Waits until somebody else changed the store; for ever without one.
    fn changed(&self) -> impl Future<Output = ()> + use<> {
        let (store, known) = (self.store.clone(), self.base.stored.clone());
        async move {
            let Some(store) = store else { return std::future::pending().await };
            // A store may fall silent while it is watched: the next read notices.
            if let Ok(Err(_)) = timeout(REFRESH, store.changed(&known)).await {
                // And says what is wrong.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Brings what waits to the store before the process ends.
    async fn end(mut self, mut proposals: mpsc::UnboundedReceiver<Change>) {
        while let Ok(change) = proposals.try_recv() {
            self.waiting.push_back(change);
        }
        if self.store.is_none() || self.waiting.is_empty() {
            return;
        }
        self.exchange.shutdown().await;
        self.exchange();
        let settled = timeout(PATIENCE, self.exchange.join_next()).await;
        let lost = match settled {
            Ok(Some(Ok(Ok(_)))) => None,
            Ok(Some(Ok(Err(problem)))) => Some(settle::full(&problem)),
            _ => Some("the store does not answer".to_owned()),
        };
        if let Some(error) = lost {
            error!(error, changes = self.waiting.len(), "changes of the control state are lost");
        }
    }
}
