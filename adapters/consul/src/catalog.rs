//! What this registry holds, and what it says when an answer comes: pure.
//!
//! ```text
//! begin ─▶ listed ─▶ answered (each service) ─▶ complete: a first Replace, then live
//!                        │                            ▲
//!                        └─ failed ⇄ recovered ───────┘
//! ```
//!
//! Invariants:
//! - Nothing is said of values before everything was answered once; then one
//!   replacement says all.
//! - Only [`Catalog::gone`] takes a service away: its name is missing from the
//!   list, and the leader has confirmed that it has no instances.
//! - The registry is live when all that the list names and somebody needs was
//!   answered since the last [`Catalog::begin`] and no query is failing.
//! - What the list names and nobody needs is said to be unloaded, until its first
//!   answer after somebody does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Condition, EndpointSet, Key, ObjectRef, RegistryId, RegistryUpdate, Rejected, Service,
    ServiceKey, Value,
};

use crate::api::RawInstance;
use crate::config::ConsulConfig;
use crate::convert::{self, Context, Contribution, Names};

/// A query that can fail by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// Whether the registry is there.
    Probe,
    /// The service list's index.
    Registrations,
    /// The service list.
    List,
    /// The checks that do not pass.
    Checks,
    /// The nodes' index.
    Nodes,
    /// One service's instances.
    Service(Arc<str>),
}

/// The state of one registry.
#[derive(Debug)]
pub struct Catalog {
    config: ConsulConfig,
    registry: RegistryId,
    datacenter: String,
    services: BTreeMap<Arc<str>, Held>,
    /// Services that are said to be unloaded: nobody needs them, or their first answer
    /// is awaited.
    unloaded: BTreeMap<Arc<str>, ServiceKey>,
    /// Whose each key is by the last list.
    owners: BTreeMap<ServiceKey, Arc<str>>,
    unnamed: BTreeMap<ObjectRef, Rejected>,
    listed: bool,
    awaited: BTreeSet<Arc<str>>,
    failing: BTreeMap<Query, Arc<str>>,
    synced: bool,
    said: Option<Condition>,
}

/// What is held of one service.
#[derive(Debug)]
struct Held {
    key: ServiceKey,
    contributions: BTreeMap<ObjectRef, Contribution>,
    rejected: BTreeMap<ObjectRef, Rejected>,
    values: Option<(Arc<Service>, Arc<EndpointSet>)>,
}

/// What a list means for those who ask.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// All services to follow.
    pub follow: BTreeSet<Arc<str>>,
    /// Services that are held and no longer listed: to be confirmed.
    pub confirm: BTreeSet<Arc<str>>,
}

/// What becomes of services of which others are needed than before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Services to follow from now on.
    pub follow: Vec<Arc<str>>,
    /// Services to follow no longer.
    pub leave: Vec<Arc<str>>,
}

impl Catalog {
    /// Nothing is known yet.
    pub fn new(config: ConsulConfig, registry: RegistryId) -> Self {
        let datacenter =
            config.datacenter.clone().unwrap_or_else(|| config.cluster.as_str().to_owned());
        Self {
            config,
            registry,
            datacenter,
            services: BTreeMap::new(),
            unloaded: BTreeMap::new(),
            owners: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            listed: false,
            awaited: BTreeSet::new(),
            failing: BTreeMap::new(),
            synced: false,
            said: None,
        }
    }

    /// Everything will be asked anew; `datacenter` answers. What failed before counts
    /// no more.
    pub fn begin(&mut self, datacenter: Option<String>) {
        if let (Some(datacenter), None) = (datacenter, &self.config.datacenter) {
            self.datacenter = datacenter;
        }
        self.listed = false;
        self.awaited.clear();
        self.failing.clear();
    }

    /// The service list, of which those services are loaded that `needs` says.
    pub fn listed<'a>(
        &mut self,
        list: impl IntoIterator<Item = &'a str>,
        needs: impl Fn(&ServiceKey) -> bool,
    ) -> (Listed, Vec<RegistryUpdate>) {
        let names = convert::names(self.context(), list);
        let mut updates = self.name(&names);
        self.failing.remove(&Query::List);
        let (listed, more) = self.allot(names.services, needs);
        updates.extend(more);
        (listed, updates)
    }

    /// What is listed, by name.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, &ServiceKey)> {
        self.owners.iter().map(|(key, name)| (name, key))
    }

    /// Of these services, which may be listed, others may be needed than before.
    pub fn needed<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a Arc<str>>,
        needs: impl Fn(&ServiceKey) -> bool,
    ) -> (Turn, Vec<RegistryUpdate>) {
        let (mut turn, mut updates) = (Turn::default(), Vec::new());
        for name in names {
            let held = self.services.get(name).map(|held| &held.key);
            let Some(key) = held.or(self.unloaded.get(name)).cloned() else { continue };
            match (held.is_some(), needs(&key)) {
                (false, true) => {
                    self.services.insert(name.clone(), Held::new(key));
                    self.awaited.insert(name.clone());
                    turn.follow.push(name.clone());
                }
                // One that is not listed is confirmed to be gone instead.
                (true, false) if self.owners.get(&key) == Some(name) => {
                    updates.extend(self.unload(name, key.clone()));
                    self.unloaded.insert(name.clone(), key);
                    turn.leave.push(name.clone());
                }
                _ => {}
            }
        }
        if !self.synced {
            updates.clear();
        }
        updates.extend(self.settle());
        (turn, updates)
    }

    /// What is to be said of a service that nobody needs.
    fn unload(&mut self, name: &Arc<str>, key: ServiceKey) -> Vec<RegistryUpdate> {
        let mut updates = Vec::new();
        if self.unloaded.get(name) != Some(&key) {
            updates.push(RegistryUpdate::Put(Value::Unloaded(key)));
        }
        if let Some(held) = self.services.remove(name) {
            self.awaited.remove(name);
            self.failing.remove(&Query::Service(name.clone()));
            updates.extend(self.removal(name, &held));
        }
        updates
    }

    /// Takes over what is listed, and which of it anybody needs.
    fn allot(
        &mut self,
        services: BTreeMap<Arc<str>, ServiceKey>,
        needs: impl Fn(&ServiceKey) -> bool,
    ) -> (Listed, Vec<RegistryUpdate>) {
        let gone = |name: &&Arc<str>| !services.contains_key(*name);
        let confirm: BTreeSet<Arc<str>> = self.services.keys().filter(gone).cloned().collect();
        let (needed, unneeded) = services.into_iter().partition(|(_, key)| needs(key));
        let mut updates = self.leave_unloaded(&needed, unneeded);
        let follow: BTreeSet<Arc<str>> = needed.keys().cloned().collect();
        let held: BTreeSet<Arc<str>> = self.services.keys().cloned().collect();
        if self.listed {
            self.awaited.extend(follow.difference(&held).cloned());
            self.awaited.retain(|name| follow.contains(name) || confirm.contains(name));
        } else {
            self.listed = true;
            self.awaited = follow.union(&held).cloned().collect();
        }
        for (name, key) in needed {
            self.services.entry(name).or_insert_with(|| Held::new(key));
        }
        let listing = |query: &Query| match query {
            Query::Service(name) => self.services.contains_key(name),
            _ => true,
        };
        self.failing.retain(|query, _| listing(query));
        updates.extend(self.settle());
        (Listed { follow, confirm }, updates)
    }

    /// Takes over which of the listed services nobody needs.
    fn leave_unloaded(
        &mut self,
        needed: &BTreeMap<Arc<str>, ServiceKey>,
        unneeded: BTreeMap<Arc<str>, ServiceKey>,
    ) -> Vec<RegistryUpdate> {
        let mut updates = Vec::new();
        for (name, key) in &unneeded {
            updates.extend(self.unload(name, key.clone()));
        }
        for (name, key) in std::mem::replace(&mut self.unloaded, unneeded) {
            if needed.get(&name) == Some(&key) {
                self.unloaded.insert(name, key);
            } else if self.unloaded.get(&name) != Some(&key) {
                updates.push(RegistryUpdate::Remove(Key::Unloaded(key)));
            }
        }
        if self.synced { updates } else { Vec::new() }
    }

    /// A service was answered: from now on it is what was said of it.
    fn loaded(&mut self, name: &Arc<str>) -> Option<RegistryUpdate> {
        let key = self.services.contains_key(name).then(|| self.unloaded.remove(name)).flatten()?;
        self.synced.then_some(RegistryUpdate::Remove(Key::Unloaded(key)))
    }

    /// Takes over which services have no name, and which have another one.
    fn name(&mut self, names: &Names) -> Vec<RegistryUpdate> {
        let mut updates = differences(&self.unnamed, &names.rejected);
        self.unnamed.clone_from(&names.rejected);
        self.owners = names.services.iter().map(|(n, key)| (key.clone(), n.clone())).collect();
        for (name, key) in &names.services {
            let renamed = self.services.get(name).filter(|held| held.key != *key);
            let Some(removal) = renamed.map(|held| self.removal(name, held)) else { continue };
            updates.extend(removal);
            self.services.insert(name.clone(), Held::new(key.clone()));
            self.awaited.insert(name.clone());
        }
        if self.synced { updates } else { Vec::new() }
    }

    /// What is to be said when nothing of `held` stays.
    fn removal(&self, name: &Arc<str>, held: &Held) -> Vec<RegistryUpdate> {
        let mut updates = differences(&held.rejected, &BTreeMap::new());
        if !self.is_contested(name, &held.key) {
            updates.extend(held.value_removal());
        }
        updates
    }

    /// Whether the key now belongs to another service.
    fn is_contested(&self, name: &Arc<str>, key: &ServiceKey) -> bool {
        self.owners.get(key).is_some_and(|owner| owner != name)
    }

    /// A service's instances. An answer without any changes nothing: a service
    /// that has none is gone, which the list has to say too. A peer's list does not: it
    /// names what is exported, with instances or without.
    pub fn answered(&mut self, name: &Arc<str>, instances: &[RawInstance]) -> Vec<RegistryUpdate> {
        self.awaited.remove(name);
        self.failing.remove(&Query::Service(name.clone()));
        let mut updates = Vec::new();
        if !instances.is_empty() || self.config.peer.is_some() {
            updates.extend(self.take(name, instances));
        }
        updates.extend(self.loaded(name));
        updates.extend(self.settle());
        updates
    }

    /// Whether the answer lacks an instance that is held.
    pub fn would_lose(&self, name: &str, instances: &[RawInstance]) -> bool {
        let Some(held) = self.services.get(name) else { return false };
        let found: BTreeSet<ObjectRef> =
            instances.iter().map(|instance| convert::instance_object(name, instance)).collect();
        held.contributions.keys().any(|object| !found.contains(object))
    }

    fn take(&mut self, name: &Arc<str>, instances: &[RawInstance]) -> Vec<RegistryUpdate> {
        let Some(mut held) = self.services.remove(name) else { return Vec::new() };
        let mut updates = Vec::new();
        if !self.is_contested(name, &held.key) {
            updates = held.take(self.context(), name, instances);
        }
        self.services.insert(name.clone(), held);
        if self.synced { updates } else { Vec::new() }
    }

    /// A service is not listed any more and has no instances.
    pub fn gone(&mut self, name: &Arc<str>) -> Vec<RegistryUpdate> {
        self.awaited.remove(name);
        self.failing.remove(&Query::Service(name.clone()));
        let mut updates = Vec::from_iter(self.loaded(name));
        if let Some(held) = self.services.remove(name).filter(|_| self.synced) {
            updates.extend(self.removal(name, &held));
        }
        updates.extend(self.settle());
        updates
    }

    /// An answer on one service could not be understood as a whole. It costs that
    /// service: what was held of it stays.
    pub fn misunderstood(&mut self, name: &Arc<str>, reason: String) -> Vec<RegistryUpdate> {
        self.awaited.remove(name);
        self.failing.remove(&Query::Service(name.clone()));
        let mut updates = Vec::new();
        if let Some(held) = self.services.get_mut(name) {
            let object = convert::service_object(name);
            let rejected = Rejected { object: object.clone(), reason };
            if held.rejected.get(&object) != Some(&rejected) {
                held.rejected.insert(object, rejected.clone());
                updates.extend(self.synced.then_some(RegistryUpdate::Reject(rejected)));
            }
        }
        updates.extend(self.loaded(name));
        updates.extend(self.settle());
        updates
    }

    /// A query fails.
    pub fn failed(&mut self, query: Query, reason: String) -> Vec<RegistryUpdate> {
        if let Query::Service(name) = &query
            && !self.services.contains_key(name)
        {
            return Vec::new();
        }
        self.failing.insert(query, Arc::from(reason));
        self.settle()
    }

    /// A query works again.
    pub fn recovered(&mut self, query: &Query) -> Vec<RegistryUpdate> {
        match self.failing.remove(query) {
            Some(_) => self.settle(),
            None => Vec::new(),
        }
    }

    /// What has to be said of the registry as a whole.
    fn settle(&mut self) -> Vec<RegistryUpdate> {
        if let Some((_, reason)) = self.failing.first_key_value() {
            let reason = reason.clone();
            return self.say(Condition::Failed(reason));
        }
        if !self.listed || !self.awaited.is_empty() {
            return Vec::new();
        }
        let mut updates = Vec::new();
        if !self.synced {
            self.synced = true;
            updates.push(self.replacement());
        }
        updates.extend(self.say(Condition::Live));
        updates
    }

    fn say(&mut self, condition: Condition) -> Vec<RegistryUpdate> {
        if self.said.as_ref() == Some(&condition) {
            return Vec::new();
        }
        self.said = Some(condition.clone());
        vec![RegistryUpdate::Condition(condition)]
    }

    fn replacement(&self) -> RegistryUpdate {
        let held = self.services.values();
        let values = held.clone().filter_map(|held| held.values.as_ref());
        let rejected = held.flat_map(|held| held.rejected.values()).chain(self.unnamed.values());
        RegistryUpdate::Replace {
            values: values
                .flat_map(|(service, set)| {
                    [Value::Service(service.clone()), Value::Endpoints(set.clone())]
                })
                .chain(self.unloaded.values().cloned().map(Value::Unloaded))
                .collect(),
            rejected: rejected.cloned().collect(),
        }
    }

    fn context(&self) -> Context<'_> {
        Context { config: &self.config, registry: &self.registry, datacenter: &self.datacenter }
    }
}

impl Held {
    fn new(key: ServiceKey) -> Self {
        Self { key, contributions: BTreeMap::new(), rejected: BTreeMap::new(), values: None }
    }

    fn take(
        &mut self,
        context: Context<'_>,
        name: &str,
        instances: &[RawInstance],
    ) -> Vec<RegistryUpdate> {
        let mut contributions = BTreeMap::new();
        let mut rejected = BTreeMap::new();
        for instance in instances {
            match convert::contribution(context, name, instance) {
                Ok(Some(made)) => drop(contributions.insert(made.object.clone(), made)),
                Ok(None) => {}
                Err(bad) => {
                    // Its last good version stays in force.
                    if let Some(last) = self.contributions.remove(&bad.object) {
                        contributions.insert(bad.object.clone(), last);
                    }
                    rejected.insert(bad.object.clone(), bad);
                }
            }
        }
        let mut updates = differences(&self.rejected, &rejected);
        let values = convert::assemble(context, name, &self.key, contributions.values());
        let values = values.map(|(service, set)| (Arc::new(service), Arc::new(set)));
        updates.extend(self.changes(values.as_ref()));
        *self = Self { key: self.key.clone(), contributions, rejected, values };
        updates
    }

    fn changes(&self, new: Option<&(Arc<Service>, Arc<EndpointSet>)>) -> Vec<RegistryUpdate> {
        let Some((service, set)) = new else {
            return match self.values {
                Some(_) => self.value_removal(),
                None => Vec::new(),
            };
        };
        let old = self.values.as_ref();
        let same_service =
            old.is_some_and(|(old, _)| old.same_content(service) && old.origins == service.origins);
        let same_set = old.is_some_and(|(_, old)| {
            let origins = |set: &EndpointSet| -> Vec<_> {
                set.endpoints().iter().map(|e| e.origins.clone()).collect()
            };
            old.same_content(set) && origins(old) == origins(set)
        });
        let service = (!same_service).then(|| Value::Service(service.clone()));
        let set = (!same_set).then(|| Value::Endpoints(set.clone()));
        service.into_iter().chain(set).map(RegistryUpdate::Put).collect()
    }

    fn value_removal(&self) -> Vec<RegistryUpdate> {
        let key = || self.key.clone();
        vec![
            RegistryUpdate::Remove(Key::Service(key())),
            RegistryUpdate::Remove(Key::Endpoints(key())),
        ]
    }
}

/// From these rejections to those.
fn differences(
    old: &BTreeMap<ObjectRef, Rejected>,
    new: &BTreeMap<ObjectRef, Rejected>,
) -> Vec<RegistryUpdate> {
    let accepted = old.keys().filter(|object| !new.contains_key(*object));
    let rejected = new.iter().filter(|(object, rejected)| old.get(*object) != Some(*rejected));
    accepted
        .map(|object| RegistryUpdate::Accept(object.clone()))
        .chain(rejected.map(|(_, rejected)| RegistryUpdate::Reject(rejected.clone())))
        .collect()
}

#[cfg(test)]
mod tests;
