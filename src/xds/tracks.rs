//! Groups of proxies that are frozen: each has scopes of its own, which never move on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mainstem_aggregate::{ControlState, Moment, ProxyGroup};
use mainstem_model::{Proxy, Snapshot};
use mainstem_translate::{Scopes, Settings};
use parking_lot::RwLock;

/// The tracks in force.
pub(super) struct Tracks {
    settings: Settings,
    held: RwLock<BTreeMap<ProxyGroup, Arc<Held>>>,
    /// Counts changes, so that views need not look each time.
    version: AtomicU64,
}

/// One track: the snapshot of the moment when it was first heard of here.
pub(super) struct Held {
    group: ProxyGroup,
    /// When it was decided, which tells it from a later one of the same group.
    since: Moment,
    begun: SystemTime,
    scopes: Scopes,
}

impl Held {
    /// Whose it is.
    pub(super) fn group(&self) -> &ProxyGroup {
        &self.group
    }

    /// Since when it is held here.
    pub(super) fn begun(&self) -> SystemTime {
        self.begun
    }

    /// What its proxies are told.
    pub(super) fn scopes(&self) -> &Scopes {
        &self.scopes
    }
}

impl Tracks {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, held: RwLock::default(), version: AtomicU64::new(0) }
    }

    /// Changes whenever the tracks do.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The track that a proxy is on; of several the first.
    pub(super) fn of(&self, proxy: &Proxy) -> Option<Arc<Held>> {
        let held = self.held.read();
        held.values().find(|track| track.group.contains(proxy)).cloned()
    }

    /// Takes over the tracks of a control state; new ones keep the snapshot of this
    /// moment. Whether anything changed.
    pub(super) fn follow(
        &self,
        state: &ControlState,
        snapshot: impl Fn() -> Arc<Snapshot>,
    ) -> bool {
        let mut held = self.held.write();
        let same = |group: &ProxyGroup, since: Moment| {
            held.get(group).is_some_and(|track| track.since == since)
        };
        let tracks = &state.tracks;
        if tracks.len() == held.len() && tracks.iter().all(|(group, t)| same(group, t.since)) {
            return false;
        }
        held.retain(|group, track| tracks.get(group).is_some_and(|t| t.since == track.since));
        for (group, track) in tracks {
            held.entry(group.clone()).or_insert_with(|| {
                let scopes = Scopes::new(self.settings.clone(), snapshot());
                let (group, begun) = (group.clone(), SystemTime::now());
                Arc::new(Held { group, since: track.since, begun, scopes })
            });
        }
        self.version.fetch_add(1, Ordering::Release);
        true
    }
}
