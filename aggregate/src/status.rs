//! Times that stand beside the snapshot and never decide a byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_model::{Condition, Freshness, RegistryId};
use mainstem_registry::Batch;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::time::Instant;

use crate::settings::AggregateConfig;

/// When a registry said what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// Since when it is as fresh as it is.
    pub since: SystemTime,
    /// Until when it was followed, where it is not now and was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_until: Option<SystemTime>,
    /// When it last said anything about its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update: Option<SystemTime>,
    /// When it last failed, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<(SystemTime, Arc<str>)>,
    /// How many batches of updates it brought.
    pub batches: u64,
    /// Its last good state on disk.
    pub last_good: LastGoodStatus,
    #[serde(skip)]
    freshness: Freshness,
}

/// What is known of a registry's last good state on disk.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastGoodStatus {
    /// When it was last written, in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<SystemTime>,
    /// How many times, in this process.
    pub writes: u64,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// Why the last attempt to use or to write it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
}

impl RegistryStatus {
    /// How far the registry's values may lag behind it: nothing while it is
    /// followed, else the time since it last was. `None` when it never was.
    pub fn lag(&self, now: SystemTime) -> Option<Duration> {
        if self.freshness == Freshness::Live {
            return Some(Duration::ZERO);
        }
        self.live_until.map(|until| now.duration_since(until).unwrap_or_default())
    }
}

/// The table of all configured registries' times, for reading.
#[derive(Clone, Debug, Default)]
pub struct Statuses {
    table: Arc<RwLock<BTreeMap<RegistryId, RegistryStatus>>>,
}

impl Statuses {
    /// One registry's times.
    pub fn get(&self, registry: &RegistryId) -> Option<RegistryStatus> {
        self.table.read().get(registry).cloned()
    }

    /// All registries' times.
    pub fn all(&self) -> BTreeMap<RegistryId, RegistryStatus> {
        self.table.read().clone()
    }

    /// Follows the configured registries.
    pub(crate) fn configure(&self, config: &AggregateConfig, now: SystemTime) {
        let mut table = self.table.write();
        table.retain(|id, _| config.registries.iter().any(|registry| registry.id == *id));
        for registry in &config.registries {
            table.entry(registry.id.clone()).or_insert_with(|| RegistryStatus::new(now));
        }
    }

    /// Notes that a registry said something.
    pub(crate) fn note(&self, registry: &RegistryId, batch: &Batch, now: SystemTime) {
        self.change(registry, |status| status.note(batch, now));
    }

    /// Notes how fresh a registry is.
    pub(crate) fn note_freshness(
        &self,
        registry: &RegistryId,
        freshness: Freshness,
        now: SystemTime,
    ) {
        self.change(registry, |status| status.note_freshness(freshness, now));
    }

    /// Notes that a registry's last good state is used, and until when it was so.
    pub(crate) fn note_restored(&self, registry: &RegistryId, live_at: SystemTime) {
        self.change(registry, |status| status.live_until = Some(live_at));
    }

    /// Notes something of a registry's last good state.
    pub(crate) fn note_last_good(
        &self,
        registry: &RegistryId,
        note: impl FnOnce(&mut LastGoodStatus),
    ) {
        self.change(registry, |status| note(&mut status.last_good));
    }

    fn change(&self, registry: &RegistryId, change: impl FnOnce(&mut RegistryStatus)) {
        if let Some(status) = self.table.write().get_mut(registry) {
            change(status);
        }
    }
}

impl RegistryStatus {
    fn new(now: SystemTime) -> Self {
        Self {
            since: now,
            live_until: None,
            last_update: None,
            last_error: None,
            batches: 0,
            last_good: LastGoodStatus::default(),
            freshness: Freshness::Syncing,
        }
    }

    fn note(&mut self, batch: &Batch, now: SystemTime) {
        if batch.removed {
            *self = Self::new(now);
        }
        self.batches += 1;
        if batch.replace.is_some() || !batch.values.is_empty() {
            self.last_update = Some(now);
        }
        if let Some(Condition::Failed(reason)) = &batch.condition {
            self.last_error = Some((now, reason.clone()));
        }
    }

    fn note_freshness(&mut self, freshness: Freshness, now: SystemTime) {
        if self.freshness == freshness {
            return;
        }
        match (self.freshness, freshness) {
            (_, Freshness::Live) => self.live_until = None,
            (Freshness::Live, _) => self.live_until = Some(now),
            _ => {}
        }
        self.since = now;
        self.freshness = freshness;
    }
}

/// Wall-clock time that follows tokio's clock, so that tests can pause both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    started: Instant,
    at: SystemTime,
}

impl WallClock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), at: SystemTime::now() }
    }

    pub(crate) fn at(&self, now: Instant) -> SystemTime {
        self.at + now.duration_since(self.started)
    }

    /// The moment of a time; the start for all before it.
    pub(crate) fn moment(&self, at: SystemTime) -> Instant {
        self.started + at.duration_since(self.at).unwrap_or_default()
    }
}
