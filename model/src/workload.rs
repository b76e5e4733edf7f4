//! Workloads: what runs behind a proxy, ready or not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::origin::same_origins;
use crate::{
    Address, ClusterId, Health, Labels, Locality, NamespaceName, NetworkId, NodeName, Origins,
    Place, PortName, ServiceAccount, SharedPlace, TlsMode,
};

/// The identity of a workload: cluster, namespace and name. One pointer wide.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey(Arc<(ClusterId, NamespaceName, Box<str>)>);

impl WorkloadKey {
    /// The key of workload `name` in `namespace` of `cluster`.
    pub fn new(cluster: ClusterId, namespace: NamespaceName, name: &str) -> Self {
        Self(Arc::new((cluster, namespace, name.into())))
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.0.0
    }

    /// The namespace.
    pub fn namespace(&self) -> &NamespaceName {
        &self.0.1
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.2
    }
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster(), self.namespace(), self.name())
    }
}

impl fmt::Debug for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for WorkloadKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A pod, a VM's process or a workload entry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Cluster, namespace and name.
    pub key: WorkloadKey,
    /// Its labels, by which services select it.
    pub labels: Labels,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<Address>,
    /// The network that they belong to.
    pub network: NetworkId,
    /// Where it runs.
    pub locality: Locality,
    /// The host it runs on.
    pub node: Option<NodeName>,
    /// The identity that its proxy presents.
    pub identity: Option<ServiceAccount>,
    /// Its named container ports.
    pub ports: BTreeMap<PortName, u16>,
    /// Whether it is ready for traffic.
    pub health: Health,
    /// Whether its proxy accepts mesh TLS.
    pub tls_mode: TlsMode,
    /// Share of traffic where it is an endpoint, at least 1.
    pub weight: u32,
    /// Who says so.
    pub origins: Origins,
}

impl Workload {
    /// Where it runs.
    pub fn place(&self) -> SharedPlace {
        Place {
            cluster: self.key.cluster().clone(),
            network: self.network.clone(),
            locality: self.locality.clone(),
            node: self.node.clone(),
        }
        .into()
    }

    /// A healthy workload with nothing else known.
    pub fn new(key: WorkloadKey, origins: Origins) -> Self {
        Self {
            key,
            labels: Labels::default(),
            addresses: Vec::new(),
            network: NetworkId::default(),
            locality: Locality::default(),
            node: None,
            identity: None,
            ports: BTreeMap::new(),
            health: Health::default(),
            tls_mode: TlsMode::default(),
            weight: 1,
            origins,
        }
    }

    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self {
            key,
            labels,
            addresses,
            network,
            locality,
            node,
            identity,
            ports,
            health,
            tls_mode,
            weight,
            origins,
        } = self;
        *key == other.key
            && *labels == other.labels
            && *addresses == other.addresses
            && *network == other.network
            && *locality == other.locality
            && *node == other.node
            && *identity == other.identity
            && *ports == other.ports
            && *health == other.health
            && *tls_mode == other.tls_mode
            && *weight == other.weight
            && same_origins(origins, &other.origins)
    }
}
