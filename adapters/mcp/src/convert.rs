//! Messages to the specifications that all registries share. Pure.

mod kind;

use std::sync::Arc;

use mainstem_model::{
    self as model, Body, Config, ConfigKey, Labels, RegistryId, ServiceKey, Sourced, Workload,
};
use mainstem_proto::google::protobuf::Any;
use mainstem_registry::serviceentry::{
    Declared, Entry, Location, ServiceEntryPort, ServiceEntryResolution, ServiceEntrySpec,
    Surroundings, WorkloadEntrySpec, WorkloadSelector, convert,
};
use prost::Message;

use crate::handed_on::{self, Excluded, Listed};

pub use kind::Kind;

use mainstem_proto::istio::{
    Metadata, ORIGIN, ORIGINS, Resource, ServiceEntry, ServicePort, WorkloadEntry,
};

/// What an object says.
#[derive(Clone, Debug)]
pub enum Object {
    /// The services of a ServiceEntry.
    Services(Vec<Declared>),
    /// The workload of a WorkloadEntry.
    Workload(Arc<Workload>),
    /// An object that passes through.
    Config(Arc<Config>),
    /// An object of which nothing is taken, its services, and why.
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
    kind: &Kind,
    name: &str,
    resource: Option<&Any>,
) -> Result<Object, String> {
    let any = resource.ok_or("it has no content")?;
    let Resource { metadata, body } = Resource::decode(any.value.clone())
        .map_err(|error| format!("it is no istio.mcp.v1alpha1.Resource: {error}"))?;
    let metadata = metadata.unwrap_or_default();
    let body = body.ok_or("it has no body")?;
    if let Kind::Other(kind) = kind {
        return config(around, excluded, kind, name, &metadata, &body);
    }
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
        Kind::Other(_) => unreachable!("these pass through"),
    }
}

/// An object of a kind that is passed on as it is.
fn config(
    around: &Surroundings,
    excluded: &Excluded,
    kind: &Arc<str>,
    name: &str,
    metadata: &Metadata,
    body: &Any,
) -> Result<Object, String> {
    named_alike(name, metadata)?;
    let object = kind::object_name(kind, name);
    let origins = Sourced::only(&around.registry, kind::OTHER, &object, &metadata.version);
    let origins = match Listed::of(metadata).map(|listed| listed.object(&origins, excluded)) {
        None => origins,
        Some(Ok(origins)) => origins,
        Some(Err(returned)) => {
            let why = handed_on::reason(&around.registry, &returned);
            return Ok(Object::Returned(Vec::new(), why));
        }
    };
    let annotations = labels(&metadata.annotations);
    let foreign = annotations.iter().filter(|(key, _)| ![ORIGIN, ORIGINS].contains(key));
    Ok(Object::Config(Arc::new(Config {
        key: config_key(kind, name),
        labels: labels(&metadata.labels),
        annotations: foreign.collect(),
        body: Body::Message(model::Message {
            type_url: body.type_url.as_str().into(),
            value: body.value.as_ref().into(),
        }),
        origins,
    })))
}

/// The key of an object that is passed on.
pub(crate) fn config_key(kind: &Arc<str>, name: &str) -> ConfigKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    ConfigKey { kind: kind.clone(), namespace: namespace.into(), name: name.into() }
}

fn message<M: Message + Default>(body: &Any, kind: &Kind) -> Result<M, String> {
    let short = body.message_name().rsplit('.').next().unwrap_or_default();
    if short != kind.word() {
        return Err(format!("its body is a {:?}, not a {}", body.type_url, kind.word()));
    }
    M::decode(body.value.clone()).map_err(|error| format!("its body cannot be decoded: {error}"))
}

fn entry(
    registry: &RegistryId,
    kind: &Kind,
    outer: &str,
    metadata: &Metadata,
) -> Result<Entry, String> {
    named_alike(outer, metadata)?;
    let (namespace, name) = match outer.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
        _ => return Err(format!("its name is {outer:?}, not NAMESPACE/NAME")),
    };
    Ok(Entry {
        namespace: namespace.into(),
        name: name.into(),
        labels: labels(&metadata.labels),
        annotations: labels(&metadata.annotations),
        origins: Sourced::only(registry, kind.word(), outer, &metadata.version),
    })
}

fn named_alike(outer: &str, metadata: &Metadata) -> Result<(), String> {
    match metadata.name.is_empty() || metadata.name == outer {
        true => Ok(()),
        false => Err(format!("its metadata names it {:?}", metadata.name)),
    }
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
