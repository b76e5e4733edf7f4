//! What one registry said last: the state that a batch of updates changes.

mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Condition, Endpoint, EndpointSet, Freshness, Key, ObjectRef, RegistryState, Rejected, Value,
};
use mainstem_registry::Batch;

use crate::dirty::Dirty;
pub(crate) use values::{Said, Values};

/// One registry's values, condition and rejected objects.
///
/// Values made of a rejected object are *retained* when a complete state leaves
/// them out, a service's endpoints with its definition: until the registry says
/// something else of them, or the object is accepted again without bringing them
/// back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) values: Values,
    condition: Condition,
    synced: bool,
    /// The values are those of the last good state on disk.
    restored: bool,
    rejected: BTreeMap<ObjectRef, Rejected>,
    /// The same, as the snapshot shows it.
    shown: Arc<[Rejected]>,
    /// Keys that stand only because of the rejected object.
    retained: BTreeMap<ObjectRef, BTreeSet<Key>>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            values: Values::default(),
            condition: Condition::Syncing,
            synced: false,
            restored: false,
            rejected: BTreeMap::new(),
            shown: Arc::default(),
            retained: BTreeMap::new(),
        }
    }
}

impl Held {
    /// Applies a batch and marks what it changed. `batch.removed` is the caller's.
    pub(crate) fn apply(&mut self, batch: Batch, dirty: &mut Dirty) {
        let Batch { removed: _, replace, values, rejected, condition, since: _ } = batch;
        // First of all: whether an object is rejected after the batch decides
        // what the batch may take away.
        let (replace, replaced) = replace.unzip();
        let accepted = self.mark(replaced, rejected);
        if let Some(values) = replace {
            self.synced = true;
            self.restored = false;
            self.replace(values, dirty);
        }
        for (key, value) in values {
            match value {
                Some(value) => self.put(key, value, dirty),
                None => self.remove(&key, dirty),
            }
        }
        for object in accepted {
            self.release(&object, dirty);
        }
        if let Some(condition) = condition {
            self.synced |= condition == Condition::Live;
            self.condition = condition;
        }
    }

    /// What stood on disk, for a registry that has not been complete yet: what it
    /// has said already stays.
    pub(crate) fn restore(&mut self, values: Vec<Value>, dirty: &mut Dirty) {
        self.restored = true;
        for value in values {
            let key = value.key();
            if self.values.get(&key).is_none() {
                self.put(key, value, dirty);
            }
        }
    }

    /// Whether it has ever been complete, in this process.
    pub(crate) fn synced(&self) -> bool {
        self.synced
    }

    /// Whether its values are a complete state, of whatever age.
    pub(crate) fn complete(&self) -> bool {
        self.synced || self.restored
    }

    /// What the adapter last said of its registry.
    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }

    fn freshness(&self) -> Freshness {
        match &self.condition {
            Condition::Live => Freshness::Live,
            Condition::Failed(_) => Freshness::Stale,
            Condition::Syncing if self.complete() => Freshness::Stale,
            Condition::Syncing => Freshness::Syncing,
        }
    }

    /// The registry as the snapshot shows it, as far as it is known here.
    pub(crate) fn state(&self) -> RegistryState {
        RegistryState {
            condition: self.condition.clone(),
            freshness: self.freshness(),
            synced: self.synced,
            restored: self.restored,
            held: 0,
            services: self.values.service_count(),
            unloaded: self.values.unloaded_count(),
            endpoints: self.values.endpoint_count(),
            workloads: self.values.workload_count(),
            rejected: self.shown.clone(),
        }
    }

    /// Takes over which objects are rejected; returns those that no longer are.
    fn mark(
        &mut self,
        replaced: Option<BTreeMap<ObjectRef, Rejected>>,
        changes: BTreeMap<ObjectRef, Option<Rejected>>,
    ) -> Vec<ObjectRef> {
        if replaced.is_none() && changes.is_empty() {
            return Vec::new();
        }
        let mut next = replaced.unwrap_or_else(|| self.rejected.clone());
        for (object, rejected) in changes {
            match rejected {
                Some(rejected) => drop(next.insert(object, rejected)),
                None => drop(next.remove(&object)),
            }
        }
        let accepted = self.rejected.keys().filter(|object| !next.contains_key(object));
        let accepted = accepted.cloned().collect();
        if self.rejected != next {
            self.shown = next.values().cloned().collect();
            self.rejected = next;
        }
        accepted
    }

    fn replace(&mut self, mut values: BTreeMap<Key, Value>, dirty: &mut Dirty) {
        for key in self.values.keys() {
            if !values.contains_key(&key) {
                self.leave_out(key, dirty);
            }
        }
        while let Some((key, value)) = values.pop_first() {
            self.put(key, value, dirty);
        }
    }

    /// A complete state does not name `key`: it goes, except what is retained.
    fn leave_out(&mut self, key: Key, dirty: &mut Dirty) {
        let Some(before) = self.values.get(&key) else { return };
        let blamed = match &before {
            // Without its definition a registry cannot tell which they are.
            Value::Endpoints(set) => self.retains(&Key::Service(set.service.clone())).cloned(),
            value => value.objects().into_iter().find(|o| self.rejected.contains_key(o)).cloned(),
        };
        match (blamed, before) {
            (Some(object), _) => drop(self.retained.entry(object).or_default().insert(key)),
            (None, Value::Endpoints(set)) => {
                let none = EndpointSet::new(set.service.clone(), Vec::new());
                self.say_endpoints(&key, Arc::new(none), dirty);
            }
            (None, _) => self.remove(&key, dirty),
        }
    }

    /// The rejected object because of which the value of `key` stands.
    fn retains(&self, key: &Key) -> Option<&ObjectRef> {
        let of_rejected = |object: &&ObjectRef| self.rejected.contains_key(*object);
        self.retained
            .iter()
            .find(|(_, keys)| keys.contains(key))
            .map(|(o, _)| o)
            .filter(of_rejected)
    }

    /// The object is understood again, or gone: what stood only because of it goes.
    fn release(&mut self, object: &ObjectRef, dirty: &mut Dirty) {
        let keys = self.retained.get(object).cloned().unwrap_or_default();
        for key in keys.clone() {
            let Some(Value::Endpoints(set)) = self.values.get(&key) else {
                self.forget_retained(&key);
                self.leave_out(key, dirty);
                continue;
            };
            let retained: BTreeSet<_> =
                self.retained.iter().filter(|(_, k)| k.contains(&key)).collect();
            let whole = keys.contains(&Key::Service(set.service.clone()));
            let of = |e: &Endpoint| retained.iter().any(|(object, _)| is_of(e, object));
            let blamed = |e: &Arc<Endpoint>| whole || of(e);
            let said = set.endpoints().iter().filter(|e| !blamed(e)).cloned().collect();
            let said = Arc::new(EndpointSet::new(set.service.clone(), said));
            self.say_endpoints(&key, said, dirty);
        }
    }

    /// Sets endpoints with those that are retained beside them; none at all is absence.
    fn say_endpoints(&mut self, key: &Key, said: Arc<EndpointSet>, dirty: &mut Dirty) {
        self.forget_retained(key);
        match self.with_retained(said) {
            all if all.is_empty() => self.remove(key, dirty),
            all => self.store(key, Value::Endpoints(all), dirty),
        }
    }

    fn put(&mut self, key: Key, value: Value, dirty: &mut Dirty) {
        self.forget_retained(&key);
        let value = match value {
            Value::Endpoints(said) => Value::Endpoints(self.with_retained(said)),
            value => value,
        };
        self.store(&key, value, dirty);
    }

    fn store(&mut self, key: &Key, value: Value, dirty: &mut Dirty) {
        let before = self.values.get(key);
        let content = before.is_none_or(|before| !before.same_content(&value));
        self.values.put(value);
        dirty.mark(key, content);
    }

    fn remove(&mut self, key: &Key, dirty: &mut Dirty) {
        self.forget_retained(key);
        if self.values.remove(key) {
            dirty.mark(key, true);
        }
    }

    fn forget_retained(&mut self, key: &Key) {
        self.retained.retain(|_, keys| {
            keys.remove(key);
            !keys.is_empty()
        });
    }

    /// What is `said`, with those endpoints held before that come of a rejected
    /// object. Where `said` has endpoints of that object, the adapter speaks for
    /// it itself.
    fn with_retained(&mut self, said: Arc<EndpointSet>) -> Arc<EndpointSet> {
        let before = self.values.said(&said.service).and_then(|before| before.endpoints.clone());
        let Some(before) = before.filter(|_| !self.rejected.is_empty()) else { return said };
        let spoken: BTreeSet<&ObjectRef> = objects(said.endpoints()).collect();
        let mut kept = Vec::new();
        for endpoint in before.endpoints() {
            let mut own = objects(std::slice::from_ref(endpoint));
            let blamed = own.find(|o| self.rejected.contains_key(o) && !spoken.contains(o));
            if let Some(object) = blamed {
                let keys = self.retained.entry(object.clone()).or_default();
                keys.insert(Key::Endpoints(said.service.clone()));
                kept.push(endpoint.clone());
            }
        }
        if kept.is_empty() {
            return said;
        }
        let all = said.endpoints().iter().cloned().chain(kept).collect();
        Arc::new(EndpointSet::new(said.service.clone(), all))
    }
}

fn objects(endpoints: &[Arc<Endpoint>]) -> impl Iterator<Item = &ObjectRef> {
    endpoints.iter().flat_map(|e| e.origins.iter()).map(|sourced| &sourced.origin.object)
}

fn is_of(endpoint: &Endpoint, object: &ObjectRef) -> bool {
    endpoint.origins.iter().any(|sourced| sourced.origin.object == *object)
}

#[cfg(test)]
mod tests;
