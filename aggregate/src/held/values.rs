//! One registry's values by key.

use std::sync::Arc;

use mainstem_model::{
    Config, ConfigKey, Endpoint, EndpointSet, Key, Namespace, NamespaceName, NetworkGateway,
    NetworkGatewayKey, Service, ServiceKey, Shards, Value, Workload, WorkloadKey,
};

/// What a registry says of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) endpoints: Option<Arc<EndpointSet>>,
}

impl Said {
    /// The same with endpoints that are used after everything else.
    pub(crate) fn as_last_resort(&self) -> Self {
        let last = |endpoint: &Arc<Endpoint>| {
            Arc::new(Endpoint { held: true, ..Endpoint::clone(endpoint) })
        };
        let held = |set: &Arc<EndpointSet>| {
            let all = set.endpoints().iter().map(last).collect();
            Arc::new(EndpointSet::new(set.service.clone(), all))
        };
        Self { service: self.service.clone(), endpoints: self.endpoints.as_ref().map(held) }
    }
}

/// A value of each key. Never rehashed as a whole, so that no single update is slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    services: Shards<ServiceKey, Said>,
    workloads: Shards<WorkloadKey, Arc<Workload>>,
    namespaces: Shards<NamespaceName, Arc<Namespace>>,
    configs: Shards<ConfigKey, Arc<Config>>,
    gateways: Shards<NetworkGatewayKey, Arc<NetworkGateway>>,
    unloaded: Shards<ServiceKey, ()>,
    definitions: usize,
    endpoints: usize,
}

impl Values {
    /// Definition and endpoints of a service.
    pub(crate) fn said(&self, service: &ServiceKey) -> Option<&Said> {
        self.services.get(service)
    }

    /// The services that it speaks of, in no order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    /// How many services are defined.
    pub(crate) fn service_count(&self) -> usize {
        self.definitions
    }

    /// How many endpoints there are, of all services.
    pub(crate) fn endpoint_count(&self) -> usize {
        self.endpoints
    }

    /// How many services are not loaded.
    pub(crate) fn unloaded_count(&self) -> usize {
        self.unloaded.len()
    }

    /// Whether the service is not loaded.
    pub(crate) fn is_unloaded(&self, service: &ServiceKey) -> bool {
        self.unloaded.contains_key(service)
    }

    /// How many workloads there are.
    pub(crate) fn workload_count(&self) -> usize {
        self.workloads.len()
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        for (key, said) in self.services.iter() {
            keys.extend(said.service.as_ref().map(|_| Key::Service(key.clone())));
            keys.extend(said.endpoints.as_ref().map(|_| Key::Endpoints(key.clone())));
        }
        keys.extend(self.workloads.keys().cloned().map(Key::Workload));
        keys.extend(self.namespaces.keys().cloned().map(Key::Namespace));
        keys.extend(self.configs.keys().cloned().map(Key::Config));
        keys.extend(self.gateways.keys().cloned().map(Key::Gateway));
        keys.extend(self.unloaded.keys().cloned().map(Key::Unloaded));
        keys
    }

    /// All values, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Value> {
        let services = self.services.values().filter_map(|said| said.service.clone());
        let endpoints = self.services.values().filter_map(|said| said.endpoints.clone());
        services
            .map(Value::Service)
            .chain(endpoints.map(Value::Endpoints))
            .chain(self.workloads.values().cloned().map(Value::Workload))
            .chain(self.namespaces.values().cloned().map(Value::Namespace))
            .chain(self.configs.values().cloned().map(Value::Config))
            .chain(self.gateways.values().cloned().map(Value::Gateway))
            .chain(self.unloaded.keys().cloned().map(Value::Unloaded))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        match key {
            Key::Service(key) => self.said(key)?.service.clone().map(Value::Service),
            Key::Endpoints(key) => self.said(key)?.endpoints.clone().map(Value::Endpoints),
            Key::Workload(key) => self.workloads.get(key).cloned().map(Value::Workload),
            Key::Namespace(key) => self.namespaces.get(key).cloned().map(Value::Namespace),
            Key::Config(key) => self.configs.get(key).cloned().map(Value::Config),
            Key::Gateway(key) => self.gateways.get(key).cloned().map(Value::Gateway),
            Key::Unloaded(key) => self.is_unloaded(key).then(|| Value::Unloaded(key.clone())),
        }
    }

    /// Sets a value under its own key.
    pub(crate) fn put(&mut self, value: Value) {
        match value {
            Value::Service(service) => {
                let key = service.key.clone();
                self.say(&key, |said| said.service = Some(service));
            }
            Value::Endpoints(set) => {
                let key = set.service.clone();
                self.say(&key, |said| said.endpoints = Some(set));
            }
            Value::Workload(value) => drop(self.workloads.insert(value.key.clone(), value)),
            Value::Namespace(value) => drop(self.namespaces.insert(value.name.clone(), value)),
            Value::Config(value) => drop(self.configs.insert(value.key.clone(), value)),
            Value::Gateway(value) => drop(self.gateways.insert(value.key.clone(), value)),
            Value::Unloaded(service) => drop(self.unloaded.insert(service, ())),
        }
    }

    /// Removes the value of `key`; whether there was one.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        match key {
            Key::Service(key) => self.say(key, |said| said.service = None),
            Key::Endpoints(key) => self.say(key, |said| said.endpoints = None),
            Key::Workload(key) => drop(self.workloads.remove(key)),
            Key::Namespace(key) => drop(self.namespaces.remove(key)),
            Key::Config(key) => drop(self.configs.remove(key)),
            Key::Gateway(key) => drop(self.gateways.remove(key)),
            Key::Unloaded(key) => drop(self.unloaded.remove(key)),
        }
        true
    }

    fn say(&mut self, key: &ServiceKey, change: impl FnOnce(&mut Said)) {
        let mut said = self.said(key).cloned().unwrap_or_default();
        self.definitions -= usize::from(said.service.is_some());
        self.endpoints -= said.endpoints.as_ref().map_or(0, |set| set.len());
        change(&mut said);
        self.definitions += usize::from(said.service.is_some());
        self.endpoints += said.endpoints.as_ref().map_or(0, |set| set.len());
        if said.service.is_none() && said.endpoints.is_none() {
            self.services.remove(key);
        } else {
            self.services.insert(key.clone(), said);
        }
    }
}
