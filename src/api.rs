//! What the admin API says: plain values, written by the server, read by the verbs.
//!
//! Times are RFC 3339 in UTC. Lists are in order of names. Fields without a value
//! are left out.

mod control;
mod explain;
mod policy;
mod registrations;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::policy::Policy;
pub use control::{Control, ControlStore, Decided, Decision, Drain, Freeze, Release, Undrain};
pub use explain::{Carrier, Carriers, Explanation, Outcome, ResourceName, Step, Verdict};
pub use registrations::{Deregistered, Registration};

/// `/api/v1/status`: how the control plane is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The ClusterID of its own cluster.
    pub cluster: String,
    /// Whether proxies are served.
    pub ready: bool,
    /// The registries that readiness still waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// When it started.
    pub started: String,
    /// Where proxies are served.
    pub xds_address: String,
    /// The newest snapshot's number.
    pub generation: u64,
    /// How many services there are.
    pub services: usize,
    /// How many conflicts there are.
    pub conflicts: usize,
    /// Registries by state.
    pub registries: BTreeMap<String, usize>,
    /// The registries that are served from their last good states on disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<String>,
    /// Connected proxies.
    pub proxies: usize,
    /// Groups of proxies that are told the same.
    pub proxy_groups: usize,
    /// Distinct resources.
    pub resources: usize,
    /// The configuration.
    pub configuration: Configuration,
    /// Decisions in force, by kind: `hold`, `release`, `freeze`, `track`, `drain`.
    #[serde(default)]
    pub decisions: BTreeMap<String, usize>,
    /// Where those are kept, and whether that works.
    pub control_store: ControlStore,
}

/// Which configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Its file, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When it took effect.
    pub since: String,
    /// Why a newer one did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `/api/v1/registries`: one registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// `type/cluster`.
    pub name: String,
    /// `syncing`, `live`, `stale` or `expired`.
    pub state: String,
    /// Why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether it has ever been complete, in this process.
    pub synced: bool,
    /// Whether its values are those of its last good state on disk.
    #[serde(default)]
    pub restored: bool,
    /// By how many seconds its values may lag behind it: none while it is followed,
    /// else since it last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// When it last said anything about its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<String>,
    /// When it last failed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// How often its index of changes was reset, so that everything was asked anew.
    #[serde(default)]
    pub index_resets: u64,
    /// How often its index went ahead though nothing had changed.
    #[serde(default)]
    pub index_jumps: u64,
    /// How many batches of updates it brought.
    pub updates: u64,
    /// How many services it defines.
    pub services: usize,
    /// How many more services it has that are not loaded, since nobody needs them.
    #[serde(default)]
    pub unloaded: usize,
    /// How many endpoints it brings.
    pub endpoints: usize,
    /// How many endpoints it withdrew that are held all the same.
    #[serde(default)]
    pub held: usize,
    /// What is held, by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// What else was decided of it or its services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// How many workloads it brings.
    pub workloads: usize,
    /// Its objects that could not be understood.
    pub rejected: Vec<Rejected>,
    /// Its last good state on disk, where any is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// How it is configured.
    pub settings: serde_json::Value,
}

/// Endpoints of one service that are held though their registry withdrew them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The service's host name.
    pub hostname: String,
    /// The service's namespace.
    pub namespace: String,
    /// How many there are.
    pub endpoints: usize,
    /// Since when.
    pub since: String,
    /// Until when, at the latest.
    pub until: String,
    /// Whether the `service` or the `registry` lost too much.
    pub cause: String,
}

/// A registry's last good state on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastGood {
    /// When it was last written, by this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// Why it could not be used or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A failure in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastError {
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// An object that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// `/api/v1/services`: one merged service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its host name.
    pub hostname: String,
    /// Its namespace.
    pub namespace: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// How proxies find its endpoints.
    pub resolution: String,
    /// Its addresses, by cluster.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Who may see it: absent for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_to: Option<Vec<String>>,
    /// What it stands for, if it is another name of something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// The workloads that it selects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// How many of them are healthy.
    pub healthy: usize,
    /// How many conflicts there are about it.
    pub conflicts: usize,
    /// Who says so; its fields come from the first.
    pub origins: Vec<Origin>,
}

/// A service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What is spoken on it.
    pub protocol: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The registry.
    pub registry: String,
    /// The kind of object there.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The object's revision.
    pub revision: String,
    /// Whence, where other control planes handed it on: `FIRST>SECOND>… REGISTRY KIND NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// `/api/v1/endpoints`: the endpoints of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceEndpoints {
    /// The service's host name.
    pub hostname: String,
    /// The service's namespace.
    pub namespace: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The service port.
    pub port: u16,
    /// The service port's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port_name: String,
    /// Where to connect, the preferred address first.
    pub addresses: Vec<String>,
    /// The port to connect to.
    pub target_port: u16,
    /// Its health.
    pub health: String,
    /// Its relative share of traffic.
    pub weight: u32,
    /// The merge policy's tier; 0 is used first.
    #[serde(default)]
    pub tier: u8,
    /// Whether it is used after everything else: withdrawn and held, or of a
    /// registry that expired.
    #[serde(default)]
    pub held: bool,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// The network of its addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The cluster that it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The workload behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The identity that its proxy presents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Whether it accepts mesh TLS.
    pub mesh_tls: bool,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who says so; its fields come from the first.
    pub origins: Vec<Origin>,
}

/// `/api/v1/proxies`: one connected client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Its node id.
    pub id: String,
    /// Distinguishes the streams of the control plane.
    pub stream: u64,
    /// `name.namespace`, as its node id says.
    pub name: String,
    /// `sidecar`, `router` or `grpc`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The cluster that it runs in.
    pub cluster: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Name and version of its software.
    pub agent: String,
    /// Who it proved to be; absent where nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// `sotw` or `delta`.
    pub protocol: String,
    /// Since when it is connected.
    pub since: String,
    /// The frozen group that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<Track>,
    /// By type of resource, in the order in which it asked.
    pub types: Vec<ProxyType>,
}

/// A frozen group of proxies, as this replica has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// Who belongs to it.
    pub proxies: String,
    /// The time of the snapshot that they keep.
    pub since: String,
}

/// A proven identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// By what: `certificate`, `kubernetes` or `oidc`.
    pub method: String,
    /// The SPIFFE ID.
    pub name: String,
}

/// One type of resource of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyType {
    /// `CDS`, `EDS`, `LDS`, `RDS`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `synced`, `stale`, `rejected` (as long as it refuses anything) or `empty`.
    pub state: String,
    /// How many names it asked for; absent where it asked for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<usize>,
    /// How many names it is still to be told about.
    pub pending: usize,
    /// Since when it has not what it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<String>,
    /// When it was last sent something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// When it last accepted something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<String>,
    /// What it last refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nacked: Option<Nack>,
    /// How many resources it refuses as they are now.
    #[serde(default)]
    pub refused: usize,
    /// The first of them by name, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// A resource that a client refuses as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The resource.
    pub name: String,
    /// The version that it refuses.
    pub version: String,
    /// When it refused that first.
    pub at: String,
    /// What it said, shortened.
    pub message: String,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nack {
    /// When.
    pub at: String,
    /// What the client says.
    pub message: String,
    /// The resources found guilty by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<String>,
}

/// `/api/v1/conflicts`: one disagreement between registries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conflict {
    /// The service's host name.
    pub hostname: String,
    /// The service's namespace.
    pub namespace: String,
    /// What it is about.
    pub kind: String,
    /// The registry whose word counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
    /// The registry whose word was dropped.
    pub loser: String,
    /// Both values, in words.
    pub detail: String,
}

/// What the API answers when it cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Why.
    pub error: String,
}
