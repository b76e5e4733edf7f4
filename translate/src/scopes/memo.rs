//! What was built for a service before: proxies in different namespaces see the
//! same resources.

use std::sync::{Arc, Weak};

use mainstem_model::{ChangeSet, ServiceKey};
use rustc_hash::FxHashMap;

use crate::Resource;
use crate::cluster::OutboundView;
use crate::endpoint::EndpointView;

/// What, beside the snapshot, a service's resources were built from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnitView {
    Clusters(OutboundView),
    Endpoints(EndpointView),
}

#[derive(Debug)]
struct Built {
    view: Arc<UnitView>,
    resources: Box<[Weak<Resource>]>,
}

/// Below this many services the table is not swept.
const SWEEP_FLOOR: usize = 1024;

/// Per service, what was built of it for which views. Keeps no resource alive.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    built: FxHashMap<ServiceKey, Vec<Built>>,
    sweep_at: usize,
}

impl Memo {
    /// What was built of the service for an equal view, if all of it is alive.
    pub(crate) fn get(&self, key: &ServiceKey, view: &UnitView) -> Option<Vec<Arc<Resource>>> {
        let built = self.built.get(key)?.iter().find(|built| *built.view == *view)?;
        built.resources.iter().map(Weak::upgrade).collect()
    }

    /// Remembers what was built.
    pub(crate) fn put(
        &mut self,
        key: &ServiceKey,
        view: &Arc<UnitView>,
        resources: &[Arc<Resource>],
    ) {
        // Nothing takes no time to build again, and would never be swept.
        if resources.is_empty() {
            return;
        }
        self.sweep();
        let built = self.built.entry(key.clone()).or_default();
        built.retain(|built| built.view != *view);
        let resources = resources.iter().map(Arc::downgrade).collect();
        built.push(Built { view: view.clone(), resources });
    }

    /// Forgets what is built of what changed.
    pub(crate) fn forget(&mut self, changes: &ChangeSet) {
        for key in changes.services.union(&changes.endpoints) {
            self.built.remove(key);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.built.clear();
    }

    fn sweep(&mut self) {
        if self.built.len() < self.sweep_at.max(SWEEP_FLOOR) {
            return;
        }
        let dead = |built: &Built| built.resources.iter().all(|one| one.strong_count() == 0);
        self.built.retain(|_, built| {
            built.retain(|built| !dead(built));
            !built.is_empty()
        });
        self.sweep_at = 2 * self.built.len();
    }
}
