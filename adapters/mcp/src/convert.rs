//! Messages to the specifications that all registries share. Pure.

use std::sync::Arc;

use mainstem_model::{Labels, RegistryId, ServiceKey, Sourced, Workload};
use mainstem_proto::google::protobuf::Any;
use mainstem_registry::serviceentry::{
    Declared, Entry, Location, ServiceEntryPort, ServiceEntryResolution, ServiceEntrySpec,
    Surroundings, WorkloadEntrySpec, WorkloadSelector, convert,
};
use prost::Message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::handed_on::{self, Excluded, Listed};

use mainstem_proto::istio::{self, Metadata, Resource, ServiceEntry, ServicePort, WorkloadEntry};

/// The kinds that are read.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Kind {
    /// Services with their endpoints.
    ServiceEntry,
    /// Workloads that services select.
    WorkloadEntry,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ServiceEntry, Self::WorkloadEntry];

    /// Istio's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
        }
    }

    /// The type URL by which MCP-over-xDS asks for it: group, version and kind.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::ServiceEntry => istio::SERVICE_ENTRIES,
            Self::WorkloadEntry => istio::WORKLOAD_ENTRIES,
        }
    }

    /// The collection of the original protocol.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::ServiceEntry => "istio/networking/v1alpha3/serviceentries",
            Self::WorkloadEntry => "istio/networking/v1alpha3/workloadentries",
        }
    }

    /// The kind of a collection.
    pub fn of_collection(collection: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == collection)
    }

    /// The kind of a type URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }
}

/// What an object says.
#[derive(Clone, Debug)]
pub enum Object {
    /// The services of a ServiceEntry.
    Services(Vec<Declared>),
    /// The workload of a WorkloadEntry.
    Workload(Arc<Workload>),
    /// Services of which nothing is taken, and why.
    Returned(Vec<ServiceKey>, String),
}

/// Converts one resource, without what comes from excluded clusters.
///
/// # Errors
///
/// What is wrong with it.
pub fn object(
    around: &Surroundings,
    excluded: &Excluded,
    kind: Kind,
    name: &str,
    resource: Option<&Any>,
) -> Result<Object, String> {
    let any = resource.ok_or("it has no content")?;
    let Resource { metadata, body } = Resource::decode(any.value.clone())
        .map_err(|error| format!("it is no istio.mcp.v1alpha1.Resource: {error}"))?;
    let metadata = metadata.unwrap_or_default();
    let body = body.ok_or("it has no body")?;
    let entry = entry(&around.registry, kind, name, &metadata)?;
    match kind {
        Kind::ServiceEntry => {
            let spec = service_entry(message(&body, kind)?)?;
            let declared = convert::service_entry(around, &entry, &spec);
            let declared = declared.map_err(|problems| problems.to_string())?;
            let Some(listed) = Listed::of(&metadata) else {
                return Ok(Object::Services(declared));
            };
            let keys = declared.iter().map(|one| one.service.key.clone()).collect();
            Ok(match listed.apply(declared, excluded) {
                Ok(declared) => Object::Services(declared),
                Err(returned) => {
                    Object::Returned(keys, handed_on::reason(&around.registry, &returned))
                }
            })
        }
        Kind::WorkloadEntry => {
            let spec = workload_entry(message(&body, kind)?);
            let workload = convert::workload_entry(around, &entry, &spec);
            let workload = workload.map_err(|problems| problems.to_string())?;
            Ok(Object::Workload(Arc::new(workload)))
        }
    }
}

fn message<M: Message + Default>(body: &Any, kind: Kind) -> Result<M, String> {
    let short = body.message_name().rsplit('.').next().unwrap_or_default();
    if short != kind.name() {
        return Err(format!("its body is a {:?}, not a {}", body.type_url, kind.name()));
    }
    M::decode(body.value.clone()).map_err(|error| format!("its body cannot be decoded: {error}"))
}

fn entry(
    registry: &RegistryId,
    kind: Kind,
    outer: &str,
    metadata: &Metadata,
) -> Result<Entry, String> {
    if !metadata.name.is_empty() && metadata.name != outer {
        return Err(format!("its metadata names it {:?}", metadata.name));
    }
    let (namespace, name) = match outer.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
        _ => return Err(format!("its name is {outer:?}, not NAMESPACE/NAME")),
    };
    Ok(Entry {
        namespace: namespace.into(),
        name: name.into(),
        labels: labels(&metadata.labels),
        annotations: labels(&metadata.annotations),
        origins: Sourced::only(registry, kind.name(), outer, &metadata.version),
    })
}

fn labels(map: &std::collections::BTreeMap<String, String>) -> Labels {
    map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn service_entry(message: ServiceEntry) -> Result<ServiceEntrySpec, String> {
    let port = |port: ServicePort| ServiceEntryPort {
        number: port.number,
        protocol: port.protocol,
        name: port.name,
        target_port: port.target_port,
    };
    let selector = message.workload_selector;
    Ok(ServiceEntrySpec {
        location: location(message.location)?,
        resolution: resolution(message.resolution)?,
        hosts: message.hosts,
        addresses: message.addresses,
        ports: message.ports.into_iter().map(port).collect(),
        endpoints: message.endpoints.into_iter().map(workload_entry).collect(),
        workload_selector: selector.map(|s| WorkloadSelector { labels: labels(&s.labels) }),
        export_to: message.export_to,
        subject_alt_names: message.subject_alt_names,
    })
}

fn location(number: i32) -> Result<Location, String> {
    match number {
        0 => Ok(Location::External),
        1 => Ok(Location::Internal),
        _ => Err(format!("location: {number} is unknown")),
    }
}

fn resolution(number: i32) -> Result<ServiceEntryResolution, String> {
    match number {
        0 => Ok(ServiceEntryResolution::None),
        1 => Ok(ServiceEntryResolution::Static),
        2 => Ok(ServiceEntryResolution::Dns),
        3 => Ok(ServiceEntryResolution::DnsRoundRobin),
        4 => Ok(ServiceEntryResolution::DynamicDns),
        _ => Err(format!("resolution: {number} is unknown")),
    }
}

fn workload_entry(message: WorkloadEntry) -> WorkloadEntrySpec {
    WorkloadEntrySpec {
        address: message.address,
        ports: message.ports,
        labels: labels(&message.labels),
        network: message.network,
        locality: message.locality,
        weight: message.weight,
        service_account: message.service_account,
    }
}

#[cfg(test)]
mod tests;
