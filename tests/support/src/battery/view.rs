//! What an adapter has said so far.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mainstem_model::{Condition, Health, Key, ObjectRef, Rejected, Service, ServiceKey, Value};
use mainstem_registry::Batch;

use super::TestService;

/// What the adapter has said, applied as the aggregate applies it.
#[derive(Clone, Debug)]
pub struct View {
    /// Every value.
    pub values: BTreeMap<Key, Value>,
    /// Every object that could not be understood.
    pub rejected: BTreeMap<ObjectRef, Rejected>,
    /// The registry's condition.
    pub condition: Condition,
}

impl Default for View {
    fn default() -> Self {
        Self { values: BTreeMap::new(), rejected: BTreeMap::new(), condition: Condition::Syncing }
    }
}

impl View {
    /// Applies what was said since the last read.
    pub fn apply(&mut self, batch: Batch) {
        if batch.removed {
            *self = Self::default();
        }
        if let Some((values, rejected)) = batch.replace {
            let held = std::mem::replace(&mut self.values, values);
            let spared = held
                .into_iter()
                .filter(|(_, value)| value.objects().iter().any(|o| rejected.contains_key(*o)));
            for (key, value) in spared {
                self.values.entry(key).or_insert(value);
            }
            self.rejected = rejected;
        }
        merge(&mut self.values, batch.values);
        merge(&mut self.rejected, batch.rejected);
        self.condition = batch.condition.unwrap_or(self.condition.clone());
    }

    /// The service of this key.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        match self.values.get(&Key::Service(key.clone())) {
            Some(Value::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// Address and target port of the service's healthy endpoints, in order.
    pub fn serving(&self, key: &ServiceKey) -> Vec<(IpAddr, u16)> {
        let Some(Value::Endpoints(set)) = self.values.get(&Key::Endpoints(key.clone())) else {
            return Vec::new();
        };
        let healthy = set.endpoints().iter().filter(|e| e.health == Health::Healthy);
        let mut all: Vec<_> =
            healthy.filter_map(|e| Some((e.address.ip()?, e.target_port))).collect();
        all.sort();
        all
    }

    /// Whether the service stands here as it was put.
    pub fn shows(&self, key: &ServiceKey, service: &TestService) -> Result<(), String> {
        let ports: Vec<u16> =
            self.service(key).iter().flat_map(|s| &s.ports).map(|port| port.number).collect();
        let is = (ports, self.serving(key));
        let expected = (vec![service.port], service.serving());
        if is == expected { Ok(()) } else { Err(format!("{key} is {is:?}, not {expected:?}")) }
    }

    /// Whether nothing of the service is left.
    pub fn lacks(&self, key: &ServiceKey) -> Result<(), String> {
        let (service, serving) = (self.service(key), self.serving(key));
        if service.is_none() && serving.is_empty() {
            return Ok(());
        }
        Err(format!("{key} is still there: {service:?}, {serving:?}"))
    }

    /// Whether the registry is complete and followed.
    pub fn live(&self) -> Result<(), String> {
        self.check(self.condition == Condition::Live, "is not live")
    }

    /// Whether the registry is said to have failed.
    pub fn failed(&self) -> Result<(), String> {
        self.check(matches!(self.condition, Condition::Failed(_)), "has not failed")
    }

    /// Whether the object is rejected, with a reason.
    pub fn rejects(&self, object: &ObjectRef) -> Result<(), String> {
        let reason = self.rejected.get(object).map(|rejected| &rejected.reason);
        self.check(reason.is_some_and(|reason| !reason.is_empty()), &format!("accepts {object}"))
    }

    /// Whether the object is not rejected.
    pub fn accepts(&self, object: &ObjectRef) -> Result<(), String> {
        self.check(!self.rejected.contains_key(object), &format!("rejects {object}"))
    }

    fn check(&self, fact: bool, otherwise: &str) -> Result<(), String> {
        if fact {
            return Ok(());
        }
        let rejected: Vec<_> = self.rejected.values().collect();
        Err(format!("the registry {otherwise}: {:?}, rejected {rejected:?}", self.condition))
    }
}

fn merge<K: Ord, V>(all: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, change) in changes {
        match change {
            Some(value) => drop(all.insert(key, value)),
            None => drop(all.remove(&key)),
        }
    }
}
