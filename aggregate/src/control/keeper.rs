//! The loop between changes and the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mainstem_registry::Backoff;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::entry::EntryName;
use super::state::{Change, ControlState, Moment};
use super::store::{ControlStore, StoreError, Stored, StoredEntry, Write};
use crate::status::WallClock;

/// How long the start waits for the store; after that it begins without.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many changes wait for a store that does not answer.
const WAITING: usize = 100_000;
/// How often a write is tried again at once when somebody else wrote first.
const RIVALS: usize = 16;

/// What follows from all changes so far, as far as they are known here.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The state.
    pub state: Arc<ControlState>,
    /// How many of the changes proposed here are in it.
    pub applied: u64,
    /// Whether the store has been read, or was waited for long enough.
    pub ready: bool,
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

/// What the keeper knows.
struct Kept {
    store: Option<Arc<dyn ControlStore>>,
    stored: Stored,
    /// What the stored entries tell.
    base: ControlState,
    /// Changes that the store does not have yet.
    waiting: VecDeque<Change>,
    /// How many changes were taken.
    taken: u64,
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
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut retry: Option<Instant> = None;
        loop {
            let state = kept.state();
            let end = state.next_end().map(|end| kept.clock.moment(end.time()));
            self.shared.send_replace(Shared { state, applied: kept.taken, ready: true });
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(change) = self.proposals.recv() => kept.take(change, &mut self.proposals),
                () = until(end) => kept.expire(),
                () = until(retry) => {}
                () = kept.changed(), if retry.is_none() => {}
            }
            retry = match kept.sync().await {
                Ok(()) => {
                    backoff.reset();
                    None
                }
                Err(problem) => {
                    warn!(error = %problem, "control state is not shared at the moment");
                    Some(Instant::now() + backoff.advance())
                }
            };
        }
        while let Ok(change) = self.proposals.try_recv() {
            kept.waiting.push_back(change);
        }
        if let Err(problem) = kept.sync().await {
            error!(error = %problem, changes = kept.waiting.len(), "changes of the control state are lost");
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Kept {
    fn new(store: Option<Arc<dyn ControlStore>>) -> Self {
        Self {
            store,
            stored: Stored::default(),
            base: ControlState::default(),
            waiting: VecDeque::new(),
            taken: 0,
            clock: WallClock::start(),
        }
    }

    /// Reads the store for the first time.
    async fn begin(&mut self) {
        match timeout(PATIENCE, self.load()).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => error!(error = %problem, "control state cannot be read"),
            Err(_) => error!("the store of the control state does not answer"),
        }
        let holds = self.base.holds.len();
        if holds > 0 {
            info!(holds, "control state was read");
        }
        self.expire();
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let stored = store.load().await?;
        if stored != self.stored {
            let texts = stored.entries.iter().map(|(name, entry)| (name, &*entry.text));
            let (base, invalid) = ControlState::from_entries(texts);
            for entry in invalid {
                error!(error = %entry, "an entry of the control state is not used");
            }
            self.base = base;
            self.stored = stored;
        }
        Ok(())
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
            self.base.apply(&change);
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(change);
    }

    fn expire(&mut self) {
        let now = Moment::from(self.clock.at(Instant::now()));
        if self.state().next_end().is_some_and(|end| end <= now) {
            self.wait(Change::Expire(now));
        }
    }

    /// What is stored, and what waits on top of it.
    fn state(&self) -> Arc<ControlState> {
        let mut state = self.base.clone();
        self.waiting.iter().for_each(|change| drop(state.apply(change)));
        Arc::new(state)
    }

    /// Waits until somebody else changed the store; for ever without one.
    async fn changed(&self) {
        let Some(store) = &self.store else { return std::future::pending().await };
        if store.changed(&self.stored).await.is_err() {
            // The next read says what is wrong.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Brings store and state together.
    async fn sync(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        self.load().await?;
        for _ in 0..RIVALS {
            let count = self.waiting.len();
            let mut next = self.base.clone();
            let touched: BTreeSet<EntryName> =
                self.waiting.iter().flat_map(|change| next.apply(change)).collect();
            let writes = writes(&self.stored, next.texts(touched));
            if writes.is_empty() {
                self.waiting.drain(..count);
                return Ok(());
            }
            match store.write(writes).await {
                Ok(()) => {
                    self.base = next;
                    self.waiting.drain(..count);
                    return self.load().await;
                }
                Err(StoreError::Conflict(_)) => self.load().await?,
                Err(error) => return Err(error),
            }
        }
        // Others write all the time; the caller tries again.
        Ok(())
    }
}

/// What differs from what is stored.
fn writes(stored: &Stored, texts: BTreeMap<EntryName, Option<String>>) -> Vec<Write> {
    let each = texts.into_iter().filter_map(|(name, text)| {
        let there: Option<&StoredEntry> = stored.entries.get(&name);
        let same = there.map(|entry| &*entry.text) == text.as_deref();
        let expected = there.map(|entry| entry.revision.clone());
        (!same).then_some(Write { name, text, expected })
    });
    each.collect()
}
