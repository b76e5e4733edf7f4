//! Settings of the whole mesh, in MeshConfig's words.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NamespaceName, TimeSpan};

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

/// Mesh settings; every field has Istio's name and default.
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
    pub connect_timeout: TimeSpan,
    /// How long sniffing may wait for the first bytes; 0 means as long as it takes.
    pub protocol_detection_timeout: TimeSpan,
    /// How often names are resolved by proxies.
    pub dns_refresh_rate: TimeSpan,
    /// Keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Who sees services without `exportTo`.
    pub default_service_export_to: DefaultVisibility,
    /// Near endpoints first.
    pub locality_lb_setting: LocalityLb,
    /// Where proxies log access: a path such as `/dev/stdout`; empty means nowhere.
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
            connect_timeout: TimeSpan::from_secs(10),
            protocol_detection_timeout: TimeSpan::default(),
            dns_refresh_rate: TimeSpan::from_secs(60),
            tcp_keepalive: None,
            default_service_export_to: vec!["*".to_owned()],
            locality_lb_setting: LocalityLb::default(),
            access_log_file: String::new(),
            cluster_networks: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mesh_settings_read_as_istio_writes_them() {
        let settings: MeshSettings = serde_json::from_value(json!({
            "connectTimeout": "2.5s",
            "dnsRefreshRate": "300s",
            "protocolDetectionTimeout": "100ms",
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "localityLbSetting": {"failover": [{"from": "eu", "to": "us"}]},
        }))
        .unwrap();
        let expected = MeshSettings {
            connect_timeout: TimeSpan::from_millis(2_500),
            dns_refresh_rate: TimeSpan::from_secs(300),
            protocol_detection_timeout: TimeSpan::from_millis(100),
            outbound_traffic_policy: OutboundTrafficPolicy { mode: OutboundPolicy::RegistryOnly },
            locality_lb_setting: LocalityLb {
                failover: vec![LocalityFailover { from: "eu".to_owned(), to: "us".to_owned() }],
                ..LocalityLb::default()
            },
            ..MeshSettings::default()
        };
        assert_eq!(settings, expected);
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["connectTimeout"], "2.5s");
        assert_eq!(serde_json::from_value::<MeshSettings>(written).unwrap(), settings);
    }
}
