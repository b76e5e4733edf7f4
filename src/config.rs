//! The configuration: one YAML or JSON file, environment variables over it,
//! checked as a whole.
//!
//! ```text
//! file ─▶ tree (every node knows its line) ◀─ environment
//!           │ decode, section by section
//!           ▼
//!        Config, or every Problem found, each at its place
//! ```
//!
//! Invariants:
//! - Reading a configuration has no effect; who has one may use all of it.
//! - What is misspelt, twice there or out of range is an error, never a default.

mod addresses;
mod control;
mod decode;
mod environment;
mod export;
mod policies;
mod provider;
mod read;
mod registry;
mod report;
mod schema;
mod shards;
#[cfg(test)]
mod tests;
mod tree;
mod watch;
mod xds;

use std::path::PathBuf;

use mainstem_aggregate::{AggregateConfig, Debounce, MergePolicy, StateSettings};
use mainstem_kubernetes::KubernetesConfig;
use mainstem_model::{ClusterId, MeshSettings, RegistryId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use addresses::ListenAddress;
pub use control::{ConsulControl, ControlConfig, KubernetesControl, StoreKind};
pub use provider::{AdapterConfig, PROVIDERS, Provider};
pub use read::{Input, Loaded, looks_like_config};
pub use registry::{Common, RegistryConfig, check_host_rule};
pub use report::{ConfigError, Document, Problem};
pub use schema::{schema, variables};
pub use tree::Place;
pub use watch::ConfigWatch;
pub use xds::{
    AuthenticationConfig, CertificateConfig, DomainCa, KeepaliveConfig, KubernetesTokenConfig,
    LimitsConfig, LoadReportsConfig, OidcConfig, SocketMode, TlsConfig, UnixSocketConfig,
    XdsConfig,
};

/// Everything that `mainstem serve` is told.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The ClusterID of this control plane's own cluster: its Kubernetes registry
    /// comes before all others, and a proxy that names no cluster belongs to it.
    pub cluster: ClusterId,
    /// Where proxies are served, and who is let in.
    pub xds: XdsConfig,
    /// Where operators are served.
    pub admin: AdminConfig,
    /// When changes are published.
    pub publish: PublishConfig,
    /// What is kept on disk.
    pub state: StateConfig,
    /// Where decisions are kept that replicas share.
    pub control: ControlConfig,
    /// Settings of the whole mesh.
    #[schemars(skip)]
    pub mesh: MeshSettings,
    /// The registries, in the order written.
    #[schemars(skip)]
    pub registries: Vec<RegistryConfig>,
    /// Who serves a host name that several registries share. Default: all of them alike.
    pub policies: Vec<MergePolicy>,
    /// Where policies are followed as objects.
    pub policy_objects: PolicyObjectsConfig,
    /// Where conflicts are reported as Events.
    pub conflict_events: ConflictEventsConfig,
    /// The files beside the configuration file that it was read from.
    #[serde(skip)]
    #[schemars(skip)]
    pub files: Vec<PathBuf>,
}

/// Where operators are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address and port of the admin API, readiness and metrics. Default: `127.0.0.1:15014`.
    pub address: ListenAddress,
    /// A file with the tokens of those who may change something: each line is a token,
    /// or `NAME:TOKEN`. Read anew for each change. Default: nobody may.
    pub token_file: Option<PathBuf>,
    /// The file to which each attempt to change something is appended, as a line of JSON.
    /// Default: only the program's own log.
    pub audit_file: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        let address = ListenAddress::loopback(15014);
        Self { address, token_file: None, audit_file: None }
    }
}

/// When changes are published. Endpoints go out at once; services and
/// configuration wait for a moment of quiet, so that objects applied together
/// arrive together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PublishConfig {
    /// The quiet that services and configuration wait for. Default: `10ms`.
    pub quiet: TimeSpan,
    /// How long they wait at most. Default: `100ms`.
    pub longest: TimeSpan,
    /// The least time between two publications. Default: `1ms`.
    pub spacing: TimeSpan,
}

impl Default for PublishConfig {
    fn default() -> Self {
        let Debounce { quiet, longest, spacing } = Debounce::default();
        Self { quiet: quiet.into(), longest: longest.into(), spacing: spacing.into() }
    }
}

/// Where policies are followed as FederationPolicy objects, beside those of `policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyObjectsConfig {
    /// The Kubernetes registry whose API server has them. Default: none are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryId>,
}

/// Where conflicts are reported as Kubernetes Events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConflictEventsConfig {
    /// The Kubernetes registry to whose API server they are written. Default: none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryId>,
}

/// What is kept on disk: what each registry last said, for a start while it is
/// down. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateConfig {
    /// The directory, which is made if need be. Default: nothing is kept.
    pub directory: Option<PathBuf>,
    /// The least time between two writes of one registry's state. Default: `10s`.
    pub interval: TimeSpan,
}

impl Default for StateConfig {
    fn default() -> Self {
        let StateSettings { directory, interval } = StateSettings::default();
        Self { directory, interval: interval.into() }
    }
}

impl Config {
    /// What the aggregate is told.
    pub fn aggregate(&self) -> AggregateConfig {
        AggregateConfig {
            cluster: self.cluster.clone(),
            registries: self.registries.iter().map(RegistryConfig::settings).collect(),
            mesh: self.mesh.clone(),
            policies: self.policies.clone(),
            debounce: Debounce {
                quiet: self.publish.quiet.duration(),
                longest: self.publish.longest.duration(),
                spacing: self.publish.spacing.duration(),
            },
            state: StateSettings {
                directory: self.state.directory.clone(),
                interval: self.state.interval.duration(),
            },
        }
    }

    /// How the API server of a Kubernetes registry is reached.
    pub fn api_server(&self, id: &RegistryId) -> Option<KubernetesConfig> {
        match &self.registry(id)?.adapter {
            AdapterConfig::Kubernetes(server) => Some(server.clone()),
            _ => None,
        }
    }

    /// The registry of this name.
    pub fn registry(&self, id: &RegistryId) -> Option<&RegistryConfig> {
        self.registries.iter().find(|registry| registry.id == *id)
    }
}

/// How YAML is read: `y` and `no` are text, and errors come without a snippet,
/// since they are shown with one of our own.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true, with_snippet: false }
}
