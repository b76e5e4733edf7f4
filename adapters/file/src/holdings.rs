//! What the files say together, and what of it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    EndpointSet, Key, NamespaceName, ObjectRef, RegistryUpdate, Rejected, Value, Workload,
};

use crate::parse::{Object, Parsed};

/// Everything that the registry's files hold, each object in its last good form.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    files: BTreeMap<Arc<str>, Held>,
    values: BTreeMap<Key, Value>,
    rejected: BTreeMap<ObjectRef, Rejected>,
}

/// What one file holds.
#[derive(Debug, Default)]
struct Held {
    /// In the order in which they count: by place.
    objects: Vec<Object>,
    rejected: Vec<Rejected>,
}

impl Held {
    /// What the file holds now that it reads so. An object that is refused keeps
    /// its last good form. While something in the file cannot be told to be this
    /// or that object, it may be any object that is missed: none of them goes.
    fn succeed(self, parsed: Parsed) -> Self {
        let mut before: BTreeMap<ObjectRef, Object> =
            self.objects.into_iter().map(|object| (object.id.clone(), object)).collect();
        let all_told = parsed.refused.iter().all(|refused| refused.identified);
        let refused: BTreeSet<&ObjectRef> =
            parsed.refused.iter().map(|refused| &refused.rejected.object).collect();
        let renew = |object: Object| match before.remove(&object.id) {
            // The same values as before stay the same in memory, too.
            Some(old) if old.revision == object.revision => Object { place: object.place, ..old },
            _ => object,
        };
        let mut objects: Vec<Object> = parsed.objects.into_iter().map(renew).collect();
        objects.extend(before.into_values().filter(|old| !all_told || refused.contains(&old.id)));
        objects.sort_by(|a, b| (a.place, &a.id).cmp(&(b.place, &b.id)));
        Self { objects, rejected: parsed.refused.into_iter().map(|r| r.rejected).collect() }
    }
}

impl Holdings {
    /// Takes in files that were read anew and files that are gone.
    pub(crate) fn take(&mut self, read: BTreeMap<Arc<str>, Parsed>, gone: &BTreeSet<Arc<str>>) {
        self.files.retain(|name, _| !gone.contains(name));
        for (name, parsed) in read {
            let held = self.files.remove(&name).unwrap_or_default();
            self.files.insert(name, held.succeed(parsed));
        }
    }

    /// Whether there is anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Everything, as a complete state.
    pub(crate) fn whole(&mut self) -> RegistryUpdate {
        (self.values, self.rejected) = self.assemble();
        RegistryUpdate::Replace {
            values: self.values.values().cloned().collect(),
            rejected: self.rejected.values().cloned().collect(),
        }
    }

    /// What changed since this or [`Holdings::whole`] was last asked.
    pub(crate) fn changes(&mut self) -> Vec<RegistryUpdate> {
        let (values, rejected) = self.assemble();
        let mut updates = Vec::new();
        for (key, value) in &values {
            if !self.values.get(key).is_some_and(|old| unchanged(old, value)) {
                updates.push(RegistryUpdate::Put(value.clone()));
            }
        }
        let gone = self.values.keys().filter(|key| !values.contains_key(*key));
        updates.extend(gone.cloned().map(RegistryUpdate::Remove));
        for (object, reason) in &rejected {
            if self.rejected.get(object) != Some(reason) {
                updates.push(RegistryUpdate::Reject(reason.clone()));
            }
        }
        let mended = self.rejected.keys().filter(|object| !rejected.contains_key(*object));
        updates.extend(mended.cloned().map(RegistryUpdate::Accept));
        (self.values, self.rejected) = (values, rejected);
        updates
    }

    /// All values and all that is refused. Of two objects that bring the same
    /// key the one that stands first counts, by file name and place.
    fn assemble(&self) -> (BTreeMap<Key, Value>, BTreeMap<ObjectRef, Rejected>) {
        let mut claims = Claims::default();
        for (name, held) in &self.files {
            for object in &held.objects {
                for value in &object.values {
                    claims.claim(name, object, value.clone());
                }
            }
        }
        let workloads = by_namespace(&claims);
        for held in self.files.values() {
            for object in &held.objects {
                for declared in &object.selecting {
                    let key = Key::Service(declared.service.key.clone());
                    if claims.owners.get(&key) == Some(&&object.id) {
                        let namespace = declared.service.namespace();
                        let there = workloads.get(namespace).into_iter().flatten();
                        let set = declared.endpoint_set(there.map(AsRef::as_ref));
                        claims.values.insert(
                            Key::Endpoints(set.service.clone()),
                            Value::Endpoints(Arc::new(set)),
                        );
                    }
                }
            }
        }
        let mut rejected = claims.rejected;
        let refused = self.files.values().flat_map(|held| &held.rejected);
        rejected.extend(refused.map(|refused| (refused.object.clone(), refused.clone())));
        (claims.values, rejected)
    }
}

fn by_namespace(claims: &Claims<'_>) -> BTreeMap<NamespaceName, Vec<Arc<Workload>>> {
    let mut workloads: BTreeMap<NamespaceName, Vec<Arc<Workload>>> = BTreeMap::new();
    for value in claims.values.values() {
        if let Value::Workload(workload) = value {
            let there = workloads.entry(workload.key.namespace().clone()).or_default();
            there.push(workload.clone());
        }
    }
    workloads
}

/// Who brings which key.
#[derive(Default)]
struct Claims<'a> {
    values: BTreeMap<Key, Value>,
    owners: BTreeMap<Key, &'a ObjectRef>,
    rejected: BTreeMap<ObjectRef, Rejected>,
}

impl<'a> Claims<'a> {
    fn claim(&mut self, file: &str, object: &'a Object, value: Value) {
        let key = value.key();
        // Endpoints belong to whoever declares the service.
        let whose = match &key {
            Key::Endpoints(service) => Key::Service(service.clone()),
            key => key.clone(),
        };
        match self.owners.get(&whose) {
            Some(owner) if **owner != object.id => {
                let reason = format!(
                    "{file}:{}:{}: {} is already declared by {owner}; that one counts",
                    object.place.line,
                    object.place.column,
                    what(&whose)
                );
                let rejected = Rejected { object: object.id.clone(), reason };
                self.rejected.entry(object.id.clone()).or_insert(rejected);
            }
            _ => {
                self.owners.insert(whose, &object.id);
                self.values.insert(key, value);
            }
        }
    }
}

fn what(key: &Key) -> String {
    match key {
        Key::Service(key) | Key::Endpoints(key) | Key::Unloaded(key) => format!("service {key}"),
        Key::Workload(key) => format!("workload {}/{}", key.namespace(), key.name()),
        Key::Namespace(name) => format!("namespace {name}"),
        Key::Config(key) => format!("{} {}/{}", key.kind, key.namespace, key.name),
        Key::Gateway(key) => format!("gateway {}", key.address),
    }
}

/// Whether the value need not be said again. Values of objects that read as
/// before are the same in memory; only selected endpoints are made anew.
fn unchanged(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Service(a), Value::Service(b)) => Arc::ptr_eq(a, b),
        (Value::Workload(a), Value::Workload(b)) => Arc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Arc::ptr_eq(a, b),
        (Value::Config(a), Value::Config(b)) => Arc::ptr_eq(a, b),
        (Value::Endpoints(a), Value::Endpoints(b)) => Arc::ptr_eq(a, b) || same_set(a, b),
        _ => false,
    }
}

fn same_set(a: &EndpointSet, b: &EndpointSet) -> bool {
    let revisions = |set: &EndpointSet| -> Vec<_> {
        set.endpoints().iter().map(|endpoint| endpoint.origins.clone()).collect()
    };
    a.same_content(b) && revisions(a) == revisions(b)
}

#[cfg(test)]
mod tests;
