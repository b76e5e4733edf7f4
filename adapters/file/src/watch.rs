//! When to look at the files, and what to say then.

use std::collections::{BTreeMap, BTreeSet};
use std::path;
use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{Condition, RegistryUpdate};
use mainstem_registry::{Backoff, UpdateSender};
use tokio::task::spawn_blocking;

use crate::FileConfig;
use crate::convert;
use crate::directory::{Identity, Look, LookError, SETTLED, Seen};
use crate::events::Events;
use crate::holdings::Holdings;

/// How often the first sync waits for files that are still being written.
const PATIENCE: usize = 40;

/// Follows the files for ever.
pub(crate) async fn follow(mut config: FileConfig, updates: UpdateSender) {
    if let Ok(absolute) = path::absolute(&config.path) {
        config.path = absolute;
    }
    let mut follower = Follower::new(config, updates);
    loop {
        let most = follower.look().await;
        follower.events.changed(most).await;
    }
}

struct Follower {
    look: Look,
    events: Events,
    updates: UpdateSender,
    holdings: Holdings,
    backoff: Backoff,
    state: State,
    root: Option<Identity>,
    /// Files that were not there at the last look. Some editors take a file away
    /// before they bring the new one, so it is gone when it is missed twice.
    missed: BTreeSet<Arc<str>>,
}

enum State {
    /// Nothing has been said yet; so many looks have been.
    Syncing(usize),
    /// All is said that was seen.
    Live,
    /// The files cannot be looked at, for this reason.
    Failed { synced: bool, reason: String },
}

impl Follower {
    fn new(config: FileConfig, updates: UpdateSender) -> Self {
        let registry = updates.registry().clone();
        let around = convert::around(&config, &registry);
        Self {
            events: Events::of(config.path.clone(), registry),
            look: Look {
                config: Arc::new(config),
                around: Arc::new(around),
                known: Arc::default(),
                writing: BTreeSet::new(),
                at_once: false,
            },
            updates,
            holdings: Holdings::default(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            state: State::Syncing(0),
            root: None,
            missed: BTreeSet::new(),
        }
    }

    /// Looks once and says what changed; how long to wait for an event before
    /// the next look.
    async fn look(&mut self) -> Duration {
        let mut look = self.look.clone();
        look.at_once = matches!(self.state, State::Syncing(looks) if looks >= PATIENCE);
        let events = self.events.clone();
        let looked = spawn_blocking(move || {
            // Watched first, so that no change falls between look and watch.
            events.attach();
            look.writing = events.writing();
            look.look()
        });
        let seen = match looked.await {
            Ok(seen) => seen.and_then(|seen| self.plausible(seen)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and with it this task.
                Err(_) => return std::future::pending().await,
            },
        };
        match seen {
            Ok(seen) => self.say(seen),
            Err(error) => self.fail(&error),
        }
    }

    /// An unmounted volume leaves an empty directory behind, which says nothing.
    fn plausible(&self, seen: Seen) -> Result<Seen, LookError> {
        let other = self.root.is_some_and(|root| root != seen.root);
        if other && seen.files.is_empty() && !self.holdings.is_empty() {
            return Err(LookError::Emptied { path: self.look.config.path.display().to_string() });
        }
        Ok(seen)
    }

    fn fail(&mut self, error: &LookError) -> Duration {
        self.events.detach();
        let reason = format!("{error}: {:?}", std::error::Error::source(error));
        let (synced, said) = match &self.state {
            State::Syncing(_) => (false, false),
            State::Live => (true, false),
            State::Failed { synced, reason: before } => (*synced, *before == reason),
        };
        if !said {
            self.updates.failed(error);
        }
        self.state = State::Failed { synced, reason };
        self.backoff.advance()
    }

    fn say(&mut self, seen: Seen) -> Duration {
        self.backoff.reset();
        self.root = Some(seen.root);
        let postponed = seen.postponed;
        self.take(seen);
        match &mut self.state {
            State::Syncing(looks) if postponed && *looks < PATIENCE => *looks += 1,
            State::Syncing(_) | State::Failed { synced: false, .. } => {
                let live = RegistryUpdate::Condition(Condition::Live);
                self.updates.send_all([self.holdings.whole(), live]);
                self.state = State::Live;
            }
            State::Failed { synced: true, .. } => {
                let live = RegistryUpdate::Condition(Condition::Live);
                self.updates.send_all(self.holdings.changes().into_iter().chain([live]));
                self.state = State::Live;
            }
            State::Live => self.updates.send_all(self.holdings.changes()),
        }
        let again = postponed || !self.missed.is_empty();
        if again { SETTLED } else { self.look.config.rescan.duration().max(SETTLED) }
    }

    fn take(&mut self, seen: Seen) {
        let known = Arc::make_mut(&mut self.look.known);
        let missed: BTreeSet<Arc<str>> =
            known.keys().filter(|name| !seen.files.contains(*name)).cloned().collect();
        let gone = missed.intersection(&self.missed).cloned().collect();
        self.missed = missed.difference(&gone).cloned().collect();
        known.retain(|name, _| !gone.contains(name));
        let mut read = BTreeMap::new();
        for (name, (print, parsed)) in seen.read {
            // One that could not be read is tried again at every look.
            known.insert(name.clone(), print);
            read.insert(name, parsed);
        }
        self.holdings.take(read, &gone);
    }
}
