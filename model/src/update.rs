//! What an adapter says.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    Condition, Config, ConfigKey, EndpointSet, Namespace, NamespaceName, NetworkGateway,
    NetworkGatewayKey, ObjectRef, Origins, Rejected, Service, ServiceKey, Workload, WorkloadKey,
};

/// One value that a registry brings.
#[derive(Clone, Debug, Serialize)]
pub enum Value {
    /// A service's definition.
    Service(Arc<Service>),
    /// All endpoints that the registry has for one service.
    Endpoints(Arc<EndpointSet>),
    /// A workload.
    Workload(Arc<Workload>),
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A configuration object.
    Config(Arc<Config>),
    /// A network gateway.
    Gateway(Arc<NetworkGateway>),
    /// A service that the registry has and that is not loaded, since nobody needs it.
    Unloaded(ServiceKey),
}

/// What identifies a [`Value`] within its registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A service's definition.
    Service(ServiceKey),
    /// A service's endpoints.
    Endpoints(ServiceKey),
    /// A workload.
    Workload(WorkloadKey),
    /// A namespace.
    Namespace(NamespaceName),
    /// A configuration object.
    Config(ConfigKey),
    /// A network gateway.
    Gateway(NetworkGatewayKey),
    /// That a service is not loaded.
    Unloaded(ServiceKey),
}

impl Value {
    /// What identifies it.
    pub fn key(&self) -> Key {
        match self {
            Self::Service(service) => Key::Service(service.key.clone()),
            Self::Endpoints(set) => Key::Endpoints(set.service.clone()),
            Self::Workload(workload) => Key::Workload(workload.key.clone()),
            Self::Namespace(namespace) => Key::Namespace(namespace.name.clone()),
            Self::Config(config) => Key::Config(config.key.clone()),
            Self::Gateway(gateway) => Key::Gateway(gateway.key.clone()),
            Self::Unloaded(service) => Key::Unloaded(service.clone()),
        }
    }

    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a), Self::Service(b)) => a.same_content(b),
            (Self::Endpoints(a), Self::Endpoints(b)) => a.same_content(b),
            (Self::Workload(a), Self::Workload(b)) => a.same_content(b),
            (Self::Namespace(a), Self::Namespace(b)) => a.same_content(b),
            (Self::Config(a), Self::Config(b)) => a.same_content(b),
            (Self::Gateway(a), Self::Gateway(b)) => a.same_content(b),
            (Self::Unloaded(a), Self::Unloaded(b)) => a == b,
            _ => false,
        }
    }

    /// The native objects that it was made of.
    pub fn objects(&self) -> Vec<&ObjectRef> {
        match self {
            Self::Service(service) => objects_of(&service.origins),
            Self::Endpoints(set) => {
                set.endpoints().iter().flat_map(|endpoint| objects_of(&endpoint.origins)).collect()
            }
            Self::Workload(workload) => objects_of(&workload.origins),
            Self::Namespace(namespace) => objects_of(&namespace.origins),
            Self::Config(config) => objects_of(&config.origins),
            Self::Gateway(gateway) => objects_of(&gateway.origins),
            Self::Unloaded(_) => Vec::new(),
        }
    }
}

fn objects_of(origins: &Origins) -> Vec<&ObjectRef> {
    origins.iter().map(|sourced| &sourced.origin.object).collect()
}

/// What an adapter tells the aggregate about its registry.
///
/// An adapter never says "empty" because it failed: a failure is a
/// [`Condition::Failed`] and changes no value.
#[derive(Clone, Debug)]
pub enum RegistryUpdate {
    /// This value is new or changed.
    Put(Value),
    /// This value is gone, by the registry's own word.
    Remove(Key),
    /// The complete state after a first list or a resync: what is not here is
    /// gone, except values made of a `rejected` object that were held before.
    Replace {
        /// Everything that the registry has.
        values: Vec<Value>,
        /// Everything that could not be understood.
        rejected: Vec<Rejected>,
    },
    /// This object could not be understood; its last good values stay.
    Reject(Rejected),
    /// This object is understood again, or gone.
    Accept(ObjectRef),
    /// How the registry is.
    Condition(Condition),
}
