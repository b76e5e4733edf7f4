//! The aggregate's part in the withdrawal guard: what a batch did to services,
//! and what holds make of what registries say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::{
    Address, Endpoint, EndpointSet, Key, NetworkId, RegistryId, ServiceKey, Value,
};
use mainstem_registry::Batch;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Aggregate, steered};
use crate::control::{Change, ControlState, EndpointId, Hold, HoldKey, Moment};
use crate::dirty::Dirty;
use crate::guard::{self, GuardMode, History, Moves, NewDemand, Rules, Situation, Verdict, serves};
use crate::held::{Held, Said, Values};
use crate::settings::RegistrySettings;

/// What a batch came to.
#[derive(Debug, Default)]
pub struct Heard {
    /// What has to be merged again.
    pub dirty: Dirty,
    /// What the guard decided; in force once [`Aggregate::decide`] has it.
    pub decisions: Vec<Change>,
}

/// Where a process listens.
type Place = (NetworkId, Address, u16);

fn place(endpoint: &Endpoint) -> Place {
    (endpoint.place.network.clone(), endpoint.address.clone(), endpoint.target_port)
}

/// The holds in force, with what is asked of them often.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) state: ControlState,
    by_place: FxHashMap<Place, BTreeSet<HoldKey>>,
    counts: BTreeMap<RegistryId, usize>,
}

impl Holds {
    /// The definitions that a registry's holds may bring, or everybody's.
    pub(super) fn keys(&self, registry: Option<&RegistryId>) -> impl Iterator<Item = Key> {
        let holds = self.state.holds.keys();
        let own = holds.filter(move |key| registry.is_none_or(|id| key.registry == *id));
        own.map(|key| Key::Service(key.service.clone()))
    }

    /// The services of a registry that are kept as they were.
    pub(super) fn frozen_keys(&self, registry: &RegistryId) -> impl Iterator<Item = Key> {
        let own = self.state.frozen.keys().filter(move |key| key.registry == *registry);
        own.map(|key| Key::Service(key.service.clone()))
    }

    /// Everybody's.
    pub(super) fn all_frozen_keys(&self) -> impl Iterator<Item = Key> {
        self.state.frozen.keys().map(|key| Key::Service(key.service.clone()))
    }
}

/// What a registry said before a batch.
pub(super) enum Before {
    All(Values),
    /// What it said, and what it had not loaded.
    Some(FxHashMap<ServiceKey, Said>, FxHashSet<ServiceKey>),
}

impl Before {
    /// As much as the batch may change.
    fn of(held: Option<&Held>, batch: &Batch) -> Self {
        let Some(held) = held else { return Self::Some(FxHashMap::default(), Default::default()) };
        if batch.replace.is_some() || !batch.rejected.is_empty() {
            return Self::All(held.values.clone());
        }
        let keys = batch.values.keys().filter_map(|key| match key {
            Key::Service(service) | Key::Endpoints(service) => Some(service),
            _ => None,
        });
        let said = keys.filter_map(|key| Some((key.clone(), held.values.said(key)?.clone())));
        let unloaded = batch.values.keys().filter_map(|key| match key {
            Key::Unloaded(service) if held.values.is_unloaded(service) => Some(service.clone()),
            _ => None,
        });
        Self::Some(said.collect(), unloaded.collect())
    }

    pub(super) fn said(&self, key: &ServiceKey) -> Option<&Said> {
        match self {
            Self::All(values) => values.said(key),
            Self::Some(said, _) => said.get(key),
        }
    }

    /// Whether the service was not loaded.
    fn lacked(&self, key: &ServiceKey) -> bool {
        match self {
            Self::All(values) => values.is_unloaded(key),
            Self::Some(_, unloaded) => unloaded.contains(key),
        }
    }
}

impl Aggregate {
    /// Takes over what a registry said, as [`Aggregate::apply`] does, and lets the
    /// guard judge it.
    pub fn receive(&mut self, registry: RegistryId, batch: Batch, now: SystemTime) -> Heard {
        if batch.removed {
            self.histories.remove(&registry);
        }
        let known = self.complete(&registry) && !batch.removed;
        let complete = batch.replace.is_some();
        let before = Before::of(self.held.get(&registry), &batch);
        let mut dirty = self.apply(registry.clone(), batch);
        if !self.holds.state.frozen.is_empty() {
            self.mark_members(&registry, &mut dirty);
        }
        let Some(settings) = self.settings(&registry).cloned() else {
            return Heard { dirty, decisions: Vec::new() };
        };
        let decisions = if known {
            let mut kept = self.kept(&registry, &before, &dirty, now);
            kept.extend(self.judge(&settings, &before, &dirty, complete, now));
            kept
        } else if complete {
            self.begin(&registry)
        } else {
            Vec::new()
        };
        Heard { dirty, decisions }
    }

    /// Puts decisions in force; returns what has to be merged again.
    pub fn decide(&mut self, decisions: &[Change]) -> Dirty {
        let mut dirty = Dirty::default();
        for change in decisions {
            match change {
                Change::Hold(key, _) | Change::Return(key, _) => {
                    let before = self.holds.state.holds.get(key).cloned();
                    self.holds.state.apply(change);
                    self.note(key, before.as_deref(), &mut dirty);
                }
                Change::Keep(key, _) => {
                    if !self.holds.state.apply(change).is_empty() && self.rules.knows(&key.registry)
                    {
                        steered::mark(key, &mut dirty);
                    }
                }
                other => {
                    let mut state = self.holds.state.clone();
                    state.apply(other);
                    self.adopt(state, &mut dirty);
                }
            }
        }
        dirty
    }

    /// Takes over a control state; returns what has to be merged again.
    pub fn control(&mut self, state: ControlState) -> Dirty {
        let mut dirty = Dirty::default();
        self.adopt(state, &mut dirty);
        dirty
    }

    /// The control state in force.
    pub fn control_state(&self) -> &ControlState {
        &self.holds.state
    }

    /// How many endpoints are held for a registry.
    pub(super) fn held_count(&self, registry: &RegistryId) -> usize {
        self.holds.counts.get(registry).copied().unwrap_or_default()
    }

    /// Notes a first complete state: the guard begins with it, and what is held
    /// and in it is back.
    pub(super) fn begin(&mut self, registry: &RegistryId) -> Vec<Change> {
        let Some(held) = self.held.get(registry) else { return Vec::new() };
        let sets = held.values.all().filter_map(|value| match value {
            Value::Endpoints(set) => Some(set),
            _ => None,
        });
        let serving = sets.map(|set| set.endpoints().iter().filter(|e| serves(e)).count()).sum();
        let mut history = History::default();
        history.begin(serving);
        self.histories.insert(registry.clone(), history);
        let holds = self.holds.state.holds.iter().filter(|(key, _)| key.registry == *registry);
        let back = holds.filter_map(|(key, hold)| {
            let set = held.values.said(&key.service)?.endpoints.as_ref()?;
            let back = hold.endpoints.endpoints().iter().filter(|e| serving_in(set, e));
            let back: Vec<_> = back.map(|e| EndpointId::of(e)).collect();
            (!back.is_empty()).then(|| Change::Return(key.clone(), back))
        });
        back.collect()
    }

    fn judge(
        &mut self,
        settings: &RegistrySettings,
        before: &Before,
        dirty: &Dirty,
        complete: bool,
        now: SystemTime,
    ) -> Vec<Change> {
        let registry = &settings.id;
        let mode = settings.guard.mode(registry.provider());
        if mode == GuardMode::Off && self.holds.state.holds.is_empty() {
            return Vec::new();
        }
        let mut decisions = Vec::new();
        let mut situations = Vec::new();
        for key in dirty.services.iter().chain(&dirty.endpoints) {
            let Some(moves) = self.moves(registry, key, before) else { continue };
            let hold = self.holds.state.held(registry, key);
            let held: BTreeSet<_> =
                hold.into_iter().flat_map(|hold| ids(&hold.endpoints)).collect();
            decisions.extend(self.returned(registry, key, &moves, &held));
            let definition = before.said(key).and_then(|said| said.service.clone());
            situations.push(Situation { service: key.clone(), definition, moves, held });
        }
        // In order, whatever the order of the sets: equal inputs, equal decisions.
        situations.sort_by(|a, b| a.service.cmp(&b.service));
        if mode == GuardMode::Off {
            return decisions;
        }
        let held = self.held_count(registry);
        let rules = Rules { guard: settings.guard, mode, complete, now };
        let history = self.histories.entry(registry.clone()).or_default();
        let verdicts = history.judge(situations, held, rules);
        let holds = verdicts.into_iter().filter_map(|verdict| self.hold(settings, verdict, now));
        decisions.extend(holds.collect::<Vec<_>>());
        decisions
    }

    /// What a batch did to one service; `None` when to none of its endpoints.
    fn moves(&self, registry: &RegistryId, key: &ServiceKey, before: &Before) -> Option<Moves> {
        let endpoints = |said: &'_ Said| said.endpoints.clone();
        let was = before.said(key).and_then(endpoints);
        let now = self.held.get(registry).map(|held| &held.values);
        let is = now.and_then(|values| values.said(key)).and_then(endpoints);
        let mut moves = guard::compare(was.as_deref(), is.as_deref());
        if now.is_some_and(|values| values.is_unloaded(key)) {
            moves.demand = Some(NewDemand::Unloaded);
            moves.lost.clear();
        } else if before.lacked(key) {
            moves.demand = Some(NewDemand::Loaded);
        }
        let none = moves.lost.is_empty() && moves.gained.is_empty() && moves.before == moves.after;
        (!none).then_some(moves)
    }

    /// What is held and is back: at its place in the service, or newly in another.
    fn returned(
        &self,
        registry: &RegistryId,
        key: &ServiceKey,
        moves: &Moves,
        held: &BTreeSet<EndpointId>,
    ) -> Vec<Change> {
        if self.holds.by_place.is_empty() {
            return Vec::new();
        }
        let own = HoldKey { registry: registry.clone(), service: key.clone() };
        let mut back: BTreeMap<HoldKey, Vec<EndpointId>> = BTreeMap::new();
        for endpoint in &moves.gained {
            let id = EndpointId::of(endpoint);
            if held.contains(&id) {
                back.entry(own.clone()).or_default().push(id);
                continue;
            }
            for other in self.holds.by_place.get(&place(endpoint)).into_iter().flatten() {
                let hold = self.holds.state.holds.get(other).into_iter();
                let all = hold.flat_map(|hold| hold.endpoints.endpoints());
                let there = all.filter(|held| place(held) == place(endpoint));
                back.entry(other.clone()).or_default().extend(there.map(|e| EndpointId::of(e)));
            }
        }
        back.into_iter().map(|(key, ids)| Change::Return(key, ids)).collect()
    }

    /// A hold of what a verdict names, without what another registry has in the
    /// same service.
    fn hold(
        &self,
        settings: &RegistrySettings,
        verdict: Verdict,
        now: SystemTime,
    ) -> Option<Change> {
        let Verdict { service, cause, definition, endpoints } = verdict;
        let others = self.held.iter().filter(|(id, _)| **id != settings.id);
        let others = others.filter(|(id, _)| self.rules.knows(id));
        let others: Vec<_> =
            others.filter_map(|(_, held)| held.values.said(&service)?.endpoints.as_ref()).collect();
        let lost = endpoints.iter().filter(|e| !others.iter().any(|set| serving_in(set, e)));
        let lost: Vec<_> =
            lost.map(|e| Arc::new(Endpoint { held: true, ..Endpoint::clone(e) })).collect();
        if lost.is_empty() {
            return None;
        }
        let since = Moment::from(now);
        let hold = Hold {
            since,
            until: since.after(settings.guard.hold.duration()),
            cause,
            definition,
            endpoints: Arc::new(EndpointSet::new(service.clone(), lost)),
        };
        let key = HoldKey { registry: settings.id.clone(), service };
        Some(Change::Hold(key, Arc::new(hold)))
    }

    fn adopt(&mut self, state: ControlState, dirty: &mut Dirty) {
        let before = std::mem::replace(&mut self.holds.state, state);
        let keys: BTreeSet<_> =
            before.holds.keys().chain(self.holds.state.holds.keys()).cloned().collect();
        for key in keys {
            let (was, is) = (before.holds.get(&key), self.holds.state.holds.get(&key));
            if was.zip(is).is_none_or(|(was, is)| !was.same_content(is)) {
                self.note(&key, was.map(|hold| &**hold), dirty);
            }
        }
        steered::mark_thawed(&before, &self.holds.state, dirty);
    }

    /// Brings what is derived of a hold up to date after it changed.
    fn note(&mut self, key: &HoldKey, before: Option<&Hold>, dirty: &mut Dirty) {
        let after = self.holds.state.holds.get(key).cloned();
        let holds = &mut self.holds;
        let count = holds.counts.entry(key.registry.clone()).or_default();
        for endpoint in before.into_iter().flat_map(|hold| hold.endpoints.endpoints()) {
            *count -= 1;
            if let Some(keys) = holds.by_place.get_mut(&place(endpoint)) {
                keys.remove(key);
                if keys.is_empty() {
                    holds.by_place.remove(&place(endpoint));
                }
            }
        }
        for endpoint in after.iter().flat_map(|hold| hold.endpoints.endpoints()) {
            *count += 1;
            holds.by_place.entry(place(endpoint)).or_default().insert(key.clone());
        }
        if *count == 0 {
            holds.counts.remove(&key.registry);
        }
        if !self.rules.knows(&key.registry) {
            return;
        }
        dirty.registries.insert(key.registry.clone());
        let said = self.held.get(&key.registry).and_then(|held| held.values.said(&key.service));
        let defined = said.is_some_and(|said| said.service.is_some());
        dirty.mark(&Key::Endpoints(key.service.clone()), true);
        if !defined {
            // The hold's own definition comes or goes.
            dirty.mark(&Key::Service(key.service.clone()), true);
        }
    }
}

fn ids(set: &EndpointSet) -> impl Iterator<Item = EndpointId> {
    set.endpoints().iter().map(|endpoint| EndpointId::of(endpoint))
}

/// Whether the set has an endpoint that serves at the same place.
fn serving_in(set: &EndpointSet, endpoint: &Endpoint) -> bool {
    set.get(endpoint.key()).is_some_and(|found| serves(found))
}

/// What a registry says of a service, with what is held of it.
pub(super) fn with_held(said: Option<&Said>, hold: &Hold) -> Said {
    let own = said.and_then(|said| said.endpoints.as_ref());
    let live = own.map_or(&[][..], |set| set.endpoints());
    let kept = |endpoint: &&Arc<Endpoint>| {
        serves(endpoint) || hold.endpoints.get(endpoint.key()).is_none()
    };
    let mut all: Vec<_> = live.iter().filter(kept).cloned().collect();
    let there: FxHashSet<_> = all.iter().map(|endpoint| EndpointId::of(endpoint)).collect();
    let held = hold.endpoints.endpoints().iter();
    all.extend(held.filter(|endpoint| !there.contains(&EndpointId::of(endpoint))).cloned());
    Said {
        service: said.and_then(|said| said.service.clone()).or_else(|| hold.definition.clone()),
        endpoints: Some(Arc::new(EndpointSet::new(hold.endpoints.service.clone(), all))),
    }
}

#[cfg(test)]
mod tests;
