//! The value: holds and what operators decided, and what a change makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstem_model::{
    Address, Endpoint, EndpointKey, EndpointSet, NetworkId, Proxy, RegistryId, Service, ServiceKey,
};
use serde::{Deserialize, Serialize};

use super::decisions::{Drain, Freeze, Frozen, ProxyGroup, Release, Track};
use super::entry::EntryName;

/// A time in milliseconds since 1970, the same on every replica.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The same as the system's time; the year 9999 for all after it.
    pub fn time(self) -> SystemTime {
        const LAST: u64 = 253_402_300_799_000;
        UNIX_EPOCH + Duration::from_millis(self.0.min(LAST))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self::default().after(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// One service of one registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldKey {
    /// The registry.
    pub registry: RegistryId,
    /// The service.
    pub service: ServiceKey,
}

impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.registry, self.service)
    }
}

/// A registry, or one service of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The registry.
    pub registry: RegistryId,
    /// The service; `None` is all of the registry.
    pub service: Option<ServiceKey>,
}

impl Scope {
    /// Whether the service is in it.
    pub fn covers(&self, key: &HoldKey) -> bool {
        self.registry == key.registry
            && self.service.as_ref().is_none_or(|service| *service == key.service)
    }
}

/// What made the guard hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The service lost too many endpoints.
    Service,
    /// The registry as a whole did.
    Registry,
}

/// Endpoints that a registry withdrew and that are kept all the same.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Since when.
    pub since: Moment,
    /// Until when, at the latest.
    pub until: Moment,
    /// Why.
    pub cause: Cause,
    /// The service as the registry defined it, if it did.
    pub definition: Option<Arc<Service>>,
    /// What is kept; every endpoint is marked as held.
    pub endpoints: Arc<EndpointSet>,
}

impl Hold {
    /// Both together: what either keeps, from the earlier on, to the earlier end.
    fn merged(&self, other: &Self) -> Self {
        let order = |hold: &Self| (hold.since, hold.until, hold.cause);
        let (first, second) =
            if order(self) <= order(other) { (self, other) } else { (other, self) };
        let all = first.endpoints.endpoints().iter().chain(second.endpoints.endpoints());
        let endpoints = EndpointSet::new(first.endpoints.service.clone(), all.cloned().collect());
        Self {
            since: first.since,
            until: first.until.min(second.until),
            cause: first.cause.max(second.cause),
            definition: first.definition.clone().or_else(|| second.definition.clone()),
            endpoints: Arc::new(endpoints),
        }
    }

    /// Without some endpoints; `None` when nothing is left.
    fn without(&self, gone: &[EndpointId]) -> Option<Self> {
        let gone: BTreeSet<EndpointKey<'_>> = gone.iter().map(EndpointId::key).collect();
        let kept = self.endpoints.endpoints().iter().filter(|e| !gone.contains(&e.key()));
        let kept: Vec<_> = kept.cloned().collect();
        let endpoints = EndpointSet::new(self.endpoints.service.clone(), kept);
        (!endpoints.is_empty()).then(|| Self { endpoints: Arc::new(endpoints), ..self.clone() })
    }

    /// Whether both keep the same, revisions aside, for as long.
    pub fn same_content(&self, other: &Self) -> bool {
        let same_definition = match (&self.definition, &other.definition) {
            (Some(one), Some(other)) => one.same_content(other),
            (None, None) => true,
            _ => false,
        };
        (self.since, self.until, self.cause) == (other.since, other.until, other.cause)
            && same_definition
            && self.endpoints.same_content(&other.endpoints)
    }
}

/// An endpoint's identity within its service, by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    /// The service port.
    pub port: u16,
    /// The network.
    pub network: NetworkId,
    /// The first address.
    pub address: Address,
    /// The port to connect to.
    pub target_port: u16,
}

impl EndpointId {
    /// That of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            port: endpoint.port,
            network: endpoint.place.network.clone(),
            address: endpoint.address.clone(),
            target_port: endpoint.target_port,
        }
    }

    fn key(&self) -> EndpointKey<'_> {
        (self.port, &self.network, &self.address, self.target_port)
    }
}

/// One decision, or the end of one.
#[derive(Clone, Debug)]
pub enum Change {
    /// The guard holds; what a release covers stays let go.
    Hold(HoldKey, Arc<Hold>),
    /// These are live again, there or elsewhere.
    Return(HoldKey, Vec<EndpointId>),
    /// Nothing in the scope is held from now on until the release's end.
    Release(Scope, Release),
    /// The scope stays as it is; `None` lets it go on.
    Freeze(Scope, Option<Freeze>),
    /// A frozen service was so before its registry changed it; of several the first counts.
    Keep(HoldKey, Arc<Frozen>),
    /// The proxies keep what they have; `None` lets them go on.
    Track(ProxyGroup, Option<Track>),
    /// The registry is drained; `None` ends that.
    Drain(RegistryId, Option<Drain>),
    /// What ends by this moment has ended.
    Expire(Moment),
}

/// See the module above.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    /// What the guard holds.
    pub holds: BTreeMap<HoldKey, Arc<Hold>>,
    /// What it was told to let go.
    pub releases: BTreeMap<Scope, Release>,
    /// What stays as it is.
    pub freezes: BTreeMap<Scope, Freeze>,
    /// How that was, as far as a registry changed it since.
    pub frozen: BTreeMap<HoldKey, Arc<Frozen>>,
    /// Which proxies keep what they have.
    pub tracks: BTreeMap<ProxyGroup, Track>,
    /// Who is drained.
    pub drains: BTreeMap<RegistryId, Drain>,
}

impl ControlState {
    /// Applies a change; returns the names of the entries that it touched.
    pub fn apply(&mut self, change: &Change) -> BTreeSet<EntryName> {
        match change {
            Change::Hold(key, hold) => self.hold(key, hold),
            Change::Return(key, gone) => self.give_back(key, gone),
            Change::Release(scope, release) => self.release(scope, release),
            Change::Freeze(scope, freeze) => {
                let mut touched = set(&mut self.freezes, scope, freeze.clone(), EntryName::freeze);
                self.thaw(&mut touched);
                touched
            }
            Change::Keep(key, frozen) => self.keep(key, frozen),
            Change::Track(group, track) => {
                set(&mut self.tracks, group, track.clone(), EntryName::track)
            }
            Change::Drain(registry, drain) => {
                set(&mut self.drains, registry, drain.clone(), EntryName::drain)
            }
            Change::Expire(now) => self.expire(*now),
        }
    }

    /// Everything that either knows. Whoever merges whom, and in whatever order,
    /// the result is the same.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (scope, release) in &other.releases {
            let own = all.releases.entry(scope.clone()).or_insert_with(|| release.clone());
            *own = release.clone().max(own.clone());
        }
        for (scope, freeze) in &other.freezes {
            let own = all.freezes.entry(scope.clone()).or_insert_with(|| freeze.clone());
            *own = freeze.clone().max(own.clone());
        }
        for (group, track) in &other.tracks {
            let own = all.tracks.entry(group.clone()).or_insert_with(|| track.clone());
            *own = track.clone().max(own.clone());
        }
        for (key, frozen) in &other.frozen {
            all.put_frozen(key, frozen);
        }
        for (registry, drain) in &other.drains {
            let own = all.drains.entry(registry.clone()).or_insert_with(|| drain.clone());
            *own = drain.clone().max(own.clone());
        }
        for (key, hold) in &other.holds {
            all.put(key, hold);
        }
        all
    }

    /// Lets go what a release of another state, merged in, covers.
    pub fn settle(&mut self) {
        let releases = &self.releases;
        self.holds.retain(|key, hold| !released(releases, key, hold.since));
        self.thaw(&mut BTreeSet::new());
    }

    /// What is held of a service.
    pub fn held(&self, registry: &RegistryId, service: &ServiceKey) -> Option<&Arc<Hold>> {
        self.holds.get(&HoldKey { registry: registry.clone(), service: service.clone() })
    }

    /// How a frozen service was, where its registry changed it since.
    pub fn frozen(&self, registry: &RegistryId, service: &ServiceKey) -> Option<&Arc<Frozen>> {
        if self.frozen.is_empty() {
            return None;
        }
        let key = HoldKey { registry: registry.clone(), service: service.clone() };
        self.frozen.get(&key).filter(|frozen| covered(&self.freezes, &key, frozen.since))
    }

    /// The freeze that a service of a registry is under since first.
    pub fn freeze_of(&self, key: &HoldKey) -> Option<&Freeze> {
        scopes(key).into_iter().filter_map(|scope| self.freezes.get(&scope)).min()
    }

    /// How much of its weight a registry has, in percent.
    pub fn share(&self, registry: &RegistryId, now: Moment) -> u8 {
        self.drains.get(registry).map_or(100, |drain| drain.share(now))
    }

    /// When some registry's share changes next.
    pub fn next_share(&self, now: Moment) -> Option<Moment> {
        self.drains.values().filter_map(|drain| drain.next_change(now)).min()
    }

    /// The group in force that a proxy belongs to; of several the first.
    pub fn track_of(&self, proxy: &Proxy) -> Option<&ProxyGroup> {
        self.tracks.keys().find(|group| group.contains(proxy))
    }

    /// When the next decision ends.
    pub fn next_end(&self) -> Option<Moment> {
        let holds = self.holds.values().map(|hold| hold.until);
        let releases = self.releases.values().map(|release| release.until);
        let freezes = self.freezes.values().map(|freeze| freeze.until);
        let tracks = self.tracks.values().map(|track| track.until);
        let drains = self.drains.values().filter(|drain| drain.to == 100);
        let drains = drains.map(|drain| drain.until);
        holds.chain(releases).chain(freezes).chain(tracks).chain(drains).min()
    }

    fn hold(&mut self, key: &HoldKey, hold: &Arc<Hold>) -> BTreeSet<EntryName> {
        if released(&self.releases, key, hold.since) {
            return BTreeSet::new();
        }
        self.put(key, hold);
        [EntryName::hold(key)].into()
    }

    fn put(&mut self, key: &HoldKey, hold: &Arc<Hold>) {
        let merged = match self.holds.get(key) {
            Some(before) => Arc::new(before.merged(hold)),
            None => hold.clone(),
        };
        self.holds.insert(key.clone(), merged);
    }

    fn give_back(&mut self, key: &HoldKey, gone: &[EndpointId]) -> BTreeSet<EntryName> {
        let Some(hold) = self.holds.get(key) else { return BTreeSet::new() };
        match hold.without(gone) {
            Some(rest) => drop(self.holds.insert(key.clone(), Arc::new(rest))),
            None => drop(self.holds.remove(key)),
        }
        [EntryName::hold(key)].into()
    }

    fn release(&mut self, scope: &Scope, release: &Release) -> BTreeSet<EntryName> {
        let mut touched = BTreeSet::from([EntryName::release(scope)]);
        self.holds.retain(|key, _| {
            let covered = scope.covers(key);
            touched.extend(covered.then(|| EntryName::hold(key)));
            !covered
        });
        self.releases.insert(scope.clone(), release.clone());
        touched
    }

    fn expire(&mut self, now: Moment) -> BTreeSet<EntryName> {
        let mut touched = BTreeSet::new();
        self.holds.retain(|key, hold| {
            let ended = hold.until <= now;
            touched.extend(ended.then(|| EntryName::hold(key)));
            !ended
        });
        self.releases.retain(|scope, release| {
            let ended = release.until <= now;
            touched.extend(ended.then(|| EntryName::release(scope)));
            !ended
        });
        self.freezes.retain(|scope, freeze| {
            let ended = freeze.until <= now;
            touched.extend(ended.then(|| EntryName::freeze(scope)));
            !ended
        });
        self.tracks.retain(|group, track| {
            let ended = track.until <= now;
            touched.extend(ended.then(|| EntryName::track(group)));
            !ended
        });
        self.drains.retain(|registry, drain| {
            let ended = drain.over(now);
            touched.extend(ended.then(|| EntryName::drain(registry)));
            !ended
        });
        self.thaw(&mut touched);
        touched
    }

    fn keep(&mut self, key: &HoldKey, frozen: &Arc<Frozen>) -> BTreeSet<EntryName> {
        if !covered(&self.freezes, key, frozen.since) {
            return BTreeSet::new();
        }
        self.put_frozen(key, frozen);
        [EntryName::frozen(key)].into()
    }

    fn put_frozen(&mut self, key: &HoldKey, frozen: &Arc<Frozen>) {
        let first = match self.frozen.remove(key) {
            Some(before) => before.first(frozen.clone()),
            None => frozen.clone(),
        };
        self.frozen.insert(key.clone(), first);
    }

    /// Forgets what no freeze keeps any more.
    fn thaw(&mut self, touched: &mut BTreeSet<EntryName>) {
        let freezes = &self.freezes;
        self.frozen.retain(|key, frozen| {
            let kept = covered(freezes, key, frozen.since);
            touched.extend((!kept).then(|| EntryName::frozen(key)));
            kept
        });
    }
}

/// The scopes that a service of a registry is in.
fn scopes(key: &HoldKey) -> [Scope; 2] {
    [Some(key.service.clone()), None]
        .map(|service| Scope { registry: key.registry.clone(), service })
}

/// Whether a freeze is the one that something was kept for at this moment.
fn covered(freezes: &BTreeMap<Scope, Freeze>, key: &HoldKey, at: Moment) -> bool {
    scopes(key).iter().any(|scope| freezes.get(scope).is_some_and(|freeze| freeze.covers(at)))
}

/// Whether something that was to be held at `since` had been let go.
fn released(releases: &BTreeMap<Scope, Release>, key: &HoldKey, since: Moment) -> bool {
    let mut scopes = scopes(key).into_iter().filter_map(|scope| releases.get(&scope));
    scopes.any(|release| since < release.until)
}

fn set<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, V>,
    key: &K,
    value: Option<V>,
    name: impl Fn(&K) -> EntryName,
) -> BTreeSet<EntryName> {
    if map.get(key) == value.as_ref() {
        return BTreeSet::new();
    }
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
    [name(key)].into()
}
