//! Times that stand beside the snapshot and never decide a byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::{Condition, RegistryId};
use mainstem_registry::Batch;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::time::Instant;

use crate::settings::AggregateConfig;

/// When a registry said what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// Since when it is in its present condition.
    pub since: SystemTime,
    /// When it last said anything about its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update: Option<SystemTime>,
    /// When it last failed, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<(SystemTime, Arc<str>)>,
    /// How many batches of updates it brought.
    pub batches: u64,
    #[serde(skip)]
    condition: Condition,
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
        if let Some(status) = self.table.write().get_mut(registry) {
            status.note(batch, now);
        }
    }
}

impl RegistryStatus {
    fn new(now: SystemTime) -> Self {
        Self {
            since: now,
            last_update: None,
            last_error: None,
            batches: 0,
            condition: Condition::Syncing,
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
        if let Some(condition) = &batch.condition {
            if let Condition::Failed(reason) = condition {
                self.last_error = Some((now, reason.clone()));
            }
            // Failing again for another reason is the same condition.
            if condition.word() != self.condition.word() {
                self.since = now;
            }
            self.condition = condition.clone();
        }
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
}
