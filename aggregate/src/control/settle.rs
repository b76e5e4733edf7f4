//! One exchange with the store: read, apply what waits, compare and swap.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::entry::EntryName;
use super::state::{Change, ControlState};
use super::store::{ControlStore, StoreError, Stored, StoredEntry, Write};

/// How long reading the store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a write is tried again at once when somebody else wrote first.
const RIVALS: usize = 16;

/// What the store was found to hold, and what it means.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    pub(super) stored: Stored,
    /// What the stored entries tell, and those that the store cannot take.
    pub(super) state: ControlState,
    /// Entries that are too large for the store, by name.
    pub(super) local: BTreeMap<EntryName, String>,
    /// What is wrong with the others.
    pub(super) invalid: Arc<[String]>,
}

impl Base {
    /// The same over what the store holds now.
    fn over(self, stored: Stored) -> Self {
        if stored == self.stored { self } else { self.read(stored) }
    }

    /// What the store holds, and what it cannot take.
    fn read(self, stored: Stored) -> Self {
        let texts = stored.entries.iter().map(|(name, entry)| (name, &*entry.text));
        let local = self.local.iter().map(|(name, text)| (name, &**text));
        let (state, invalid) = ControlState::from_entries(texts.chain(local));
        let invalid = invalid.iter().map(ToString::to_string).collect();
        Self { stored, state, local: self.local, invalid }
    }

    /// The state after changes, and what has to be written for it.
    fn after(&self, changes: &[Change], most: usize) -> (Self, Vec<Write>) {
        let mut next = self.clone();
        let touched: BTreeSet<EntryName> =
            changes.iter().flat_map(|change| next.state.apply(change)).collect();
        let mut writes = Vec::new();
        for (name, text) in next.state.texts(touched) {
            let (kept, text) = match text {
                Some(text) if text.len() > most => (Some(text), None),
                text => (None, text),
            };
            match kept {
                Some(text) => drop(next.local.insert(name.clone(), text)),
                None => drop(next.local.remove(&name)),
            }
            writes.extend(write(&self.stored, name, text));
        }
        (next, writes)
    }
}

/// What has to be written so that an entry has this text.
fn write(stored: &Stored, name: EntryName, text: Option<String>) -> Option<Write> {
    let there: Option<&StoredEntry> = stored.entries.get(&name);
    let same = there.map(|entry| &*entry.text) == text.as_deref();
    let expected = there.map(|entry| entry.revision.clone());
    (!same).then_some(Write { name, text, expected })
}

/// What the store holds, unless it is silent.
async fn load(store: &dyn ControlStore) -> Result<Stored, StoreError> {
    let loaded = timeout(PATIENCE, store.load()).await;
    loaded.unwrap_or_else(|_| Err(StoreError::Slow { place: store.place().to_string() }))
}

/// Brings the store and `changes` over `base` together; returns what it then holds.
pub(super) async fn settle(
    store: &dyn ControlStore,
    base: Base,
    changes: &[Change],
) -> Result<Base, StoreError> {
    let mut base = base.over(load(store).await?);
    let mut rival = None;
    for _ in 0..RIVALS {
        let (next, writes) = base.after(changes, store.most());
        if writes.is_empty() {
            return Ok(next);
        }
        match store.write(writes).await {
            Ok(()) => return Ok(next.read(load(store).await?)),
            Err(StoreError::Conflict(name)) => rival = Some(name),
            Err(error) => return Err(error),
        }
        base = base.over(load(store).await?);
    }
    Err(StoreError::Conflict(rival.expect("only a conflict is tried again")))
}

/// An error with its causes.
pub(super) fn full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
