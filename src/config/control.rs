//! Where replicas keep the decisions that they share.

use std::path::PathBuf;

use mainstem_consul::{ConsulConfig, Secret, TlsConfig};
use mainstem_kubernetes::KubernetesConfig;
use mainstem_kubernetes::entries::EntriesConfig;
use mainstem_model::ClusterId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where control state is kept: holds of the withdrawal guard, freezes, drains. Takes
/// effect after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlConfig {
    /// The kind of store. Default: `file`.
    pub store: StoreKind,
    /// The ConfigMaps of the store `kubernetes`.
    pub kubernetes: KubernetesControl,
    /// The keys of the store `consul`.
    pub consul: ConsulControl,
}

/// The kinds of stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StoreKind {
    /// A file in `state.directory`: for one replica, or several on one machine. Without
    /// that directory control state ends with the process.
    #[default]
    File,
    /// ConfigMaps.
    Kubernetes,
    /// Consul's key-value store.
    Consul,
}

/// Which ConfigMaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesControl {
    /// A kubeconfig file. Default: as for a Kubernetes registry.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context. Default: its current context.
    pub context: Option<String>,
    /// Their namespace. Default: that of the service account or the context.
    pub namespace: Option<String>,
    /// What their names begin with; replicas of one mesh have the same. Default: `mainstem`.
    pub name: String,
}

impl Default for KubernetesControl {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, namespace: None, name: "mainstem".to_owned() }
    }
}

impl KubernetesControl {
    /// The same as the adapter's crate wants it.
    pub fn entries(&self, cluster: &ClusterId) -> EntriesConfig {
        let Self { kubeconfig, context, namespace, name } = self.clone();
        let server =
            KubernetesConfig { kubeconfig, context, ..KubernetesConfig::new(cluster.clone()) };
        EntriesConfig { server, namespace, name }
    }
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConsulControl {
    /// The agent's HTTP API. Default: `http://127.0.0.1:8500`.
    pub address: String,
    /// The datacenter. Default: the agent's own.
    pub datacenter: Option<String>,
    /// What the keys begin with; replicas of one mesh have the same. Default:
    /// `mainstem/control`.
    pub prefix: String,
    /// The ACL token. Prefer `tokenFile`.
    pub token: Option<Secret>,
    /// A file with the ACL token, read again for each request.
    pub token_file: Option<PathBuf>,
    /// Certificates for `https`.
    pub tls: TlsConfig,
}

impl Default for ConsulControl {
    fn default() -> Self {
        Self {
            address: ConsulConfig::new("control").address,
            datacenter: None,
            prefix: "mainstem/control".to_owned(),
            token: None,
            token_file: None,
            tls: TlsConfig::default(),
        }
    }
}

impl ConsulControl {
    /// How the agent is reached.
    pub fn server(&self) -> ConsulConfig {
        let Self { address, datacenter, prefix: _, token, token_file, tls } = self.clone();
        ConsulConfig { address, datacenter, token, token_file, tls, ..ConsulConfig::new("control") }
    }
}

impl ControlConfig {
    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let name = &self.kubernetes.name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = |c: char| c.is_ascii_alphanumeric();
        let label = !name.is_empty()
            && name.len() <= 63
            && name.chars().all(plain)
            && name.starts_with(edges)
            && name.ends_with(edges);
        if !label {
            return Some(
                "`control.kubernetes.name` is not a name: use lower case letters, digits and `-`",
            );
        }
        let parts = self.consul.prefix.trim_matches('/');
        if parts.is_empty() || parts.split('/').any(str::is_empty) {
            return Some(
                "`control.consul.prefix` is not a prefix of keys: write it like `mainstem/control`",
            );
        }
        None
    }
}
