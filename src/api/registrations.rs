//! What is registered in a memory registry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `/api/v1/memory/CLUSTER/registrations`: one registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Its name, unique in the registry.
    pub id: String,
    /// The name of the token that it was registered with.
    pub owner: String,
    /// When it was registered.
    pub registered: String,
    /// `live`, or `lapsed` when it was not heard of for its time to live.
    pub state: String,
    /// Its time to live without a heartbeat.
    pub ttl: String,
    /// When it lapses without another heartbeat, or once it has, when it is removed.
    pub until: String,
    /// The health that its heartbeats say, if they say any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The services that it brings, as `NAMESPACE/HOST`.
    pub services: Vec<String>,
    /// The workloads that it brings, as `NAMESPACE/NAME`.
    pub workloads: Vec<String>,
}

/// `POST /api/v1/memory/CLUSTER/deregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deregistered {
    /// The registration that is gone.
    pub id: String,
}
