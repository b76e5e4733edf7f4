//! All registries, and the snapshot that follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Condition, Draft, Hostname, Key, RegistryId, RegistryState, ServiceKey, Snapshot, Value,
};
use mainstem_registry::Batch;
use rustc_hash::FxHashMap;

use crate::dirty::Dirty;
use crate::held::Held;
use crate::merge::{Contribution, Merged, merge_service};
use crate::rules::Rules;
use crate::settings::AggregateConfig;
use crate::takeover;

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

    /// Whether the registry has ever been complete.
    pub fn synced(&self, registry: &RegistryId) -> bool {
        self.held.get(registry).is_some_and(Held::synced)
    }

    /// What the registry's adapter last said of it.
    pub fn condition(&self, registry: &RegistryId) -> Option<&Condition> {
        self.held.get(registry).map(Held::condition)
    }

    /// Takes over a new configuration. Changed rules make everything dirty.
    pub fn configure(&mut self, config: AggregateConfig) -> Dirty {
        let mut dirty = Dirty { mesh: config.mesh != self.config.mesh, ..Dirty::default() };
        let rules = Rules::new(&config);
        if rules != self.rules {
            let ids = self.rules.registries().iter().chain(rules.registries());
            dirty.registries.extend(ids.map(|registry| registry.id.clone()));
            for held in self.held.values() {
                held.values.keys().iter().for_each(|key| dirty.mark(key, true));
            }
            self.rules = rules;
        }
        self.config = config;
        dirty
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
        let contributions: Vec<_> = registries
            .filter_map(|registry| {
                let said = self.held.get(&registry.id)?.values.said(key)?;
                Some(Contribution {
                    registry,
                    service: said.service.as_ref(),
                    endpoints: said.endpoints.as_ref(),
                })
            })
            .collect();
        merge_service(self.rules.policy(key), key, &contributions)
    }

    /// The value of the first registry that has one. Workloads, namespaces,
    /// configuration objects and gateways are merged so.
    fn first(&self, key: &Key) -> Option<Value> {
        let mut registries = self.rules.registries().iter();
        registries.find_map(|registry| self.held.get(&registry.id)?.values.get(key))
    }

    /// A configured registry's state, whether it has spoken or not.
    fn state(&self, id: &RegistryId) -> Option<RegistryState> {
        let held = self.held.get(id);
        self.rules.knows(id).then(|| held.map(Held::state).unwrap_or_default())
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
        (Key::Workload(key), None) => draft.remove_workload(key),
        (Key::Namespace(key), None) => draft.remove_namespace(key),
        (Key::Config(key), None) => draft.remove_config(key),
        (Key::Gateway(key), None) => draft.remove_gateway(key),
        // Services are merged, not chosen.
        (Key::Service(_) | Key::Endpoints(_), _) | (_, Some(_)) => {}
    }
}

#[cfg(test)]
mod tests;
