//! What operators ask to be decided, and what is in force.

use mainstem_model::TimeSpan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /api/v1/release`: what the withdrawal guard holds goes at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// A registry (`consul/dc1`), or the host name of a service.
    pub target: String,
    /// Only the service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only what this registry brings of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// How long nothing of it is held again. Default: `1m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<TimeSpan>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `POST /api/v1/freeze`: a registry or a service keeps its members, or proxies keep
/// what they have. Of `target` and `proxies` one is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// A registry (`consul/dc1`), or the host name of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only the service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only what this registry brings of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// A group of proxies: `namespace=shop,type=sidecar`, or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<String>,
    /// How long. Default: `1h`. Not for `unfreeze`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<TimeSpan>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `POST /api/v1/drain`: a registry's endpoints lose weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// The registry.
    pub registry: String,
    /// How much of its weight goes, in percent, 1 to 100. Default: 100.
    #[serde(default = "all")]
    pub percent: u8,
    /// Over how long, evenly. Default: at once.
    #[serde(default)]
    pub over: TimeSpan,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

fn all() -> u8 {
    100
}

/// `POST /api/v1/undrain`: a drained registry gets its weight back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undrain {
    /// The registry.
    pub registry: String,
    /// Over how long, evenly. Default: at once.
    #[serde(default)]
    pub over: TimeSpan,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// What is in force by it.
    pub begun: Vec<Decision>,
    /// What has ended by it.
    pub ended: Vec<Decision>,
    /// How the store is, from which other replicas learn of it.
    pub store: ControlStore,
}

/// `/api/v1/control`: what the guard and operators decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Where it is kept.
    pub store: ControlStore,
    /// What is in force, by kind and target.
    pub decisions: Vec<Decision>,
}

/// Where control state is kept, and whether that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlStore {
    /// The place; absent where control state ends with the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_since: Option<String>,
    /// How many changes are in force here that it does not have yet.
    pub waiting: usize,
    /// How many entries are too large for it; other replicas do not know them.
    pub local: usize,
    /// Entries in it that have no effect, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
}

/// One decision in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// `hold`, `release`, `freeze`, `track` (frozen proxies) or `drain`.
    pub kind: String,
    /// The registry that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The service's host name, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The service's namespace, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The proxies, where it is about some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<String>,
    /// Since when.
    pub since: String,
    /// Until when, at the latest; of a drain, when it is where it goes.
    pub until: String,
    /// Why, in the operator's words; of a hold, whether the `service` or the `registry`
    /// lost too much.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many endpoints a hold keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<usize>,
    /// In how many services a freeze holds up a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<usize>,
    /// How much of its weight a drained registry has now, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// How much it will have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_share: Option<u8>,
}
