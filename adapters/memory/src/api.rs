//! What registers, and what it is answered.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mainstem_model::TimeSpan;
use mainstem_registry::own::{Defaults, EndpointHealth, OwnDocument, ServiceSpec, WorkloadSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The most characters of a name.
const LONGEST: usize = 253;

/// The name of a registration, unique in its registry: letters, digits and `-_.:/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct RegistrationName(Arc<str>);

impl FromStr for RegistrationName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(good) {
            return Err(format!(
                "{text:?} cannot name a registration: use up to {LONGEST} letters, digits and -_.:/"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl<'de> Deserialize<'de> for RegistrationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RegistrationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Registers services with their endpoints, and workloads, under one name, or replaces
/// what is registered under it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    /// The name, unique in the registry.
    pub id: RegistrationName,
    /// How long it stays healthy without a heartbeat, 100ms to 24h. Default: the
    /// registry's `ttl`.
    #[serde(default)]
    pub ttl: Option<TimeSpan>,
    /// What holds for the objects that do not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// Services with their endpoints.
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    /// Workloads, which services pick by their labels.
    #[serde(default)]
    pub workloads: Vec<WorkloadSpec>,
}

impl Registration {
    pub(crate) fn document(self) -> OwnDocument {
        let Self { defaults, services, workloads, .. } = self;
        OwnDocument { defaults, services, workloads }
    }
}

/// Says that a registration is still there.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// The registration.
    pub id: RegistrationName,
    /// The health of all that it brings, until said otherwise. Default: as it was
    /// said last, at first as it was registered.
    #[serde(default)]
    pub health: Option<EndpointHealth>,
}

/// Removes a registration.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deregistration {
    /// The registration.
    pub id: RegistrationName,
}

/// What a registration or heartbeat came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The registration.
    pub id: RegistrationName,
    /// How long it stays healthy from now without another heartbeat.
    pub ttl: TimeSpan,
}
