//! Kubernetes objects that files may hold.

use mainstem_model::Labels;
use mainstem_registry::serviceentry::{ServiceEntrySpec, WorkloadEntrySpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The kinds of traffic and security objects that are passed on as they stand.
pub(crate) const CONFIG_KINDS: [&str; 13] = [
    "AuthorizationPolicy",
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "PeerAuthentication",
    "ProxyConfig",
    "RequestAuthentication",
    "Sidecar",
    "Telemetry",
    "TrafficExtension",
    "VirtualService",
    "WasmPlugin",
    "WorkloadGroup",
];

/// `metadata`; what nothing here reads is accepted and left aside.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// The name, unique for the kind in its namespace.
    #[schemars(required)]
    pub name: String,
    /// The namespace; by default the registry's.
    pub namespace: String,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    creation_timestamp: Unread,
    deletion_grace_period_seconds: Unread,
    deletion_timestamp: Unread,
    finalizers: Unread,
    generate_name: Unread,
    generation: Unread,
    managed_fields: Unread,
    owner_references: Unread,
    resource_version: Unread,
    self_link: Unread,
    uid: Unread,
}

/// A field that others write and nothing here reads.
#[derive(Clone, Debug, Default)]
struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Self)
    }
}

impl JsonSchema for Unread {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Unread".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// A Kubernetes object.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands for the schema")]
pub(super) enum AnyObject {
    /// A service by Istio's ServiceEntry.
    ServiceEntry(Object<NetworkingVersion, ServiceEntryKind, ServiceEntrySpec>),
    /// A workload by Istio's WorkloadEntry.
    WorkloadEntry(Object<NetworkingVersion, WorkloadEntryKind, WorkloadEntrySpec>),
    /// A traffic or security object of Istio.
    Config(Object<IstioVersion, ConfigKind, serde_json::Map<String, serde_json::Value>>),
    /// A namespace.
    Namespace(Object<CoreVersion, NamespaceKind, serde_json::Map<String, serde_json::Value>>),
    /// Several objects, as `kubectl get -o yaml` writes them.
    List(ObjectList),
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "stands for the schema")]
pub(super) struct Object<V, K, S> {
    /// The API's group and version.
    api_version: V,
    /// The kind.
    kind: K,
    /// The name, and what describes the object.
    metadata: Metadata,
    /// What is wanted.
    #[serde(default)]
    spec: Option<S>,
    #[serde(default)]
    status: Unread,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "stands for the schema")]
pub(super) struct ObjectList {
    /// `v1`.
    api_version: CoreVersion,
    /// `List`.
    kind: ListKind,
    #[serde(default)]
    metadata: Unread,
    /// The objects.
    items: Vec<AnyObject>,
}

macro_rules! words {
    ($($name:ident: $schema:tt;)*) => {$(
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

words! {
    NetworkingVersion: {"enum": [
        "networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"
    ]};
    IstioVersion: {"type": "string", "pattern": "^[a-z]+\\.istio\\.io/v[0-9a-z]+$"};
    CoreVersion: {"const": "v1"};
    ServiceEntryKind: {"const": "ServiceEntry"};
    WorkloadEntryKind: {"const": "WorkloadEntry"};
    NamespaceKind: {"const": "Namespace"};
    ListKind: {"const": "List"};
    ConfigKind: {"enum": CONFIG_KINDS};
}
