//! Consul's answers, as far as they matter here. Go writes empty lists and maps
//! as `null`; what is missing is empty.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

/// `/v1/catalog/services`: each service's name, tags aside.
pub type ServiceList = BTreeMap<String, serde::de::IgnoredAny>;

/// One element of `/v1/health/service/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instance {
    /// The node that it runs on.
    pub node: Node,
    /// The registration.
    pub service: Service,
    /// The node's checks and its own.
    #[serde(default, deserialize_with = "nullable")]
    pub checks: Vec<Check>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Its datacenter.
    #[serde(deserialize_with = "nullable")]
    pub datacenter: String,
    /// Further addresses by name.
    #[serde(deserialize_with = "nullable")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Its metadata.
    #[serde(deserialize_with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// Where it stands.
    pub locality: Option<Locality>,
    /// When it last changed.
    pub modify_index: u64,
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// What runs there: empty or `typical`, else a proxy or gateway.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name.
    pub service: String,
    /// Its tags.
    #[serde(deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// Its own address; empty means the node's.
    #[serde(deserialize_with = "nullable")]
    pub address: String,
    /// Further addresses by name.
    #[serde(deserialize_with = "nullable")]
    pub tagged_addresses: BTreeMap<String, TaggedAddress>,
    /// A Unix socket in place of address and port.
    #[serde(deserialize_with = "nullable")]
    pub socket_path: String,
    /// Its metadata.
    #[serde(deserialize_with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// Its port; 0 is none.
    #[serde(deserialize_with = "nullable")]
    pub port: i64,
    /// Its shares of traffic.
    pub weights: Option<Weights>,
    /// Where it runs, if not where its node does.
    pub locality: Option<Locality>,
    /// When it last changed.
    pub modify_index: u64,
}

/// An address of a certain kind.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaggedAddress {
    /// The address.
    pub address: String,
    /// Its port; 0 means the service's.
    pub port: i64,
}

/// Shares of traffic by health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Weights {
    /// While all checks pass.
    pub passing: i64,
    /// While one warns.
    pub warning: i64,
}

/// Region and zone.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone.
    pub zone: String,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// The node that it belongs to.
    pub node: String,
    /// Unique on its node.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// `passing`, `warning` or `critical`.
    pub status: String,
    /// The service that it checks; empty means the node.
    #[serde(deserialize_with = "nullable")]
    pub service_name: String,
    /// When it last changed.
    pub modify_index: u64,
}

/// What is read of `/v1/peering/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Peering {
    /// [`Peering::ACTIVE`] while the peer is connected.
    pub state: String,
    /// Who the peer is.
    #[serde(deserialize_with = "nullable")]
    pub remote: PeeringRemote,
    /// What came over the connection to it.
    #[serde(deserialize_with = "nullable")]
    pub stream_status: StreamStatus,
}

impl Peering {
    /// The state of a peering whose peer is connected.
    pub const ACTIVE: &str = "ACTIVE";
}

/// Who a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PeeringRemote {
    /// Its datacenter.
    pub datacenter: String,
}

/// What came from a peer.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StreamStatus {
    /// The services that it exports, be there instances of them or not.
    #[serde(deserialize_with = "nullable")]
    pub imported_services: BTreeSet<String>,
}

/// What is read of `/v1/catalog/service/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogService {
    /// The datacenter that answered.
    pub datacenter: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
