//! What configures a memory registry.

use std::path::PathBuf;

use mainstem_model::{ClusterId, Locality, NamespaceName, NetworkId, RegistryId, TimeSpan};
use mainstem_registry::own::Around;
use mainstem_registry::serviceentry::Surroundings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A memory registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryConfig {
    /// The cluster that its endpoints and workloads belong to, and its own name
    /// among the memory registries.
    pub cluster: ClusterId,
    /// A file with the tokens of those who may register: a line is `TOKEN` or
    /// `NAME:TOKEN`. What one name registered, another does not touch. Default: only who
    /// has the admin token registers.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// How long a registration that does not say otherwise stays healthy without a
    /// heartbeat. Default: `30s`.
    #[serde(default = "default_ttl")]
    pub ttl: TimeSpan,
    /// How long a registration without heartbeats stays, unhealthy, before it is
    /// removed. Default: `10m`.
    #[serde(default = "default_remove_after")]
    pub remove_after: TimeSpan,
    /// A file that keeps registrations across restarts, written at most once a second.
    /// Default: none; whoever is registered registers again after a restart.
    #[serde(default)]
    pub state_file: Option<PathBuf>,
    /// The most registrations at one time. Default: 10000.
    #[serde(default = "default_max_registrations")]
    pub max_registrations: usize,
    /// The network of endpoints and workloads that name none. Default: none.
    #[serde(default)]
    pub network: NetworkId,
    /// The namespace of objects that name none and whose host name has not the
    /// shape `NAME.NAMESPACE.svc.SUFFIX`. Default: `default`.
    #[serde(default = "default_namespace")]
    pub namespace: NamespaceName,
    /// The locality, `region/zone/subzone`, of endpoints and workloads that name
    /// none. Default: none.
    #[serde(default)]
    pub locality: String,
    /// The trust domain of service accounts. Default: `cluster.local`.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
}

fn default_ttl() -> TimeSpan {
    TimeSpan::from_secs(30)
}

fn default_remove_after() -> TimeSpan {
    TimeSpan::from_secs(600)
}

fn default_max_registrations() -> usize {
    10_000
}

fn default_namespace() -> NamespaceName {
    "default".into()
}

fn default_trust_domain() -> String {
    "cluster.local".to_owned()
}

impl MemoryConfig {
    /// The registry of `cluster`, with every default.
    pub fn new(cluster: impl Into<ClusterId>) -> Self {
        Self {
            cluster: cluster.into(),
            token_file: None,
            ttl: default_ttl(),
            remove_after: default_remove_after(),
            state_file: None,
            max_registrations: default_max_registrations(),
            network: NetworkId::default(),
            namespace: default_namespace(),
            locality: String::new(),
            trust_domain: default_trust_domain(),
        }
    }

    /// What holds for every object of the registry.
    pub(crate) fn around(&self, registry: &RegistryId) -> Around {
        Around {
            entries: Surroundings {
                registry: registry.clone(),
                cluster: self.cluster.clone(),
                network: self.network.clone(),
                locality: Locality::parse(&self.locality),
                trust_domain: self.trust_domain.as_str().into(),
            },
            namespace: self.namespace.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let read: MemoryConfig = serde_json::from_str(r#"{"cluster": "vms"}"#).unwrap();
        assert_eq!(read, MemoryConfig::new("vms"));
    }
}
