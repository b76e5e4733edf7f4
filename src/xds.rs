//! From snapshots to streams: what the xDS server serves is what the scopes hold.
//!
//! ```text
//!  Snapshots ─ follow ─▶ Scopes::update ─ who is told something else ─▶ wakes their streams
//!  stream ─ connect ─▶ node ─▶ Proxy ─▶ Scopes::attach ─▶ View (one Moment at a time)
//!  subscriptions ─ demand ─▶ Interest: what adapters load, and who waits for it
//!  control state ─ tracks ─▶ frozen groups of proxies: Scopes that never move on
//! ```
//!
//! Invariants:
//! - A snapshot is translated once, whoever is connected; only proxies that are
//!   told something else wake.
//! - Until the registries are complete, or their deadlines over, nobody is
//!   answered: an answer that lacks a registry would take its endpoints away.
//! - What is not loaded is never answered as absent: who asks for it by name waits
//!   until it is; who asks for everything waits too, though not for ever.

mod debug;
mod demand;
mod federated;
mod node;
mod shelf;
mod tracks;
mod view;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use mainstem_aggregate::{Published, Readiness, Shared as Controlled, Snapshots};
use mainstem_model::{ClusterId, Snapshot};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_registry::Updates;
use mainstem_translate::{Counts, Scopes, Settings};
use mainstem_xds::{Client, Clients, Refusal, ResourceSource, ResourceView, SetVersion};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use debug::DebugView;
pub use debug::is_debug;
use demand::Demand;
use federated::Authorities;
pub use node::proxy;
use tracks::Tracks;
use view::View;

use crate::spans::Spans;

/// The resources of all proxies, out of the newest snapshot. Clones are the same source.
#[derive(Clone)]
pub struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    scopes: Scopes,
    tracks: Tracks,
    snapshots: Snapshots,
    control: watch::Receiver<Controlled>,
    /// Who is connected, for those who ask about others.
    clients: OnceLock<Clients>,
    spans: OnceLock<Spans>,
    readiness: Readiness,
    /// Whether the scopes hold a snapshot that is worth serving.
    ready: AtomicBool,
    /// The cluster of proxies that name none.
    cluster: RwLock<ClusterId>,
    /// Whose federated names mean what is here.
    authorities: RwLock<Authorities>,
    set_versions: SetVersions,
    demand: Demand,
    /// How each connected stream is woken, by the number of its attachment.
    wakes: Mutex<FxHashMap<u64, Arc<Wake>>>,
}

/// Versions of named parts of what there is, counted once for all streams that
/// have the same: by the version of everything and the set of names.
#[derive(Default)]
struct SetVersions {
    known: Mutex<FxHashMap<(u128, u128), SetVersion>>,
}

impl SetVersions {
    /// More are not kept: each lasts until the next change only.
    const MOST: usize = 1024;

    fn get(&self, key: (u128, u128), count: impl FnOnce() -> SetVersion) -> SetVersion {
        if let Some(known) = self.known.lock().get(&key) {
            return *known;
        }
        let version = count();
        let mut known = self.known.lock();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(key, version);
        version
    }
}

/// How often it is looked whether something is no longer needed.
const LOOK_AT_DEMAND: Duration = Duration::from_secs(30);

/// How one stream is woken.
#[derive(Debug, Default)]
struct Wake {
    task: Mutex<Option<Waker>>,
    changed: AtomicBool,
    /// Whether there is something that the view has not looked at.
    unseen: AtomicBool,
    /// Whether the view waits for something that is not loaded.
    waits: AtomicBool,
    /// When the first change was said that the stream has not seen.
    since: Mutex<Option<Instant>>,
}

impl Wake {
    fn wake(&self, at: Instant) {
        self.since.lock().get_or_insert(at);
        self.unseen.store(true, Ordering::Release);
        self.changed.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }

    /// `known` is the task that is woken already, if any.
    fn poll(&self, known: &mut Option<Waker>, context: &mut Context<'_>) -> Poll<()> {
        if known.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *known = Some(context.waker().clone());
            self.task.lock().clone_from(known);
        }
        // Looked at last: a change that comes between the two wakes again.
        if self.changed.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Source {
    /// What is published, translated for proxies; `cluster` is where those belong
    /// that name none.
    pub fn new(published: &Published, settings: Settings, cluster: ClusterId) -> Self {
        let settings = Settings { home: cluster.clone(), ..settings };
        let shared = Shared {
            tracks: Tracks::new(settings.clone()),
            scopes: Scopes::new(settings, published.snapshots.load()),
            snapshots: published.snapshots.clone(),
            control: published.control.shared().clone(),
            clients: OnceLock::new(),
            spans: OnceLock::new(),
            readiness: published.readiness.clone(),
            ready: AtomicBool::new(false),
            cluster: RwLock::new(cluster),
            authorities: RwLock::default(),
            set_versions: SetVersions::default(),
            demand: Demand::default(),
            wakes: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Translates each new snapshot and wakes the streams that it concerns, until the shutdown.
    ///
    /// # Errors
    /// When there will be no further snapshot.
    pub async fn follow(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut snapshots = self.shared.snapshots.clone();
        let mut readiness = self.shared.readiness.clone();
        let mut control = self.shared.control.clone();
        let mut ready = false;
        let mut lingering = interval(LOOK_AT_DEMAND);
        lingering.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                opened = readiness.ready(), if !ready => {
                    anyhow::ensure!(opened, "the aggregate ended");
                    ready = true;
                    self.update();
                    self.follow_tracks();
                    self.shared.ready.store(true, Ordering::Release);
                    self.wake_all();
                }
                // Who is frozen is known before anything newer is told.
                Ok(()) = control.changed() => {
                    control.mark_unchanged();
                    if ready && self.follow_tracks() {
                        self.wake_all();
                    }
                }
                changed = snapshots.changed() => {
                    changed?;
                    self.update();
                }
                _ = lingering.tick() => self.shared.demand.expire(),
            }
        }
    }

    /// Keeps across restarts, below a directory, what frozen proxies are told.
    pub fn keep_tracks(&self, directory: &Path) {
        self.shared.tracks.keep(directory);
    }

    /// Tells adapters what clients need.
    pub fn tell_needs(&self, updates: Updates) {
        self.shared.demand.tell(updates);
    }

    /// Answers operators who ask about these clients.
    pub fn tell_of(&self, clients: Clients) {
        let _ = self.shared.clients.set(clients);
    }

    /// Traces changes as they come.
    pub fn trace(&self, spans: Spans) {
        let _ = self.shared.spans.set(spans);
    }

    /// How much the scopes hold.
    pub fn counts(&self) -> Counts {
        self.shared.scopes.counts()
    }

    /// Who a client is, as the scopes see it. Whoever proved an identity proved that
    /// it fits the namespace of the node.
    ///
    /// # Errors
    /// A [`Refusal`] when its node says too little.
    pub fn proxy(&self, client: &Client) -> Result<mainstem_model::Proxy, Refusal> {
        let proxy = self.proxy_of(&client.node())?;
        Ok(mainstem_model::Proxy { namespace_proven: !client.identity.is_anonymous(), ..proxy })
    }

    /// The same of a node alone.
    ///
    /// # Errors
    /// A [`Refusal`] when it says too little.
    pub fn proxy_of(&self, node: &Node) -> Result<mainstem_model::Proxy, Refusal> {
        node::proxy(node, &self.shared.cluster.read())
    }

    /// What services do not get at this proxy, since another one has it.
    pub fn clashes(&self, proxy: &mainstem_model::Proxy) -> Vec<mainstem_model::Conflict> {
        self.shared.scopes.clashes(proxy)
    }

    /// Proxies that name no cluster belong to this one from now on.
    pub fn set_cluster(&self, cluster: ClusterId) {
        *self.shared.cluster.write() = cluster;
    }

    /// Names of these authorities mean what is here, for streams that open from now on.
    pub fn set_authorities(&self, authorities: impl IntoIterator<Item = String>) {
        *self.shared.authorities.write() = Arc::new(authorities.into_iter().collect());
        // A version may be that of names which mean something else now.
        self.shared.set_versions.known.lock().clear();
    }

    /// Since when the track is held here that a proxy is on, if it is on one.
    pub fn track(&self, proxy: &mainstem_model::Proxy) -> Option<(String, SystemTime)> {
        let held = self.shared.tracks.of(proxy)?;
        Some((held.group().to_string(), held.begun()))
    }

    /// Takes over which groups of proxies are frozen; whether that changed.
    fn follow_tracks(&self) -> bool {
        let state = self.shared.control.borrow().state.clone();
        self.shared.tracks.follow(&state, || self.shared.scopes.snapshot())
    }

    fn update(&self) {
        let at = self.shared.snapshots.since();
        let snapshot: Arc<Snapshot> = self.shared.snapshots.load();
        let change = self.shared.spans.get().map(|spans| {
            let held = self.shared.scopes.snapshot().generation();
            spans.change(at, &snapshot, snapshot.changes_since(held).as_ref())
        });
        let told = self.shared.scopes.update(&snapshot);
        let streams = told.len();
        // After the scopes: what is no longer missing is there.
        let loaded = self.shared.demand.follow(snapshot.unloaded(), snapshot.mesh());
        let wakes = self.shared.wakes.lock();
        for attached in told {
            if let Some(wake) = wakes.get(&attached.id()) {
                wake.wake(at);
            }
        }
        if loaded {
            let waiting = wakes.values().filter(|wake| wake.waits.load(Ordering::Acquire));
            waiting.for_each(|wake| wake.wake(at));
        }
        if let Some(change) = change {
            change.told(streams);
        }
    }

    fn wake_all(&self) {
        let at = Instant::now();
        self.shared.wakes.lock().values().for_each(|wake| wake.wake(at));
    }
}

impl ResourceSource for Source {
    fn connect(&self, client: &Arc<Client>) -> Result<Box<dyn ResourceView>, Refusal> {
        if is_debug(&client.node) {
            return match client.identity.operator {
                true => Ok(Box::new(DebugView(self.clone()))),
                false => Err(Refusal::Denied(
                    "only an identity of xds.authentication.operators may ask about proxies"
                        .to_owned(),
                )),
            };
        }
        let proxy = self.proxy(client)?;
        Ok(Box::new(View::new(self.shared.clone(), proxy)))
    }
}

#[cfg(test)]
mod tests;
