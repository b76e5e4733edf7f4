//! Short ways to write values in tests.

use std::sync::Arc;

use mainstem_model::{
    Address, Condition, Endpoint, EndpointSet, Key, ObjectRef, Port, Protocol, RegistryId,
    RegistryUpdate, Rejected, Service, ServiceKey, Sourced, TargetPort, Value,
};
use mainstem_registry::Batch;

use crate::settings::{AggregateConfig, RegistrySettings};

/// `namespace/host`.
pub(crate) fn key(text: &str) -> ServiceKey {
    let (namespace, host) = text.split_once('/').unwrap();
    ServiceKey::new(host, namespace)
}

/// `80 http`: number, and name whose prefix is the protocol.
pub(crate) fn port(text: &str) -> Port {
    let (number, name) = text.split_once(' ').unwrap_or((text, ""));
    let number = number.parse().unwrap();
    let target = TargetPort::Number(number);
    Port { number, name: name.into(), protocol: Protocol::from_name(name), target }
}

/// A service of `registry` with these ports.
pub(crate) fn service(registry: &str, name: &str, ports: &[&str]) -> Service {
    let origins = Sourced::only(&registry.into(), "Service", name, "1");
    let mut service = Service::new(key(name), origins);
    service.ports = ports.iter().map(|text| port(text)).collect();
    service
}

/// An endpoint of `registry`: `80 10.0.0.1:8080`, service port and address, made
/// of the object `slice` of the registry.
pub(crate) fn endpoint(registry: &str, slice: &str, text: &str) -> Endpoint {
    let (port, place) = text.split_once(' ').unwrap();
    let (address, target) = place.rsplit_once(':').unwrap();
    let origins = Sourced::only(&registry.into(), "EndpointSlice", slice, "1");
    let address = Address::parse(address);
    Endpoint::new(port.parse().unwrap(), address, target.parse().unwrap(), origins)
}

pub(crate) fn set(name: &str, endpoints: Vec<Endpoint>) -> Arc<EndpointSet> {
    Arc::new(EndpointSet::new(key(name), endpoints.into_iter().map(Arc::new).collect()))
}

/// Endpoints of one slice, which has the service's name.
pub(crate) fn endpoints(registry: &str, name: &str, all: &[&str]) -> Arc<EndpointSet> {
    set(name, all.iter().map(|text| endpoint(registry, name, text)).collect())
}

/// `80 10.0.0.1:8080` of each endpoint, in order.
pub(crate) fn written(set: &EndpointSet) -> Vec<String> {
    let write = |e: &Arc<Endpoint>| format!("{} {}:{}", e.port, e.address, e.target_port);
    set.endpoints().iter().map(write).collect()
}

pub(crate) fn rejected(kind: &'static str, name: &str) -> Rejected {
    Rejected { object: ObjectRef { kind, name: name.into() }, reason: "malformed".to_owned() }
}

pub(crate) fn batch(updates: impl IntoIterator<Item = RegistryUpdate>) -> Batch {
    let mut batch = Batch::default();
    updates.into_iter().for_each(|update| batch.merge(update));
    batch
}

pub(crate) fn put_service(service: Service) -> RegistryUpdate {
    RegistryUpdate::Put(Value::Service(Arc::new(service)))
}

pub(crate) fn put_endpoints(set: Arc<EndpointSet>) -> RegistryUpdate {
    RegistryUpdate::Put(Value::Endpoints(set))
}

pub(crate) fn remove_endpoints(name: &str) -> RegistryUpdate {
    RegistryUpdate::Remove(Key::Endpoints(key(name)))
}

pub(crate) fn replace(values: Vec<Value>, rejected: Vec<Rejected>) -> [RegistryUpdate; 2] {
    let live = RegistryUpdate::Condition(Condition::Live);
    [RegistryUpdate::Replace { values, rejected }, live]
}

/// Registries with their defaults; `consul/dc1 *.svc` joins that pattern.
pub(crate) fn registry(text: &str) -> RegistrySettings {
    let (id, joins) = text.split_once(' ').unwrap_or((text, ""));
    let mut settings = RegistrySettings::new(RegistryId::from(id));
    settings.joins = joins.split_whitespace().map(Into::into).collect();
    settings
}

pub(crate) fn config(registries: &[&str]) -> AggregateConfig {
    AggregateConfig {
        cluster: "home".into(),
        registries: registries.iter().map(|text| registry(text)).collect(),
        ..AggregateConfig::default()
    }
}
