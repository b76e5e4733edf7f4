//! What `explain` and `why-not` say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Origin};

/// `/api/v1/explain` and `/api/v1/why-not`: how a service, or one endpoint of it, came
/// to clients, or why it did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The host name asked about.
    pub hostname: String,
    /// The namespace of the service that is meant; absent where nobody knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The endpoint asked about; absent where all of the service are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The proxy asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// What the steps come to.
    pub outcome: Outcome,
    /// The steps in their order, up to the one that removed it.
    pub steps: Vec<Step>,
    /// Who defines the service, and at which revision.
    pub origins: Vec<Origin>,
    /// The endpoints meant, as the snapshot has them, at most 100.
    pub endpoints: Vec<Endpoint>,
    /// The names of the resources that carry it: by name, or of the proxy asked about,
    /// those that it has.
    pub resources: Vec<ResourceName>,
    /// The connected proxies that are given it.
    pub carriers: Carriers,
}

/// What the steps come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// `passed`: it is there; `idle`: it is there, and takes no traffic; `removed`: it is not.
    pub verdict: Verdict,
    /// The step that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why, in words.
    pub because: String,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It let it through.
    Passed,
    /// It let it through to where it takes no traffic for now.
    Idle,
    /// It removed it; there is no further step.
    Removed,
}

/// One step on the way from the registries to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it did.
    pub verdict: Verdict,
    /// Why, in words.
    pub because: String,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceName {
    /// `CDS`, `EDS`, `LDS` or `RDS`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Connected proxies that are given something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carriers {
    /// How many are given it.
    pub total: usize,
    /// How many of them accepted it.
    pub acked: usize,
    /// The first of them by connection, at most 20.
    pub first: Vec<Carrier>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carrier {
    /// Its node id.
    pub proxy: String,
    /// `synced` where it accepted this, else `stale`, `rejected` or `empty`.
    pub state: String,
}
