//! Groups of proxies that are frozen: each has scopes of its own, which never move on.
//!
//! What a track keeps is also kept on disk, in the form of last good states, so that a
//! replica that starts anew tells its proxies the same. The file's time is that of the
//! decision, which tells it from a later track of the same group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use mainstem_aggregate::{ControlState, LastGood, Moment, ProxyGroup, Restored};
use mainstem_model::{Proxy, RegistryId, Snapshot, Value};
use mainstem_translate::{Scopes, Settings};
use parking_lot::{Mutex, RwLock};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// The tracks in force.
pub(super) struct Tracks {
    settings: Settings,
    held: RwLock<BTreeMap<ProxyGroup, Arc<Held>>>,
    /// Counts changes, so that views need not look each time.
    version: AtomicU64,
    /// Where snapshots are kept across restarts, if they are.
    files: OnceLock<LastGood>,
    /// The tracks whose files count. Held while one is written or forgotten: of two
    /// tracks of one group, begun shortly one after the other, the later stays.
    kept: Arc<Mutex<BTreeMap<ProxyGroup, Moment>>>,
    writing: Mutex<JoinSet<()>>,
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
        Self {
            settings,
            held: RwLock::default(),
            version: AtomicU64::new(0),
            files: OnceLock::new(),
            kept: Arc::default(),
            writing: Mutex::default(),
        }
    }

    /// Keeps snapshots across restarts in a directory.
    pub(super) fn keep(&self, directory: &Path) {
        let _ = self.files.set(LastGood::new(&directory.join("tracks")));
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
        held.retain(|group, track| {
            let goes_on = tracks.get(group).is_some_and(|t| t.since == track.since);
            if !goes_on {
                self.forget(group);
            }
            goes_on
        });
        for (group, track) in tracks {
            held.entry(group.clone())
                .or_insert_with(|| Arc::new(self.begin(group.clone(), track.since, &snapshot)));
        }
        self.version.fetch_add(1, Ordering::Release);
        true
    }

    /// A track with the snapshot that it has on disk, else with that of this moment.
    fn begin(&self, group: ProxyGroup, since: Moment, now: impl Fn() -> Arc<Snapshot>) -> Held {
        let now = now();
        let (snapshot, begun) = match self.restored(&group, since, &now) {
            Some(kept) => {
                info!(proxies = %group, "a track is taken up again");
                (kept, since.time())
            }
            None => {
                self.write(&group, since, now.clone());
                (now, SystemTime::now())
            }
        };
        let scopes = Scopes::new(self.settings.clone(), snapshot);
        Held { group, since, begun, scopes }
    }

    fn restored(&self, group: &ProxyGroup, since: Moment, now: &Snapshot) -> Option<Arc<Snapshot>> {
        match self.files.get()?.read(&file(group)) {
            Ok(Some(Restored { values, live_at })) if Moment::from(live_at) == since => {
                Some(Arc::new(snapshot(values, now)))
            }
            Ok(_) => None,
            Err(refused) => {
                warn!(proxies = %group, error = %refused, "what a track kept is not used");
                None
            }
        }
    }

    fn write(&self, group: &ProxyGroup, since: Moment, snapshot: Arc<Snapshot>) {
        let Some(files) = self.files.get().cloned() else { return };
        let (group, kept) = (group.clone(), self.kept.clone());
        kept.lock().insert(group.clone(), since);
        let mut writing = self.writing.lock();
        while writing.try_join_next().is_some() {}
        writing.spawn_blocking(move || {
            let kept = kept.lock();
            if kept.get(&group) != Some(&since) {
                return;
            }
            if let Err(error) = files.write(&file(&group), values(&snapshot), since.time()) {
                warn!(proxies = %group, %error, "what a track keeps ends with this process");
            }
        });
    }

    fn forget(&self, group: &ProxyGroup) {
        let mut kept = self.kept.lock();
        kept.remove(group);
        if let Some(Err(error)) = self.files.get().map(|files| files.forget(&file(group))) {
            warn!(proxies = %group, %error, "what a track kept stays on disk");
        }
    }
}

/// The name under which a track is kept.
fn file(group: &ProxyGroup) -> RegistryId {
    RegistryId::new("track", &group.to_string())
}

/// Everything of a snapshot that proxies may be told.
fn values(snapshot: &Snapshot) -> Vec<Value> {
    let services = snapshot.services().cloned().map(Value::Service);
    let sets = snapshot.services().filter_map(|service| snapshot.endpoints(&service.key));
    services
        .chain(sets.cloned().map(Value::Endpoints))
        .chain(snapshot.workloads().cloned().map(Value::Workload))
        .chain(snapshot.namespaces().cloned().map(Value::Namespace))
        .chain(snapshot.configs().cloned().map(Value::Config))
        .chain(snapshot.gateways().cloned().map(Value::Gateway))
        .collect()
}

/// The same as a snapshot again, with the mesh settings of another one.
fn snapshot(values: Vec<Value>, now: &Snapshot) -> Snapshot {
    let mut draft = Snapshot::new((**now.mesh()).clone()).edit();
    for value in values {
        match value {
            Value::Service(service) => draft.put_service(service),
            Value::Endpoints(set) => draft.put_endpoints(set),
            Value::Workload(workload) => draft.put_workload(workload),
            Value::Namespace(namespace) => draft.put_namespace(namespace),
            Value::Config(config) => draft.put_config(config),
            Value::Gateway(gateway) => draft.put_gateway(gateway),
            Value::Unloaded(service) => draft.put_unloaded(service),
        }
    }
    draft.finish()
}
