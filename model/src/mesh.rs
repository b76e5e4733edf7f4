//! Settings of the whole mesh, in MeshConfig's words.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::NamespaceName;

/// What happens to traffic for destinations that no registry knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundPolicy {
    /// It passes unchanged.
    #[default]
    AllowAny,
    /// It is dropped.
    RegistryOnly,
}

/// `outboundTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutboundTrafficPolicy {
    /// What happens.
    pub mode: OutboundPolicy,
}

/// Who sees objects that say nothing of it (`exportTo` default).
pub type DefaultVisibility = Vec<String>;

/// `tcpKeepalive`; seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpKeepalive {
    /// Probes without an answer before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<u32>,
    /// Time between probes.
    pub interval: Option<u32>,
}

/// One `localityLbSetting.failover` rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalityFailover {
    /// The client's region.
    pub from: String,
    /// The region that takes over.
    pub to: String,
}

/// `localityLbSetting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalityLb {
    /// Whether near endpoints come first at all.
    pub enabled: bool,
    /// Which region takes over from which.
    pub failover: Vec<LocalityFailover>,
    /// Labels that must agree, from the most important on.
    pub failover_priority: Vec<String>,
}

impl Default for LocalityLb {
    fn default() -> Self {
        Self { enabled: true, failover: Vec::new(), failover_priority: Vec::new() }
    }
}

/// Mesh settings; every field has Istio's default. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MeshSettings {
    /// The suffix of Kubernetes host names.
    pub domain_suffix: String,
    /// The trust domain of SPIFFE identities.
    pub trust_domain: String,
    /// The namespace whose configuration applies to the whole mesh.
    pub root_namespace: NamespaceName,
    /// Traffic to unknown destinations.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// The port of the outbound interception listener.
    pub proxy_listen_port: u16,
    /// The port of the inbound interception listener.
    pub proxy_inbound_listen_port: u16,
    /// How long a connection to an endpoint may take.
    pub connect_timeout_ms: u64,
    /// How long sniffing may wait for the first bytes; 0 means as long as it takes.
    pub protocol_detection_timeout_ms: u64,
    /// How often names are resolved by proxies.
    pub dns_refresh_rate_ms: u64,
    /// Keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Who sees services without `exportTo`.
    pub default_service_export_to: DefaultVisibility,
    /// Near endpoints first.
    pub locality_lb_setting: LocalityLb,
    /// Whether access is logged to the proxy's standard output.
    pub access_log_file: String,
    /// Networks of clusters that say nothing themselves: ClusterID to network.
    pub cluster_networks: BTreeMap<String, String>,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            domain_suffix: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".into(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            connect_timeout_ms: 10_000,
            protocol_detection_timeout_ms: 0,
            dns_refresh_rate_ms: 60_000,
            tcp_keepalive: None,
            default_service_export_to: vec!["*".to_owned()],
            locality_lb_setting: LocalityLb::default(),
            access_log_file: String::new(),
            cluster_networks: BTreeMap::new(),
        }
    }
}
