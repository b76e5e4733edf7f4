//! The messages of Istio's API that the Mesh Configuration Protocol carries, by
//! their public field numbers: `istio.mcp.v1alpha1` and `istio.networking.v1alpha3`.

use std::collections::BTreeMap;

use prost::Message;

use crate::google::protobuf::{Any, Timestamp};
use crate::google::rpc::Status;

/// The type URL of a [`Resource`], whatever is in it.
pub const RESOURCE: &str = "type.googleapis.com/istio.mcp.v1alpha1.Resource";

/// The type URL of a [`ServiceEntry`] in a [`Resource`].
pub const SERVICE_ENTRY: &str = "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry";

/// The type by which ServiceEntries are asked for: group, version and kind.
pub const SERVICE_ENTRIES: &str = "networking.istio.io/v1/ServiceEntry";

/// The type by which WorkloadEntries are asked for.
pub const WORKLOAD_ENTRIES: &str = "networking.istio.io/v1/WorkloadEntry";

/// Mainstem's annotation of what it exports: a JSON list of the origins in it, each
/// as control planes and registry (`prod-eu kubernetes/prod-eu Service shop/web`).
pub const ORIGINS: &str = "mainstem.io/origins";

/// Mainstem's annotation or endpoint label: the numbers, joined by dots, that the
/// service's or endpoint's own origins have in [`ORIGINS`].
pub const ORIGIN: &str = "mainstem.io/origin";

/// Mainstem's endpoint label for the health that ServiceEntries cannot tell.
pub const HEALTH: &str = "mainstem.io/health";

/// The value of [`HEALTH`] for what takes traffic when too few others are left.
pub const DEGRADED: &str = "degraded";

/// `istio.mcp.v1alpha1.Resource`: an object with its metadata.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Name, labels, annotations.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<Metadata>,
    /// The specification.
    #[prost(message, optional, tag = "2")]
    pub body: Option<Any>,
}

/// `istio.mcp.v1alpha1.Metadata`.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// `namespace/name`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// When it was created.
    #[prost(message, optional, tag = "2")]
    pub create_time: Option<Timestamp>,
    /// The source's mark of its version.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

/// `istio.mcp.v1alpha1.SinkNode`: who receives resources.
#[derive(Clone, PartialEq, Message)]
pub struct SinkNode {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What else it says of itself.
    #[prost(btree_map = "string, string", tag = "2")]
    pub annotations: BTreeMap<String, String>,
}

/// `istio.mcp.v1alpha1.RequestResources`: asks for a collection, or answers [`Resources`].
#[derive(Clone, PartialEq, Message)]
pub struct RequestResources {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub sink_node: Option<SinkNode>,
    /// The collection: `istio/networking/v1alpha3/serviceentries`.
    #[prost(string, tag = "2")]
    pub collection: String,
    /// The versions that are held, by name, in the first request.
    #[prost(btree_map = "string, string", tag = "3")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// What is answered.
    #[prost(string, tag = "4")]
    pub response_nonce: String,
    /// Why it is refused, if it is.
    #[prost(message, optional, tag = "5")]
    pub error_detail: Option<Status>,
    /// Whether changes are understood.
    #[prost(bool, tag = "6")]
    pub incremental: bool,
}

/// `istio.mcp.v1alpha1.Resources`: a collection, or what changed in it.
#[derive(Clone, PartialEq, Message)]
pub struct Resources {
    /// The source's mark of its state.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// The collection.
    #[prost(string, tag = "2")]
    pub collection: String,
    /// All objects, or those that are new or changed.
    #[prost(message, repeated, tag = "3")]
    pub resources: Vec<Resource>,
    /// The names of those that are gone, among changes.
    #[prost(string, repeated, tag = "4")]
    pub removed_resources: Vec<String>,
    /// What an answer names.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Whether these are changes.
    #[prost(bool, tag = "6")]
    pub incremental: bool,
}

/// `istio.networking.v1alpha3.ServiceEntry`.
#[derive(Clone, PartialEq, Message)]
pub struct ServiceEntry {
    /// Host names.
    #[prost(string, repeated, tag = "1")]
    pub hosts: Vec<String>,
    /// Virtual addresses.
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    /// Service ports.
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<ServicePort>,
    /// 0 outside of the mesh, 1 inside.
    #[prost(int32, tag = "4")]
    pub location: i32,
    /// 0 none, 1 static, 2 DNS, 3 DNS round robin, 4 dynamic DNS.
    #[prost(int32, tag = "5")]
    pub resolution: i32,
    /// The endpoints.
    #[prost(message, repeated, tag = "6")]
    pub endpoints: Vec<WorkloadEntry>,
    /// Who sees it.
    #[prost(string, repeated, tag = "7")]
    pub export_to: Vec<String>,
    /// Identities of its workloads.
    #[prost(string, repeated, tag = "8")]
    pub subject_alt_names: Vec<String>,
    /// Which workloads it selects.
    #[prost(message, optional, tag = "9")]
    pub workload_selector: Option<WorkloadSelector>,
}

/// `istio.networking.v1alpha3.ServicePort`.
#[derive(Clone, PartialEq, Message)]
pub struct ServicePort {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Its protocol.
    #[prost(string, tag = "2")]
    pub protocol: String,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The port of endpoints that name none.
    #[prost(uint32, tag = "4")]
    pub target_port: u32,
}

/// `istio.networking.v1alpha3.WorkloadSelector`.
#[derive(Clone, PartialEq, Message)]
pub struct WorkloadSelector {
    /// Labels that a workload must have.
    #[prost(btree_map = "string, string", tag = "1")]
    pub labels: BTreeMap<String, String>,
}

/// `istio.networking.v1alpha3.WorkloadEntry`.
#[derive(Clone, PartialEq, Message)]
pub struct WorkloadEntry {
    /// IP address, host name or `unix://` path.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Port numbers by name.
    #[prost(btree_map = "string, uint32", tag = "2")]
    pub ports: BTreeMap<String, u32>,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    /// Its network.
    #[prost(string, tag = "4")]
    pub network: String,
    /// Its locality.
    #[prost(string, tag = "5")]
    pub locality: String,
    /// Its share of traffic.
    #[prost(uint32, tag = "6")]
    pub weight: u32,
    /// Its service account.
    #[prost(string, tag = "7")]
    pub service_account: String,
}
