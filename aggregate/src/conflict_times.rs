//! Since when registries disagree. Beside the snapshot; decides no byte of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::Conflict;
use parking_lot::RwLock;

/// When each present conflict was first published, for reading.
#[derive(Clone, Debug, Default)]
pub struct ConflictTimes {
    since: Arc<RwLock<HashMap<Conflict, SystemTime>>>,
}

impl ConflictTimes {
    /// Since when the registries disagree about this. Address collisions are
    /// found when they are asked for, and have no time.
    pub fn since(&self, conflict: &Conflict) -> Option<SystemTime> {
        self.since.read().get(conflict).copied()
    }

    /// Takes over a service's conflicts.
    pub(crate) fn note(&self, before: &[Conflict], after: &[Conflict], now: SystemTime) {
        if before == after {
            return;
        }
        let mut since = self.since.write();
        for gone in before.iter().filter(|conflict| !after.contains(conflict)) {
            since.remove(gone);
        }
        for conflict in after {
            since.entry(conflict.clone()).or_insert(now);
        }
    }
}
