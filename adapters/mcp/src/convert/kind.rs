//! The kinds of objects.

use std::borrow::Cow;
use std::sync::Arc;

use mainstem_model::{ObjectKind, ObjectRef};
use mainstem_proto::istio;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of objects that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Services with their endpoints.
    ServiceEntry,
    /// Workloads that services select.
    WorkloadEntry,
    /// Any other, passed on unread: the type URL, or the collection of the original
    /// protocol.
    Other(Arc<str>),
}

/// The word for objects that are not read; their names begin with their kind.
pub(super) const OTHER: ObjectKind = "object";

pub(super) fn object_name(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

impl Kind {
    /// Those that are read.
    pub const READ: [Self; 2] = [Self::ServiceEntry, Self::WorkloadEntry];

    /// Istio's word for what is read.
    pub(super) fn word(&self) -> ObjectKind {
        match self {
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::Other(_) => OTHER,
        }
    }

    /// The type URL by which MCP-over-xDS asks for it: group, version and kind.
    pub fn type_url(&self) -> &str {
        match self {
            Self::ServiceEntry => istio::SERVICE_ENTRIES,
            Self::WorkloadEntry => istio::WORKLOAD_ENTRIES,
            Self::Other(name) => name,
        }
    }

    /// The collection of the original protocol.
    pub fn collection(&self) -> &str {
        match self {
            Self::ServiceEntry => "istio/networking/v1alpha3/serviceentries",
            Self::WorkloadEntry => "istio/networking/v1alpha3/workloadentries",
            Self::Other(name) => name,
        }
    }

    /// The kind of a collection.
    pub fn of_collection(collection: &str) -> Self {
        let read = Self::READ.into_iter().find(|kind| kind.collection() == collection);
        read.unwrap_or_else(|| Self::Other(collection.into()))
    }

    /// The kind of a type URL.
    pub fn of(type_url: &str) -> Self {
        let read = Self::READ.into_iter().find(|kind| kind.type_url() == type_url);
        read.unwrap_or_else(|| Self::Other(type_url.into()))
    }

    /// The object of this name.
    pub fn object(&self, name: &str) -> ObjectRef {
        let name = match self {
            Self::Other(kind) => object_name(kind, name).into(),
            _ => name.into(),
        };
        ObjectRef { kind: self.word(), name }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Other(name) => name,
            read => read.word(),
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A kind that is read is read, by whichever of its names.
        let names =
            |kind: &Self| [kind.word(), kind.type_url(), kind.collection()].map(str::to_owned);
        let read = Self::READ.into_iter().find(|kind| names(kind).contains(&text));
        match read {
            Some(kind) => Ok(kind),
            None if text.split('/').count() > 2 && !text.contains(' ') => {
                Ok(Self::Other(text.into()))
            }
            None => Err(D::Error::custom(format!(
                "{text:?} is no kind: write ServiceEntry, WorkloadEntry, or for one that is passed \
                 on unread the name by which the source knows it, GROUP/VERSION/KIND"
            ))),
        }
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(ServiceEntry|WorkloadEntry|[^/ ]+/[^/ ]+/[^ ]+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ServiceEntry", Kind::ServiceEntry)]
    #[case("networking.istio.io/v1/ServiceEntry", Kind::ServiceEntry)]
    #[case("istio/networking/v1alpha3/workloadentries", Kind::WorkloadEntry)]
    #[case("networking.istio.io/v1/Gateway", Kind::Other("networking.istio.io/v1/Gateway".into()))]
    fn a_kind_is_read_by_any_of_its_names(#[case] text: &str, #[case] expected: Kind) {
        assert_eq!(serde_json::from_value::<Kind>(text.into()).unwrap(), expected);
    }

    #[rstest]
    fn what_is_no_full_name_is_refused(#[values("Gateway", "", "a/b", "a/b/c d")] text: &str) {
        let error = serde_json::from_value::<Kind>(text.into()).unwrap_err().to_string();
        assert!(error.contains("GROUP/VERSION/KIND"), "{error}");
    }
}
