//! Who is registered, until when, and what all of it comes to. Pure: no clock, no task.

mod brought;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_model::{
    Health, Key, RegistryUpdate, ServiceKey, TimeSpan, Value, Workload, WorkloadKey,
};
use mainstem_registry::own::{Around, EndpointHealth};
use mainstem_registry::serviceentry::Declared;
use tokio::time::Instant;

use self::brought::Brought;
use self::index::Index;
use crate::api::{Deregistration, Heartbeat, Registered, Registration, RegistrationName};
use crate::config::MemoryConfig;

/// The shortest time to live: shorter ones would be missed by the network alone.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest time to live.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An operator: may touch whatever anybody registered.
    Operator(Arc<str>),
    /// Who has the registry's token of this name.
    Registrant(Arc<str>),
}

impl Owner {
    /// The name of the token presented.
    pub fn name(&self) -> &Arc<str> {
        let (Self::Operator(name) | Self::Registrant(name)) = self;
        name
    }

    fn may_touch(&self, owner: &str) -> bool {
        matches!(self, Self::Operator(_)) || **self.name() == *owner
    }
}

/// Why a request comes to nothing; nothing has changed then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Nothing is registered under the name.
    #[error("nothing is registered as {0}: register it again, with all that belongs to it")]
    Unknown(RegistrationName),
    /// Somebody else has it.
    #[error("{0}")]
    Taken(String),
    /// It belongs to who presents another token.
    #[error("{id} was registered with the token named {owner}; nobody else changes it")]
    Foreign {
        /// The registration.
        id: RegistrationName,
        /// The name of its owner's token.
        owner: Arc<str>,
    },
    /// There are too many.
    #[error("there are {0} registrations already, as many as `maxRegistrations` allows")]
    Full(usize),
}

/// A registration, to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub id: RegistrationName,
    /// The name of the token that it was registered with.
    pub owner: Arc<str>,
    /// When that was.
    pub registered: SystemTime,
    /// Its time to live.
    pub ttl: TimeSpan,
    /// How long until it turns unhealthy, or once it has, until it is removed.
    pub left: Duration,
    /// Whether it was not heard of for its time to live.
    pub lapsed: bool,
    /// The health that its heartbeats say, if they say any.
    pub health: Option<Health>,
    /// The services that it brings.
    pub services: Vec<ServiceKey>,
    /// The workloads that it brings.
    pub workloads: Vec<WorkloadKey>,
}

/// A registration as it is kept across restarts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub owner: Arc<str>,
    pub registered: SystemTime,
    /// The request's body.
    pub body: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    brought: Brought,
    /// Which registration of all it is: the newest says what a service is.
    number: u64,
    ttl: TimeSpan,
    /// When it lapses, or once it has, when it is removed.
    due: Instant,
    lapsed: bool,
    health: Option<EndpointHealth>,
}

impl Entry {
    /// The health of all that it brings, where it is not each one's own.
    fn health(&self) -> Option<Health> {
        if self.lapsed { Some(Health::Unhealthy) } else { self.health.map(Health::from) }
    }
}

/// All registrations of a registry.
#[derive(Debug)]
pub(crate) struct Book {
    config: MemoryConfig,
    around: Around,
    entries: BTreeMap<RegistrationName, Entry>,
    due: BTreeSet<(Instant, RegistrationName)>,
    index: Index,
    /// How many there were so far.
    number: u64,
    /// Which set of registrations it is of all that there were.
    edition: u64,
    /// Who is told of changes: an adapter that was replaced is not any more.
    reader: Reader,
    /// What may have changed since the reader was last told.
    touched: BTreeSet<Key>,
}

/// Who is told of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reader(u64);

impl Book {
    pub(crate) fn new(config: MemoryConfig, around: Around) -> Self {
        Self {
            config,
            around,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            index: Index::default(),
            number: 0,
            edition: 0,
            reader: Reader::default(),
            touched: BTreeSet::new(),
        }
    }

    /// Registers what `body` says, or replaces what was registered under its name.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        kept: Kept,
        by: &Owner,
    ) -> Result<Registered, Refused> {
        let asked: Registration = serde_json::from_str(&kept.body)
            .map_err(|error| Refused::Invalid(format!("the registration: {error}")))?;
        let (id, ttl) = (asked.id.clone(), asked.ttl.unwrap_or(self.config.ttl));
        check_ttl(ttl)?;
        self.admit(&id, by)?;
        let number = self.number + 1;
        let brought = Brought::of(&self.around, asked, number)
            .map_err(|why| Refused::Invalid(why.join("\n")))?;
        if let Some((key, other)) = self.index.taken(&id, &brought) {
            return Err(Refused::Taken(format!(
                "{other} brings workload {}/{} already: give this one another name",
                key.namespace(),
                key.name()
            )));
        }
        self.number = number;
        self.forget(&id);
        self.index.keep(&id, &brought);
        let due = now + ttl.duration();
        self.due.insert((due, id.clone()));
        let entry = Entry { kept, brought, number, ttl, due, lapsed: false, health: None };
        self.entries.insert(id.clone(), entry);
        self.edition += 1;
        self.touch(&id);
        Ok(Registered { id, ttl })
    }

    /// Registers what was registered before a restart, unless it is there again.
    pub(crate) fn restore(&mut self, now: Instant, kept: Kept) -> Result<(), (String, Refused)> {
        let asked: Result<Registration, _> = serde_json::from_str(&kept.body);
        let id = match asked {
            Ok(asked) if self.entries.contains_key(&asked.id) => return Ok(()),
            Ok(asked) => asked.id.to_string(),
            Err(_) => "unknown".to_owned(),
        };
        let owner = Owner::Operator(kept.owner.clone());
        self.register(now, kept, &owner).map(drop).map_err(|refused| (id, refused))
    }

    /// Notes that a registration is still there, and how it is.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        asked: &Heartbeat,
        by: &Owner,
    ) -> Result<Registered, Refused> {
        let id = &asked.id;
        owned(&self.entries, id, by)?;
        let entry = self.entries.get_mut(id).ok_or_else(|| Refused::Unknown(id.clone()))?;
        let before = entry.health();
        entry.lapsed = false;
        entry.health = asked.health.or(entry.health);
        self.due.remove(&(entry.due, id.clone()));
        entry.due = now + entry.ttl.duration();
        self.due.insert((entry.due, id.clone()));
        let (ttl, changed) = (entry.ttl, entry.health() != before);
        if changed {
            self.touch(id);
        }
        Ok(Registered { id: id.clone(), ttl })
    }

    /// Removes a registration.
    pub(crate) fn deregister(&mut self, asked: &Deregistration, by: &Owner) -> Result<(), Refused> {
        owned(&self.entries, &asked.id, by)?;
        self.forget(&asked.id);
        Ok(())
    }

    /// Lets registrations lapse, and removes those that have been for long.
    fn pass(&mut self, now: Instant) {
        while let Some((due, id)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.lapsed) else {
                self.forget(&id);
                continue;
            };
            entry.lapsed = true;
            entry.due = due + self.config.remove_after.duration();
            self.due.remove(&(due, id.clone()));
            self.due.insert((entry.due, id.clone()));
            self.touch(&id);
        }
    }

    /// When something lapses or goes next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Other settings: every registration is read anew by them. One that does not hold
    /// by them stays as it was.
    pub(crate) fn configure(&mut self, config: MemoryConfig, around: Around) {
        (self.config, self.around, self.index) = (config, around, Index::default());
        for (id, entry) in &mut self.entries {
            let asked = serde_json::from_str(&entry.kept.body).ok();
            let read = asked.map(|asked| Brought::of(&self.around, asked, entry.number));
            if let Some(Ok(brought)) = read {
                entry.brought = brought;
            }
            self.index.keep(id, &entry.brought);
        }
    }

    /// Everything, as a complete state, for a new reader.
    pub(crate) fn whole(&mut self) -> (Reader, Vec<Value>) {
        self.touched.clear();
        self.reader.0 += 1;
        (self.reader, self.index.keys().filter_map(|key| self.value(&key)).collect())
    }

    /// Which set of registrations it is of all that there were.
    pub(crate) fn edition(&self) -> u64 {
        self.edition
    }

    /// What changed since the reader was last told; `None` if there is a newer reader.
    pub(crate) fn changes(&mut self, reader: Reader, now: Instant) -> Option<Vec<RegistryUpdate>> {
        if self.reader != reader {
            return None;
        }
        self.pass(now);
        let touched = std::mem::take(&mut self.touched);
        let value = |key: Key| match self.value(&key) {
            Some(value) => RegistryUpdate::Put(value),
            None => RegistryUpdate::Remove(key),
        };
        Some(touched.into_iter().map(value).collect())
    }

    /// All registrations as they are kept across restarts, the oldest first.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let mut all: Vec<_> = self.entries.values().map(|e| (e.number, e.kept.clone())).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, kept)| kept).collect()
    }

    /// All registrations, by name.
    pub(crate) fn list(&self, now: Instant) -> Vec<Listed> {
        let listed = |(id, entry): (&RegistrationName, &Entry)| Listed {
            id: id.clone(),
            owner: entry.kept.owner.clone(),
            registered: entry.kept.registered,
            ttl: entry.ttl,
            left: entry.due.saturating_duration_since(now),
            lapsed: entry.lapsed,
            health: entry.health.map(Health::from),
            services: entry.brought.services().map(|d| d.service.key.clone()).collect(),
            workloads: entry.brought.workloads().map(|workload| workload.key.clone()).collect(),
        };
        self.entries.iter().map(listed).collect()
    }

    /// Whether one more may be registered under this name.
    fn admit(&self, id: &RegistrationName, by: &Owner) -> Result<(), Refused> {
        match owned(&self.entries, id, by) {
            Err(Refused::Unknown(_)) if self.entries.len() >= self.config.max_registrations => {
                Err(Refused::Full(self.entries.len()))
            }
            Err(Refused::Unknown(_)) => Ok(()),
            other => other,
        }
    }

    fn forget(&mut self, id: &RegistrationName) {
        self.touch(id);
        if let Some(entry) = self.entries.remove(id) {
            self.due.remove(&(entry.due, id.clone()));
            self.index.forget(id, &entry.brought);
            self.edition += 1;
        }
    }

    fn touch(&mut self, id: &RegistrationName) {
        if let Some(entry) = self.entries.get(id) {
            self.index.touched_by(&entry.brought, &mut self.touched);
        }
    }

    fn value(&self, key: &Key) -> Option<Value> {
        match key {
            Key::Service(key) => Some(Value::Service(self.newest(key)?.service.clone())),
            Key::Endpoints(key) => self.endpoints(key),
            Key::Workload(key) => self.workload(key).map(Value::Workload),
            _ => None,
        }
    }

    /// The registrations that bring the service, the newest first.
    fn bringing(&self, key: &ServiceKey) -> Vec<&Entry> {
        let ids = self.index.bringing(key);
        let mut entries: Vec<_> = ids.filter_map(|id| self.entries.get(id)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        entries
    }

    fn newest(&self, key: &ServiceKey) -> Option<&Declared> {
        self.bringing(key).first()?.brought.service(key)
    }

    /// The endpoints that all registrations bring to the service, and those of the
    /// workloads that it selects.
    fn endpoints(&self, key: &ServiceKey) -> Option<Value> {
        let mut declared = self.newest(key).filter(|d| d.service.alias_of.is_none())?.clone();
        let entries = self.bringing(key).into_iter();
        let all = entries.flat_map(|entry| entry.brought.endpoints(key, entry.health()));
        declared.endpoints = brought::distinct(all);
        let selects = !declared.service.selector.is_empty();
        let near = self.index.workloads_of(key.namespace()).filter(|_| selects);
        let workloads: Vec<Arc<Workload>> = near.filter_map(|key| self.workload(key)).collect();
        let set = declared.endpoint_set(workloads.iter().map(AsRef::as_ref));
        Some(Value::Endpoints(Arc::new(set)))
    }

    fn workload(&self, key: &WorkloadKey) -> Option<Arc<Workload>> {
        let entry = self.entries.get(self.index.owner(key)?)?;
        entry.brought.workload(key, entry.health())
    }
}

/// Whether there is a registration of this name that may be touched.
fn owned(
    entries: &BTreeMap<RegistrationName, Entry>,
    id: &RegistrationName,
    by: &Owner,
) -> Result<(), Refused> {
    let entry = entries.get(id).ok_or_else(|| Refused::Unknown(id.clone()))?;
    let owner = entry.kept.owner.clone();
    if by.may_touch(&owner) { Ok(()) } else { Err(Refused::Foreign { id: id.clone(), owner }) }
}

fn check_ttl(ttl: TimeSpan) -> Result<(), Refused> {
    if (SHORTEST..=LONGEST).contains(&ttl.duration()) {
        return Ok(());
    }
    let message = format!("`ttl` is {ttl}: write a length of time from 100ms to 24h");
    Err(Refused::Invalid(message))
}

#[cfg(test)]
mod tests;
