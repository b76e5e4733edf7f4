//! Nodes.

use mainstem_model::{Address, Labels, Locality};
use serde::Deserialize;

use super::Metadata;

/// Region and zone by their present labels, else by those of before 1.17.
const REGION: [&str; 2] =
    ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"];
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
const SUBZONE: &str = "topology.istio.io/subzone";

/// What a Node says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    /// Its addresses for the outside.
    pub(crate) external: Vec<Address>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    addresses: Vec<RawAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawAddress {
    r#type: String,
    address: String,
}

impl Node {
    pub(super) fn read(raw: Raw) -> Self {
        let labels = raw.metadata.labels;
        let first = |names: [&str; 2]| names.iter().find_map(|name| labels.get(name));
        let locality = Locality::new(
            first(REGION).unwrap_or_default(),
            first(ZONE).unwrap_or_default(),
            labels.get(SUBZONE).unwrap_or_default(),
        );
        let external = raw.status.addresses.iter().filter(|address| address.r#type == "ExternalIP");
        let external = external.filter(|address| !address.address.is_empty());
        Self {
            external: external.map(|address| Address::parse(&address.address)).collect(),
            locality,
            labels,
        }
    }
}
