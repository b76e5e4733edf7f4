//! The aggregate's part in freezes and drains: what operators' decisions make of
//! what registries say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::{
    Endpoint, EndpointSet, Health, Key, RegistryId, ServiceKey, Value, WorkloadKey,
};
use rustc_hash::FxHashSet;

use super::Aggregate;
use super::guarded::Before;
use crate::control::{Change, ControlState, Frozen, HoldKey, Moment};
use crate::dirty::Dirty;
use crate::held::Said;

impl Aggregate {
    /// What a batch changed of frozen services, to be kept as it was before.
    pub(super) fn kept(
        &self,
        registry: &RegistryId,
        before: &Before,
        dirty: &Dirty,
        now: SystemTime,
    ) -> Vec<Change> {
        let state = &self.holds.state;
        if state.freezes.keys().all(|scope| scope.registry != *registry) {
            return Vec::new();
        }
        let mut keys: Vec<_> = dirty.services.iter().chain(&dirty.endpoints).collect();
        // In order, whatever the order of the sets: equal inputs, equal decisions.
        keys.sort();
        let kept = keys.into_iter().filter_map(|service| {
            let key = HoldKey { registry: registry.clone(), service: service.clone() };
            let freeze = state.freeze_of(&key)?;
            let known = state.frozen(registry, service).is_some();
            let (was, is) = (before.said(service), self.held_said(registry, service));
            if known || same_members(was, is) {
                return None;
            }
            // Clocks differ: what was seen under the freeze belongs to it.
            let since = Moment::from(now).max(freeze.since);
            Some(Change::Keep(key, Arc::new(as_it_was(service, was, since))))
        });
        kept.collect()
    }

    /// Marks frozen services with a member whose workload changed: its readiness counts.
    pub(super) fn mark_members(&self, registry: &RegistryId, dirty: &mut Dirty) {
        let changed: FxHashSet<_> = dirty
            .others
            .iter()
            .filter_map(|key| if let Key::Workload(key) = key { Some(key) } else { None })
            .collect();
        let frozen = self.holds.state.frozen.iter().filter(|(key, _)| key.registry == *registry);
        let of_changed = |endpoint: &Arc<Endpoint>| {
            endpoint.workload.as_ref().is_some_and(|workload| changed.contains(workload))
        };
        let touched: Vec<_> = frozen
            .filter(|(_, frozen)| frozen.endpoints.endpoints().iter().any(of_changed))
            .map(|(key, _)| Key::Endpoints(key.service.clone()))
            .collect();
        touched.iter().for_each(|key| dirty.mark(key, true));
    }

    /// A frozen service as it is served; `None` where there was nothing.
    pub(super) fn frozen(
        &self,
        registry: &RegistryId,
        said: Option<&Said>,
        frozen: &Frozen,
    ) -> Option<Said> {
        let held = self.held.get(registry);
        with_frozen(said, frozen, |workload| {
            match held?.values.get(&Key::Workload(workload.clone()))? {
                Value::Workload(workload) => Some(workload.health),
                _ => None,
            }
        })
    }

    /// Takes over how much of its weight each registry has at a moment; returns what
    /// has to be merged again, and when to look again.
    pub fn steer(&mut self, now: SystemTime) -> (Dirty, Option<SystemTime>) {
        let (state, now) = (&self.holds.state, Moment::from(now));
        let shares: BTreeMap<_, _> =
            state.drains.keys().map(|id| (id.clone(), state.share(id, now))).collect();
        let next = state.next_share(now).map(Moment::time);
        let before = std::mem::replace(&mut self.shares, shares);
        let mut dirty = Dirty::default();
        for id in before.keys().chain(self.shares.keys()) {
            let share = |of: &BTreeMap<_, _>| of.get(id).copied().unwrap_or(100);
            if share(&before) != share(&self.shares) && self.rules.knows(id) {
                self.mark_endpoints(id, &mut dirty);
            }
        }
        (dirty, next)
    }

    /// How much of its weight a registry has in the snapshot, in percent.
    pub fn share(&self, registry: &RegistryId) -> u8 {
        self.shares.get(registry).copied().unwrap_or(100)
    }

    fn held_said(&self, registry: &RegistryId, service: &ServiceKey) -> Option<&Said> {
        self.held.get(registry)?.values.said(service)
    }

    fn mark_endpoints(&self, registry: &RegistryId, dirty: &mut Dirty) {
        dirty.registries.insert(registry.clone());
        let held = self.held.get(registry).map(|held| held.values.keys()).unwrap_or_default();
        let own = held.iter().filter(|key| matches!(key, Key::Endpoints(_)));
        own.for_each(|key| dirty.mark(key, true));
        let holds = self.holds.keys(Some(registry)).chain(self.holds.frozen_keys(registry));
        holds.for_each(|key| dirty.mark(&key, true));
    }
}

/// Marks what differs between two states in how frozen services are.
pub(super) fn mark_thawed(before: &ControlState, after: &ControlState, dirty: &mut Dirty) {
    for key in before.frozen.keys().chain(after.frozen.keys()) {
        let of = |state: &ControlState| state.frozen(&key.registry, &key.service).cloned();
        let same = match (of(before), of(after)) {
            (Some(was), Some(is)) => Arc::ptr_eq(&was, &is) || same_content(&was, &is),
            (None, None) => true,
            _ => false,
        };
        if !same {
            mark(key, dirty);
        }
    }
}

/// Marks a service that is, or is no longer, kept as it was.
pub(super) fn mark(key: &HoldKey, dirty: &mut Dirty) {
    dirty.registries.insert(key.registry.clone());
    dirty.mark(&Key::Service(key.service.clone()), true);
}

fn same_content(one: &Frozen, other: &Frozen) -> bool {
    let same_definition = match (&one.definition, &other.definition) {
        (Some(one), Some(other)) => one.same_content(other),
        (None, None) => true,
        _ => false,
    };
    same_definition && one.endpoints.same_content(&other.endpoints)
}

fn as_it_was(service: &ServiceKey, was: Option<&Said>, since: Moment) -> Frozen {
    let none = || Arc::new(EndpointSet::new(service.clone(), Vec::new()));
    Frozen {
        since,
        definition: was.and_then(|said| said.service.clone()),
        endpoints: was.and_then(|said| said.endpoints.clone()).unwrap_or_else(none),
    }
}

/// Whether both define the service alike and have the same members.
fn same_members(was: Option<&Said>, is: Option<&Said>) -> bool {
    let definition = |said: Option<&Said>| said.and_then(|said| said.service.clone());
    let same_definition = match (definition(was), definition(is)) {
        (Some(was), Some(is)) => Arc::ptr_eq(&was, &is) || was.same_content(&is),
        (None, None) => true,
        _ => false,
    };
    let (was, is) = (members(was), members(is));
    same_definition && was.len() == is.len() && was.iter().zip(is).all(|(a, b)| a.key() == b.key())
}

fn members(said: Option<&Said>) -> &[Arc<Endpoint>] {
    said.and_then(|said| said.endpoints.as_ref()).map_or(&[], |set| set.endpoints())
}

/// A frozen service: defined as it was, with the members that it had, each as the
/// registry says now where it still has it. One that the registry left out is as its
/// workload is, where that is not ready: Kubernetes names ready Pods only. `None` where
/// there was nothing.
fn with_frozen(
    said: Option<&Said>,
    frozen: &Frozen,
    health: impl Fn(&WorkloadKey) -> Option<Health>,
) -> Option<Said> {
    let live = said.and_then(|said| said.endpoints.as_ref());
    let now = |endpoint: &Arc<Endpoint>| {
        if let Some(live) = live.and_then(|set| set.get(endpoint.key())) {
            return live.clone();
        }
        match endpoint.workload.as_ref().and_then(&health) {
            Some(health @ (Health::Unhealthy | Health::Draining)) => {
                Arc::new(Endpoint { health, ..Endpoint::clone(endpoint) })
            }
            _ => endpoint.clone(),
        }
    };
    let members: Vec<_> = frozen.endpoints.endpoints().iter().map(now).collect();
    let service = frozen.definition.clone();
    let endpoints = (!members.is_empty())
        .then(|| Arc::new(EndpointSet::new(frozen.endpoints.service.clone(), members)));
    (service.is_some() || endpoints.is_some()).then_some(Said { service, endpoints })
}

#[cfg(test)]
mod tests;
