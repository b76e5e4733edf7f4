//! Configuration objects, namespaces and network gateways.

use std::sync::Arc;

use serde::Serialize;

use crate::origin::same_origins;
use crate::{Address, ClusterId, Labels, NamespaceName, NetworkId, Origins};

/// The identity of a configuration object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConfigKey {
    /// `VirtualService`; of a message that passes through the name under which it is asked
    /// for, `networking.istio.io/v1/VirtualService`.
    pub kind: Arc<str>,
    /// Its namespace; empty if it has none.
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
    /// Its annotations.
    pub annotations: Labels,
    /// Its specification.
    pub body: Body,
    /// Who says so.
    pub origins: Origins,
}

/// What a configuration object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Body {
    /// As a document says it.
    Document(Arc<serde_json::Value>),
    /// A message that nothing here reads, for those who do.
    Message(Message),
}

/// An encoded protobuf message of any type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its type, as in `google.protobuf.Any`.
    pub type_url: Arc<str>,
    /// Its encoding.
    pub value: Arc<[u8]>,
}

impl Config {
    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self { key, labels, annotations, body, origins } = self;
        *key == other.key
            && *labels == other.labels
            && *annotations == other.annotations
            && *body == other.body
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
