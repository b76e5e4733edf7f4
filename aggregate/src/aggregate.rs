//! All registries, and the snapshot that follows from them.

mod guarded;
mod steered;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{
    Condition, Draft, Freshness, Hostname, Key, RegistryId, RegistryState, ServiceKey, Snapshot,
    Value,
};
use mainstem_registry::Batch;
use rustc_hash::FxHashMap;

use crate::control::Hold;
use crate::dirty::Dirty;
use crate::freshness::ExpiryAction;
use crate::guard::History;
use crate::held::{Held, Said, Values};
use crate::merge::{Contribution, Merged, merge_service};
use crate::rules::{RegistryRules, Rules};
use crate::settings::{AggregateConfig, RegistrySettings};
use crate::takeover;
use crate::testimony::Testimony;
pub use guarded::Heard;
use guarded::Holds;

/// What every registry said last, and the snapshot merged from it.
///
/// The snapshot's content is a function of the configuration and of what is held,
/// whatever the order in which it arrived. [`Aggregate::apply`] tells what a
/// batch touched; [`Aggregate::publish`] merges that and nothing else.
#[derive(Debug, Default)]
pub struct Aggregate {
    config: AggregateConfig,
    rules: Rules,
    held: BTreeMap<RegistryId, Held>,
    /// Registries that have been stale for too long.
    expired: BTreeSet<RegistryId>,
    /// Control state: what the guard and operators decided.
    holds: Holds,
    /// How much of their weight drained registries have, in percent.
    shares: BTreeMap<RegistryId, u8>,
    /// What guarded registries lost lately.
    histories: BTreeMap<RegistryId, History>,
    snapshot: Arc<Snapshot>,
}

impl Aggregate {
    /// An aggregate that has heard nothing yet.
    pub fn new(config: AggregateConfig) -> Self {
        let mut aggregate = Self::default();
        let dirty = aggregate.configure(config);
        aggregate.publish(&dirty);
        aggregate
    }

    /// The configuration in force.
    pub fn config(&self) -> &AggregateConfig {
        &self.config
    }

    /// The snapshot merged last.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What is held now, shared.
    pub fn testimony(&self) -> Testimony {
        let held = self.held.iter().filter(|(id, _)| self.rules.knows(id));
        Testimony {
            rules: self.rules.clone(),
            snapshot: self.snapshot.clone(),
            held: held.map(|(id, held)| (id.clone(), held.values.clone())).collect(),
            shares: self.shares.clone(),
        }
    }

    /// Whether the registry is configured.
    pub(crate) fn knows(&self, registry: &RegistryId) -> bool {
        self.rules.knows(registry)
    }

    /// How long readiness waits for the registry.
    pub(crate) fn deadline(&self, registry: &RegistryId) -> Duration {
        self.settings(registry).map_or(RegistrySettings::DEADLINE, |settings| settings.deadline)
    }

    fn settings(&self, registry: &RegistryId) -> Option<&RegistrySettings> {
        self.config.registries.iter().find(|settings| settings.id == *registry)
    }

    /// Whether a complete state of the registry is there, of whatever age.
    pub fn complete(&self, registry: &RegistryId) -> bool {
        self.held.get(registry).is_some_and(Held::complete)
    }

    /// Whether the registry has ever been complete, in this process.
    pub fn synced(&self, registry: &RegistryId) -> bool {
        self.held.get(registry).is_some_and(Held::synced)
    }

    /// What the registry's adapter last said of it.
    pub fn condition(&self, registry: &RegistryId) -> Option<&Condition> {
        self.held.get(registry).map(Held::condition)
    }

    /// Takes over a new configuration. Changed rules make dirty what they are for: a
    /// policy its own services, anything else everything.
    pub fn configure(&mut self, config: AggregateConfig) -> Dirty {
        let mut dirty = Dirty { mesh: config.mesh != self.config.mesh, ..Dirty::default() };
        let rules = Rules::new(&config);
        if rules != self.rules {
            let ids = self.rules.registries().iter().chain(rules.registries());
            dirty.registries.extend(ids.map(|registry| registry.id.clone()));
            let differ = |key: &Key| self.rules.differ(&rules, key);
            for held in self.held.values() {
                let keys = held.values.keys();
                keys.iter().filter(|key| differ(key)).for_each(|key| dirty.mark(key, true));
            }
            let decided = self.holds.keys(None).chain(self.holds.all_frozen_keys());
            decided.filter(differ).for_each(|key| dirty.mark(&key, true));
            self.rules = rules;
        }
        self.config = config;
        dirty
    }

    /// Takes over a registry's last good state, unless it has been complete
    /// already; returns what has to be merged again.
    pub fn restore(&mut self, registry: &RegistryId, values: Vec<Value>) -> Dirty {
        let mut dirty = Dirty::default();
        if self.rules.knows(registry) && !self.complete(registry) {
            let held = self.held.entry(registry.clone()).or_default();
            held.restore(values, &mut dirty);
            dirty.registries.insert(registry.clone());
            // Until the registry speaks, what is held stays held.
            self.begin(registry);
        }
        dirty
    }

    /// How fresh the registry's values are, if it is configured.
    pub fn freshness(&self, registry: &RegistryId) -> Option<Freshness> {
        self.state(registry).map(|state| state.freshness)
    }

    /// Takes over which registries have expired; returns what has to be merged again.
    pub fn expire(&mut self, expired: BTreeSet<RegistryId>) -> Dirty {
        let mut dirty = Dirty::default();
        for id in self.expired.symmetric_difference(&expired) {
            dirty.registries.insert(id.clone());
            if let Some(held) = self.held.get(id) {
                held.values.keys().iter().for_each(|key| dirty.mark(key, true));
            }
            self.holds.keys(Some(id)).for_each(|key| dirty.mark(&key, true));
            self.holds.frozen_keys(id).for_each(|key| dirty.mark(&key, true));
        }
        self.expired = expired;
        dirty
    }

    /// All values of a registry that has been complete, to be kept on disk.
    pub(crate) fn values(&self, registry: &RegistryId) -> Option<&Values> {
        self.held.get(registry).filter(|held| held.synced()).map(|held| &held.values)
    }

    /// Takes over what a registry said; returns what has to be merged again.
    pub fn apply(&mut self, registry: RegistryId, batch: Batch) -> Dirty {
        let mut dirty = Dirty::default();
        let before = self.held.get(&registry).map(Held::state);
        if batch.removed {
            let gone = self.held.remove(&registry).unwrap_or_default();
            gone.values.keys().iter().for_each(|key| dirty.mark(key, true));
        }
        let rest = Batch { removed: false, ..batch };
        if !rest.is_empty() {
            self.held.entry(registry.clone()).or_default().apply(rest, &mut dirty);
        }
        if self.held.get(&registry).map(Held::state) != before {
            dirty.registries.insert(registry.clone());
        }
        if !self.rules.knows(&registry) {
            return Dirty::default();
        }
        dirty
    }

    /// Merges what is dirty into a new snapshot; `None` when nothing is.
    pub fn publish(&mut self, dirty: &Dirty) -> Option<Publication> {
        if dirty.is_empty() {
            return None;
        }
        let before = self.snapshot.clone();
        let mut draft = before.edit();
        if dirty.mesh {
            draft.set_mesh(self.config.mesh.clone());
        }
        let mut merged = Vec::new();
        for (key, service) in self.merge_all(dirty) {
            put_merged(&mut draft, &key, service);
            merged.push(key);
        }
        for key in &dirty.others {
            put_first(&mut draft, key, self.first(key));
        }
        for id in &dirty.registries {
            match self.state(id) {
                Some(state) => draft.put_registry(id.clone(), state),
                None => draft.remove_registry(id),
            }
        }
        self.snapshot = Arc::new(draft.finish());
        Some(Publication { before, snapshot: self.snapshot.clone(), merged })
    }

    /// The dirty services merged, and with them those of the same host name in
    /// other namespaces, since they are settled together.
    fn merge_all(&self, dirty: &Dirty) -> Vec<(ServiceKey, Merged)> {
        let mut alone = Vec::new();
        let mut shared: BTreeMap<&Hostname, BTreeSet<&ServiceKey>> = BTreeMap::new();
        let mut seen: FxHashMap<&Hostname, &ServiceKey> = FxHashMap::default();
        for key in dirty.merged() {
            let published = self.snapshot.keys_of(key.hostname());
            let first = *seen.entry(key.hostname()).or_insert(key);
            if first != key || published.clone().any(|other| other != key) {
                let together = shared.entry(key.hostname()).or_default();
                together.extend([first, key].into_iter().chain(published));
            } else {
                alone.push(key);
            }
        }
        alone.retain(|key| !shared.contains_key(key.hostname()));
        let merge = |key: &ServiceKey| (key.clone(), self.merge(key));
        let mut merged: Vec<_> = alone.into_iter().map(merge).collect();
        for keys in shared.into_values() {
            let mut together: Vec<_> = keys.into_iter().map(merge).collect();
            takeover::settle(&mut together, |registry| self.rules.rank(registry));
            merged.extend(together);
        }
        merged
    }

    fn merge(&self, key: &ServiceKey) -> Merged {
        let registries = self.rules.registries().iter();
        let said: Vec<_> =
            registries.filter_map(|registry| Some((registry, self.said(registry, key)?))).collect();
        let contributions: Vec<_> = said
            .iter()
            .map(|(registry, said)| Contribution {
                registry,
                service: said.service.as_ref(),
                endpoints: said.endpoints.as_ref(),
                share: self.share(&registry.id),
            })
            .collect();
        let mut merged = merge_service(self.rules.policy(key), key, &contributions);
        if let Some(service) = &mut merged.service {
            self.rules.show(service);
        }
        merged
    }

    /// What a registry contributes to a service: what it said, after what freezes,
    /// holds, expiry and a drain to nothing make of it.
    fn said(&self, registry: &RegistryRules, key: &ServiceKey) -> Option<Cow<'_, Said>> {
        let (id, state) = (&registry.id, &self.holds.state);
        let said = self.held.get(id).and_then(|held| held.values.said(key)).map(Cow::Borrowed);
        let frozen = state.frozen(id, key);
        let said = match frozen {
            Some(frozen) => self.frozen(id, said.as_deref(), frozen).map(Cow::Owned),
            None => said,
        };
        // A frozen service loses nothing, so that only what was held before is held.
        let before = |hold: &&Arc<Hold>| frozen.is_none_or(|frozen| hold.since < frozen.since);
        let said = match state.held(id, key).filter(before) {
            Some(hold) => Cow::Owned(guarded::with_held(said.as_deref(), hold)),
            None => said?,
        };
        let expired = self.expired.contains(id);
        match registry.expiry {
            ExpiryAction::Remove if expired => None,
            ExpiryAction::Degrade if expired => Some(Cow::Owned(said.as_last_resort())),
            _ if self.share(id) == 0 => Some(Cow::Owned(said.as_last_resort())),
            _ => Some(said),
        }
    }

    /// The value of the first registry that has one. Workloads, namespaces,
    /// configuration objects and gateways are merged so, and what is not loaded.
    fn first(&self, key: &Key) -> Option<Value> {
        let mut registries = self.rules.registries().iter().filter(|registry| {
            registry.expiry != ExpiryAction::Remove || !self.expired.contains(&registry.id)
        });
        registries.find_map(|registry| self.held.get(&registry.id)?.values.get(key))
    }

    /// A configured registry's state, whether it has spoken or not.
    fn state(&self, id: &RegistryId) -> Option<RegistryState> {
        let mut state = self.held.get(id).map(Held::state).unwrap_or_default();
        if self.expired.contains(id) && state.freshness == Freshness::Stale {
            state.freshness = Freshness::Expired;
        }
        state.held = self.held_count(id);
        self.rules.knows(id).then_some(state)
    }
}

/// A snapshot that was just made.
#[derive(Debug)]
pub struct Publication {
    /// Its predecessor.
    pub before: Arc<Snapshot>,
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The services that were merged for it, each once.
    pub merged: Vec<ServiceKey>,
}

fn put_merged(draft: &mut Draft, key: &ServiceKey, merged: Merged) {
    match merged.service {
        Some(service) => draft.put_service(service),
        None => draft.remove_service(key),
    }
    match merged.endpoints {
        Some(set) => draft.put_endpoints(set),
        None => draft.remove_endpoints(key),
    }
    draft.put_conflicts(key, merged.conflicts);
}

fn put_first(draft: &mut Draft, key: &Key, value: Option<Value>) {
    match (key, value) {
        (_, Some(Value::Workload(value))) => draft.put_workload(value),
        (_, Some(Value::Namespace(value))) => draft.put_namespace(value),
        (_, Some(Value::Config(value))) => draft.put_config(value),
        (_, Some(Value::Gateway(value))) => draft.put_gateway(value),
        (_, Some(Value::Unloaded(service))) => draft.put_unloaded(service),
        (Key::Workload(key), None) => draft.remove_workload(key),
        (Key::Namespace(key), None) => draft.remove_namespace(key),
        (Key::Config(key), None) => draft.remove_config(key),
        (Key::Gateway(key), None) => draft.remove_gateway(key),
        (Key::Unloaded(key), None) => draft.remove_unloaded(key),
        // Services are merged, not chosen.
        (Key::Service(_) | Key::Endpoints(_), _) | (_, Some(_)) => {}
    }
}

#[cfg(test)]
mod tests;
