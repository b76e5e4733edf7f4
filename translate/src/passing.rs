//! Configuration objects that nothing here reads, for control planes that import them:
//! as they came, with where they come from in annotations that another Mainstem reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainstem_model::{Body, ClusterId, Config, ConfigKey, Labels, Message as Passed};
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::istio::{Metadata, ORIGIN, ORIGINS, Resource};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::entry::Catalog;

/// The name of an object among those of all types: `TYPE NAMESPACE/NAME`.
pub fn name(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

/// Type and name of what [`name`] names.
pub fn parts(name: &str) -> (&str, &str) {
    name.split_once(' ').unwrap_or(("", name))
}

/// `NAMESPACE/NAME`, or `NAME` of what has no namespace.
pub(crate) fn full_name(key: &ConfigKey) -> String {
    match key.namespace.as_str() {
        "" => key.name.to_string(),
        namespace => format!("{namespace}/{}", key.name),
    }
}

/// What of an object passes through: a message, since of a document it is not known which
/// message it is.
pub(crate) fn passed(config: &Config) -> Option<&Passed> {
    match &config.body {
        Body::Message(message) => Some(message),
        Body::Document(_) => None,
    }
}

/// The encoded `istio.mcp.v1alpha1.Resource` of an object with this body. `home` is the
/// cluster of the control plane that exports it.
pub(crate) fn resource(config: &Config, passed: &Passed, home: &ClusterId) -> Bytes {
    let mut origins = Catalog::new(home);
    let own = origins.numbers(&config.origins);
    let mut annotations = map(&config.annotations);
    annotations.extend([(ORIGINS.to_owned(), origins.list()), (ORIGIN.to_owned(), own)]);
    let mut metadata = Metadata {
        name: full_name(&config.key),
        labels: map(&config.labels),
        annotations,
        ..Metadata::default()
    };
    let content = [&metadata.encode_to_vec(), &*passed.value].concat();
    metadata.version = format!("{:016x}", xxh3_64(&content));
    let body =
        Any { type_url: passed.type_url.to_string(), value: Bytes::copy_from_slice(&passed.value) };
    Resource { metadata: Some(metadata), body: Some(body) }.encode_to_vec().into()
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
