//! The kinds of registries, each with its adapter's own settings.

use mainstem_consul::{ConsulAdapter, ConsulConfig};
use mainstem_file::{FileAdapter, FileConfig};
use mainstem_kubernetes::{KubernetesAdapter, KubernetesConfig};
use mainstem_mcp::{McpAdapter, McpConfig};
use mainstem_memory::{MemoryAdapter, MemoryConfig, Stores};
use mainstem_registry::Adapter;
use schemars::{Schema, schema_for};
use serde::Serialize;

use super::decode::{Fault, decode};
use super::tree::Node;

/// A kind of registry.
#[derive(Debug)]
pub struct Provider {
    /// What `type` says, and the first part of the registry's name.
    pub name: &'static str,
    /// Settings that are paths of files; a dot leads into a mapping.
    pub paths: &'static [&'static str],
    /// The schema of its settings.
    pub schema: fn() -> Schema,
    pub(super) decode: fn(&Node) -> Result<AdapterConfig, Fault>,
}

impl Provider {
    /// Whether its adapter has a setting of this name.
    pub(super) fn knows(&self, setting: &str) -> bool {
        (self.schema)().to_value()["properties"].get(setting).is_some()
    }
}

/// All kinds, in alphabetical order.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        name: mainstem_consul::PROVIDER,
        paths: &["tokenFile", "tls.ca", "tls.cert", "tls.key"],
        schema: || schema_for!(ConsulConfig),
        decode: |node| decode(node).map(|config| AdapterConfig::Consul(Box::new(config))),
    },
    Provider {
        name: mainstem_file::PROVIDER,
        paths: &["path"],
        schema: || schema_for!(FileConfig),
        decode: |node| decode(node).map(AdapterConfig::File),
    },
    Provider {
        name: mainstem_kubernetes::PROVIDER,
        paths: &["kubeconfig"],
        schema: || schema_for!(KubernetesConfig),
        decode: |node| decode(node).map(AdapterConfig::Kubernetes),
    },
    Provider {
        name: mainstem_mcp::PROVIDER,
        paths: &["tokenFile", "tls.ca", "tls.cert", "tls.key"],
        schema: || schema_for!(McpConfig),
        decode: |node| {
            let config: McpConfig = decode(node)?;
            config.check().map_err(|error| Fault::of(node, "address", error))?;
            Ok(AdapterConfig::Mcp(config))
        },
    },
    Provider {
        name: mainstem_memory::PROVIDER,
        paths: &["tokenFile", "stateFile"],
        schema: || schema_for!(MemoryConfig),
        decode: |node| decode(node).map(AdapterConfig::Memory),
    },
];

/// An adapter's own settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AdapterConfig {
    /// Of a Consul datacenter.
    Consul(Box<ConsulConfig>),
    /// Of files.
    File(FileConfig),
    /// Of a Kubernetes cluster.
    Kubernetes(KubernetesConfig),
    /// Of a source of the Mesh Configuration Protocol.
    Mcp(McpConfig),
    /// Of what registers itself.
    Memory(MemoryConfig),
}

impl AdapterConfig {
    /// An adapter that follows the registry; `stores` has what registers itself.
    pub fn adapter(&self, stores: &Stores) -> Box<dyn Adapter> {
        match self.clone() {
            Self::Consul(config) => Box::new(ConsulAdapter::new(*config)),
            Self::File(config) => Box::new(FileAdapter::new(config)),
            Self::Kubernetes(config) => Box::new(KubernetesAdapter::new(config)),
            Self::Mcp(config) => Box::new(McpAdapter::new(config)),
            Self::Memory(config) => Box::new(MemoryAdapter::new(config, stores.clone())),
        }
    }
}
