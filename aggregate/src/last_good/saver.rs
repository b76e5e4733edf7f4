//! When last good states are written: off the loop, one at a time, each registry
//! at most once in an interval.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mainstem_model::RegistryId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{LastGood, WriteError};
use crate::held::Values;

/// What came of one write.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) registry: RegistryId,
    /// How many bytes were written; none where the state was the same.
    pub(crate) bytes: Result<Option<u64>, WriteError>,
}

/// What the loop gives away for writing.
pub(crate) struct Order {
    pub(crate) values: Values,
    pub(crate) live_at: SystemTime,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Something changed since the last write.
    changed: bool,
    /// Not before.
    earliest: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    files: Option<LastGood>,
    interval: Duration,
    registries: BTreeMap<RegistryId, Entry>,
    running: Option<JoinHandle<Saved>>,
}

impl Saver {
    /// Takes over where and how often.
    pub(crate) fn configure(&mut self, directory: Option<&PathBuf>, interval: Duration) {
        let files = directory.map(|directory| LastGood::new(directory));
        if files != self.files {
            // What a new directory lacks is written there.
            self.registries.values_mut().for_each(|entry| entry.changed = true);
        }
        self.files = files;
        self.interval = interval;
    }

    /// Where the files are, if anywhere.
    pub(crate) fn files(&self) -> Option<&LastGood> {
        self.files.as_ref()
    }

    /// The registry said something of its values.
    pub(crate) fn changed(&mut self, registry: &RegistryId, now: Instant) {
        let entry = Entry { changed: true, earliest: now };
        self.registries.entry(registry.clone()).or_insert(entry).changed = true;
    }

    /// The registry is gone from the configuration, and its file with it.
    pub(crate) fn forget(&mut self, registry: &RegistryId) -> Result<(), WriteError> {
        self.registries.remove(registry);
        self.files.as_ref().map_or(Ok(()), |files| files.forget(registry))
    }

    /// When something is to be written, if nothing is being written.
    pub(crate) fn next(&self) -> Option<Instant> {
        let idle = self.files.is_some() && self.running.is_none();
        idle.then(|| self.registries.values().map(|entry| entry.earliest).min()).flatten()
    }

    /// Starts the write that is due, if any; `order` gives the state of a registry
    /// that may be written.
    pub(crate) fn advance(&mut self, now: Instant, order: impl Fn(&RegistryId) -> Option<Order>) {
        if self.files.is_none() || self.running.is_some() {
            return;
        }
        let due = self.registries.iter().filter(|(_, entry)| entry.earliest <= now);
        let Some((registry, entry)) = due.min_by_key(|(_, entry)| entry.earliest) else { return };
        let (registry, changed) = (registry.clone(), entry.changed);
        let order = order(&registry);
        let next = Entry { changed: changed && order.is_none(), earliest: now + self.interval };
        self.registries.insert(registry.clone(), next);
        if let Some(order) = order {
            self.start(registry, changed, order);
        }
    }

    fn start(&mut self, registry: RegistryId, changed: bool, order: Order) {
        let Some(files) = self.files.clone() else { return };
        let Order { values, live_at } = order;
        self.running = Some(tokio::task::spawn_blocking(move || {
            let bytes = if changed {
                files.write(&registry, values.all(), live_at).map(Some)
            } else {
                files.confirm(&registry, live_at).map(|()| None)
            };
            Saved { registry, bytes }
        }));
    }

    /// Finishes what is being written, then writes whatever else changed.
    pub(crate) async fn flush(
        &mut self,
        order: impl Fn(&RegistryId) -> Option<Order>,
    ) -> Vec<Saved> {
        let mut all = Vec::new();
        if self.running.is_some() {
            all.push(self.finished().await);
        }
        let changed = self.registries.iter().filter(|(_, entry)| entry.changed);
        let changed: Vec<_> = changed.map(|(registry, _)| registry.clone()).collect();
        for registry in changed {
            if let Some(order) = order(&registry) {
                self.start(registry, true, order);
            }
            if self.running.is_some() {
                all.push(self.finished().await);
            }
        }
        all
    }

    /// Waits for the write that is running; for ever if none is. Safe to cancel.
    pub(crate) async fn finished(&mut self) -> Saved {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let saved = running.await;
        self.running = None;
        let saved = saved.expect("a write neither panics nor is cancelled");
        match (self.registries.get_mut(&saved.registry), &self.files) {
            (Some(entry), _) => entry.changed |= saved.bytes.is_err(),
            // It was forgotten while it was being written.
            (None, Some(files)) => drop(files.forget(&saved.registry)),
            (None, None) => {}
        }
        saved
    }
}
