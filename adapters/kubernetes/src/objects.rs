//! What is kept of Kubernetes objects, and reading it from their JSON.
//!
//! Each kind keeps only what some value depends on: two versions of an object
//! that differ in nothing else compare equal. Reading is pure and lenient towards
//! members that it does not know; what it cannot understand is an error for that
//! one object.

mod entry;
mod namespace;
mod node;
mod pod;
mod service;
mod slice;

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::{Labels, Revision};
use mainstem_registry::serviceentry::{ServiceEntrySpec, WorkloadEntrySpec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use entry::Entry;
pub(crate) use namespace::Namespace;
pub(crate) use node::Node;
pub(crate) use pod::Pod;
pub(crate) use service::{Addressing, Gateway, Service};
pub(crate) use slice::{Condition, Slice, SliceEndpoint};

use crate::api::Kind;
use crate::names::ObjectName;

/// The label that names the network of a Pod, a cluster or a gateway.
pub(crate) const NETWORK: &str = "topology.istio.io/network";

/// An object as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) name: ObjectName,
    pub(crate) revision: Revision,
    /// What it says, or why that cannot be understood.
    pub(crate) object: Result<Object, String>,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Service(Service),
    Slice(Slice),
    Pod(Pod),
    Node(Node),
    Namespace(Namespace),
    ServiceEntry(Box<Entry<ServiceEntrySpec>>),
    WorkloadEntry(Box<Entry<WorkloadEntrySpec>>),
}

/// Reads an object of a kind.
pub(crate) fn read(kind: Kind, mut value: Value) -> Item {
    strip_nulls(&mut value);
    let meta = Meta::of(&value);
    Item {
        name: ObjectName::new(meta.namespace, meta.name),
        revision: Arc::from(meta.resource_version),
        object: object(kind, value),
    }
}

fn object(kind: Kind, value: Value) -> Result<Object, String> {
    Ok(match kind {
        Kind::Service => Object::Service(Service::read(parse(value)?)?),
        Kind::EndpointSlice => Object::Slice(Slice::read(parse(value)?)?),
        Kind::Pod => Object::Pod(Pod::read(parse(value)?)?),
        Kind::Namespace => Object::Namespace(Namespace::read(parse(value)?)),
        Kind::Node => Object::Node(Node::read(parse(value)?)),
        Kind::ServiceEntry => Object::ServiceEntry(Box::new(Entry::read(parse(value)?))),
        Kind::WorkloadEntry => Object::WorkloadEntry(Box::new(Entry::read(parse(value)?))),
    })
}

/// The error names the field: `spec.hosts: invalid type: …`.
fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    // Keeping track of the path costs time, so only what is wrong is read with it.
    T::deserialize(&value).map_err(|error| {
        let at = serde_path_to_error::deserialize::<_, T>(&value).err();
        at.map_or_else(|| error.to_string(), |at| at.to_string())
    })
}

/// The API server writes an absent list or map as `null` in some places.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// What identifies an object; empty where it says nothing.
struct Meta<'a> {
    namespace: &'a str,
    name: &'a str,
    resource_version: &'a str,
}

impl<'a> Meta<'a> {
    fn of(value: &'a Value) -> Self {
        let text = |name| value["metadata"][name].as_str().unwrap_or_default();
        Self {
            namespace: text("namespace"),
            name: text("name"),
            resource_version: text("resourceVersion"),
        }
    }
}

/// The part of the metadata that kinds read themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    namespace: String,
    labels: Labels,
    annotations: BTreeMap<String, String>,
    creation_timestamp: String,
    deletion_timestamp: Option<String>,
}

impl Metadata {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

/// A port number; 0 is none.
fn port_number(number: i64, what: &str) -> Result<u16, String> {
    match u16::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{what} is {number}, which is no port number")),
    }
}

#[cfg(test)]
mod tests;
