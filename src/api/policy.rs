//! Merge policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `/api/v1/policies`: one merge policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name; `NAMESPACE/NAME` of an object.
    pub name: String,
    /// Where it stands: `configuration`, or `FederationPolicy`.
    pub source: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// The services that it holds for, as `PATTERN` or `NAMESPACE/PATTERN`.
    pub hosts: Vec<String>,
    /// Who serves them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub sharing: Value,
    /// Fields that come from other registries than the rest.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub fields: Value,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
