//! The specifications as Istio's API writes them (`networking.istio.io` v1,
//! v1beta1 and v1alpha3, which agree).

use std::collections::BTreeMap;

use mainstem_model::Labels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `ServiceEntry.spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct ServiceEntrySpec {
    /// The host names; each becomes a service. `*.example.com` needs resolution NONE.
    #[schemars(required)]
    pub hosts: Vec<String>,
    /// Virtual addresses, or prefixes in CIDR form (resolution NONE or STATIC).
    pub addresses: Vec<String>,
    /// The service ports.
    pub ports: Vec<ServiceEntryPort>,
    /// Inside or outside of the mesh.
    pub location: Location,
    /// How endpoints are found.
    pub resolution: ServiceEntryResolution,
    /// The endpoints; excludes `workloadSelector`.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Picks workload entries and pods of the same namespace; excludes `endpoints`.
    pub workload_selector: Option<WorkloadSelector>,
    /// The namespaces that see it: names, `.` (its own), `*` (all), `~` (none).
    pub export_to: Vec<String>,
    /// Identities that its workloads may have.
    pub subject_alt_names: Vec<String>,
}

/// One port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct ServiceEntryPort {
    /// The number that clients use, 1 to 65535.
    #[schemars(required)]
    pub number: u32,
    /// HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP, TLS or UDP;
    /// without it the name's prefix counts.
    pub protocol: String,
    /// The name, unique within the entry.
    #[schemars(required)]
    pub name: String,
    /// The port of endpoints that name none; `number` without it.
    pub target_port: u32,
}

/// `ServiceEntry.spec.location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum Location {
    /// Outside: no mesh TLS.
    #[default]
    #[serde(rename = "MESH_EXTERNAL")]
    External,
    /// Part of the mesh.
    #[serde(rename = "MESH_INTERNAL")]
    Internal,
}

/// `ServiceEntry.spec.resolution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceEntryResolution {
    /// The connection goes where the client wanted to go.
    #[default]
    None,
    /// To the addresses of the endpoints.
    Static,
    /// To all addresses that the endpoints' names, or else the hosts, resolve to.
    Dns,
    /// To one of those addresses at a time.
    DnsRoundRobin,
    /// Resolved by the proxy per request; not supported.
    DynamicDns,
}

impl ServiceEntryResolution {
    /// Istio's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Static => "STATIC",
            Self::Dns => "DNS",
            Self::DnsRoundRobin => "DNS_ROUND_ROBIN",
            Self::DynamicDns => "DYNAMIC_DNS",
        }
    }
}

/// `ServiceEntry.spec.workloadSelector`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct WorkloadSelector {
    /// Labels that a workload must have, all of them.
    #[schemars(required)]
    pub labels: Labels,
}

/// `WorkloadEntry.spec`, and one of `ServiceEntry.spec.endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct WorkloadEntrySpec {
    /// An IP address, a host name (resolution DNS) or `unix:///path`.
    pub address: String,
    /// Port numbers by the service port's name.
    pub ports: BTreeMap<String, u32>,
    /// Its labels.
    pub labels: Labels,
    /// The network that the address belongs to.
    pub network: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Share of traffic; 1 without it.
    pub weight: u32,
    /// The service account of the workload, in the entry's namespace.
    pub service_account: String,
}
