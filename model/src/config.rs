//! Configuration objects, namespaces and network gateways.

use std::sync::Arc;

use serde::Serialize;

use crate::origin::same_origins;
use crate::{Address, ClusterId, Labels, NamespaceName, NetworkId, Origins};

/// The identity of a configuration object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConfigKey {
    /// `VirtualService`, `DestinationRule`, …
    pub kind: Arc<str>,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: Arc<str>,
}

/// A traffic or security object as its registry holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Kind, namespace and name.
    pub key: ConfigKey,
    /// Its labels.
    pub labels: Labels,
    /// Its specification.
    pub spec: Arc<serde_json::Value>,
    /// Who says so.
    pub origins: Origins,
}

impl Config {
    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self { key, labels, spec, origins } = self;
        *key == other.key
            && *labels == other.labels
            && *spec == other.spec
            && same_origins(origins, &other.origins)
    }
}

/// A namespace.
#[derive(Clone, Debug, Serialize)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    /// Its labels.
    pub labels: Labels,
    /// Who says so.
    pub origins: Origins,
}

impl Namespace {
    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self { name, labels, origins } = self;
        *name == other.name && *labels == other.labels && same_origins(origins, &other.origins)
    }
}

/// The identity of a network gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NetworkGatewayKey {
    /// The network that it leads into.
    pub network: NetworkId,
    /// The cluster that it stands in.
    pub cluster: ClusterId,
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: u16,
}

/// A way into another network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkGateway {
    /// Network, cluster, address and port.
    pub key: NetworkGatewayKey,
    /// Who says so.
    pub origins: Origins,
}

impl NetworkGateway {
    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        self.key == other.key && same_origins(&self.origins, &other.origins)
    }
}
