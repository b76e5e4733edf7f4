//! How one Consul registry is reached, and what becomes of what it says.

pub(crate) mod hostname;
mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstem_model::{ClusterId, Hostname, NamespaceName, NetworkId, Protocol, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use hostname::{HostnameTemplate, HostnameTemplateError};
pub use secret::Secret;

/// One Consul datacenter as a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsulConfig {
    /// The name by which these workloads' cluster is known in the mesh. The
    /// registry is then `consul/CLUSTER`.
    pub cluster: ClusterId,
    /// The network of addresses that say nothing themselves. Default: the default network.
    #[serde(default)]
    pub network: NetworkId,
    /// The agent's HTTP API: `http://HOST:PORT`, `https://HOST:PORT`, or `HOST:PORT`
    /// for plain HTTP. Over TLS a few connections serve a large catalog.
    #[serde(default = "default_address")]
    pub address: String,
    /// The datacenter to read. Default: the agent's own.
    #[serde(default)]
    pub datacenter: Option<String>,
    /// The admin partition to read, of Consul Enterprise. Default: the token's own.
    #[serde(default)]
    pub partition: Option<String>,
    /// The namespace to read, of Consul Enterprise. Default: the token's own.
    #[serde(default)]
    pub consul_namespace: Option<String>,
    /// The peer whose exports to read, by its name here. Default: none, so that the
    /// catalog itself is read.
    #[serde(default)]
    pub peer: Option<String>,
    /// The ACL token. Prefer `tokenFile`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the ACL token, read again when it changes. Wins over `token`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates for `https`.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Which server may answer.
    #[serde(default)]
    pub consistency: Consistency,
    /// Let the agent answer from its own cache, which it keeps up to date: servers are
    /// asked once for all who ask one agent. What an answer takes away is asked of the
    /// leader before it is believed. Under `consistency: consistent` without effect.
    #[serde(default)]
    pub agent_cache: bool,
    /// How long a blocking query waits for a change. Consul allows at most 10m.
    #[serde(default = "default_wait")]
    pub wait: TimeSpan,
    /// How many queries may be open at once, at least 8. Default: 128 over plain
    /// HTTP, where each needs a connection and the agent allows 200 for a client;
    /// 20,000 over TLS, where a connection carries 240.
    #[serde(default)]
    pub max_queries: Option<usize>,
    /// Load only the services that somebody needs, for catalogs of which the mesh uses
    /// a part: those that clients ask for by name, and all that a client sees who asks
    /// for everything. The others are known by name; who asks for one of them waits.
    #[serde(default)]
    pub on_demand: bool,
    /// How often the registry is asked whether it answers at all.
    #[serde(default = "default_probe_interval")]
    pub probe_interval: TimeSpan,
    /// How long that answer may take before the registry counts as silent.
    #[serde(default = "default_probe_timeout")]
    pub probe_timeout: TimeSpan,
    /// A service that a complete catalog always contains: where it is missing,
    /// the token lacks rights and the answer is no catalog. Empty switches the
    /// check off. Default: `consul`; with `partition` or `consulNamespace` none, since
    /// servers register in the default ones alone, nor with `peer`, which says itself
    /// what it exports.
    #[serde(default)]
    pub canary: Option<String>,
    /// The host name of a service: `{service}`, `{datacenter}`, `{peer}`, and for Consul
    /// Enterprise `{namespace}` and `{partition}` are replaced.
    /// Upper case becomes lower case, an underscore a hyphen.
    /// Default: `{service}.service.{datacenter}.consul`; with `peer`
    /// `{service}.service.{peer}.peer.consul`.
    #[serde(default)]
    pub hostname: Option<HostnameTemplate>,
    /// The namespace of services whose host name is not of the shape `*.NS.svc.SUFFIX`.
    #[serde(default = "default_namespace")]
    pub namespace: NamespaceName,
    /// The service port of instances without the metadata `service-port`.
    /// Default: the only port of the service that they join.
    #[serde(default)]
    pub service_port: Option<u16>,
    /// The protocol of instances without the metadata `protocol`. Default: sniffed.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// The tagged address to connect to: `lan`, `wan`, `lan_ipv4`, `lan_ipv6`,
    /// `wan_ipv4`, `wan_ipv6` or one of your own. An instance without it is
    /// reached at its service address, else at its node's.
    #[serde(default)]
    pub tagged_address: Option<String>,
    /// What separates key and value in tags that become labels.
    #[serde(default = "default_tag_separators")]
    pub tag_separators: Vec<char>,
    /// Only these services; `*` stands for any text. Default: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Not these services; `*` stands for any text.
    #[serde(default = "default_exclude")]
    pub exclude: Vec<String>,
    /// Only these instances.
    #[serde(default)]
    pub select: Selector,
}

/// Which instances count. What is not named selects everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Tags that an instance must all have.
    pub tags: Vec<String>,
    /// Tags of which it must have none.
    pub without_tags: Vec<String>,
    /// Metadata that it must have with these values.
    pub metadata: BTreeMap<String, String>,
    /// Metadata that its node must have with these values.
    pub node_metadata: BTreeMap<String, String>,
    /// Leave out instances that are not passing, rather than marking them as
    /// degraded or unhealthy.
    pub passing_only: bool,
}

/// Certificates. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authority that signed the agent's certificate (PEM). Default: the system's.
    pub ca: Option<PathBuf>,
    /// The client certificate with its chain (PEM).
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// The name in the agent's certificate, where it is not the address's host.
    pub server_name: Option<String>,
    /// Accept any certificate. For experiments only.
    pub insecure_skip_verify: bool,
}

/// Consul's consistency modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The leader answers, by its lease.
    #[default]
    Default,
    /// Any server answers, which spares the leader. What an answer takes away is
    /// asked of the leader before it is believed.
    Stale,
    /// The leader answers, and asks its followers whether it still leads.
    Consistent,
}

impl ConsulConfig {
    /// The configuration of `cluster`, everything else as by default.
    pub fn new(cluster: impl Into<ClusterId>) -> Self {
        Self {
            cluster: cluster.into(),
            network: NetworkId::default(),
            address: default_address(),
            datacenter: None,
            partition: None,
            consul_namespace: None,
            peer: None,
            token: None,
            token_file: None,
            tls: TlsConfig::default(),
            consistency: Consistency::default(),
            agent_cache: false,
            wait: default_wait(),
            max_queries: None,
            on_demand: false,
            probe_interval: default_probe_interval(),
            probe_timeout: default_probe_timeout(),
            canary: None,
            hostname: None,
            namespace: default_namespace(),
            service_port: None,
            protocol: None,
            tagged_address: None,
            tag_separators: default_tag_separators(),
            include: Vec::new(),
            exclude: default_exclude(),
            select: Selector::default(),
        }
    }
}

/// Queries at once over plain HTTP: the agent allows 200 connections of a client.
const PLAIN_QUERIES: usize = 128;

/// Queries at once over HTTP/2: about 84 connections.
const MULTIPLEXED_QUERIES: usize = 20_000;

/// The fewest queries that an adapter can do with.
const FEWEST_QUERIES: usize = 8;

/// What Consul calls the partition and namespace of whoever names none.
const DEFAULT: &str = "default";

impl ConsulConfig {
    /// How many queries each of so many registries may have open at once over plain HTTP,
    /// where all of one agent's share its limit of connections.
    pub fn queries_each(registries: usize) -> usize {
        (PLAIN_QUERIES / registries.max(1)).max(FEWEST_QUERIES)
    }

    /// The service that a complete catalog always contains, empty if none does.
    pub(crate) fn canary(&self) -> &str {
        let apart = [&self.partition, &self.consul_namespace].into_iter().flatten();
        match &self.canary {
            Some(canary) => canary,
            None if self.peer.is_some() => "",
            None if apart.into_iter().any(|name| name != DEFAULT) => "",
            None => "consul",
        }
    }

    /// What every query of the catalog says: which part of Consul it is about.
    pub(crate) fn place(&self) -> Vec<(&'static str, String)> {
        let Self { datacenter, partition, consul_namespace, peer, .. } = self;
        let catalog = [("dc", datacenter), ("partition", partition), ("ns", consul_namespace)];
        let all = catalog.into_iter().chain([("peer", peer)]);
        all.filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }

    /// How services are named.
    pub(crate) fn template(&self) -> HostnameTemplate {
        self.hostname.clone().unwrap_or_else(|| match self.peer {
            Some(_) => HostnameTemplate::of_peers(),
            None => HostnameTemplate::default(),
        })
    }

    /// The host name of a service of the datacenter that answers.
    pub(crate) fn hostname(&self, service: &str, datacenter: &str) -> Option<Hostname> {
        let or_default = |name: &Option<String>| name.clone().unwrap_or_else(|| DEFAULT.to_owned());
        self.template().hostname(
            service,
            &[
                ("{datacenter}", datacenter),
                ("{peer}", self.peer.as_deref().unwrap_or_default()),
                ("{namespace}", &or_default(&self.consul_namespace)),
                ("{partition}", &or_default(&self.partition)),
            ],
        )
    }

    /// How many queries may be open at once.
    pub(crate) fn queries(&self, multiplexes: bool) -> usize {
        let default = if multiplexes { MULTIPLEXED_QUERIES } else { PLAIN_QUERIES };
        self.max_queries.unwrap_or(default).max(FEWEST_QUERIES)
    }

    /// How many of them may be short ones.
    pub(crate) fn errands(&self, multiplexes: bool) -> usize {
        (self.queries(multiplexes) / 8).clamp(1, 32)
    }
}

fn default_address() -> String {
    "http://127.0.0.1:8500".to_owned()
}

fn default_wait() -> TimeSpan {
    TimeSpan::from_secs(300)
}

fn default_probe_interval() -> TimeSpan {
    TimeSpan::from_secs(2)
}

fn default_probe_timeout() -> TimeSpan {
    TimeSpan::from_secs(4)
}

fn default_namespace() -> NamespaceName {
    "default".into()
}

fn default_tag_separators() -> Vec<char> {
    vec!['|', '=']
}

fn default_exclude() -> Vec<String> {
    vec!["consul".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_is_all_that_must_be_said() {
        let read: ConsulConfig = serde_json::from_value(json!({"cluster": "vm-eu"})).unwrap();
        assert_eq!(read, ConsulConfig::new("vm-eu"));
    }

    #[test]
    fn every_field_reads_as_documented() {
        let read: ConsulConfig = serde_json::from_value(json!({
            "cluster": "vm-eu", "network": "vpc", "address": "https://consul:8501",
            "datacenter": "dc1", "partition": "team-a", "consulNamespace": "billing",
            "peer": "emea", "token": "t", "tokenFile": "/run/token",
            "tls": {"ca": "ca.pem", "cert": "c.pem", "key": "k.pem",
                    "serverName": "server.dc1.consul", "insecureSkipVerify": true},
            "consistency": "stale", "wait": "1m", "maxQueries": 32, "onDemand": true,
            "probeInterval": "1s", "probeTimeout": "500ms", "canary": "",
            "hostname": "{service}.shop.svc.cluster.local", "namespace": "vms",
            "servicePort": 80, "protocol": "http", "taggedAddress": "wan",
            "tagSeparators": [":"], "include": ["shop-*"], "exclude": ["*-canary"],
            "select": {"tags": ["mesh"], "withoutTags": ["old"], "metadata": {"env": "prod"},
                       "nodeMetadata": {"rack": "r1"}, "passingOnly": true},
        }))
        .unwrap();
        let expected = ConsulConfig {
            network: "vpc".into(),
            address: "https://consul:8501".to_owned(),
            datacenter: Some("dc1".to_owned()),
            partition: Some("team-a".to_owned()),
            consul_namespace: Some("billing".to_owned()),
            peer: Some("emea".to_owned()),
            token: Some(Secret::from("t")),
            token_file: Some("/run/token".into()),
            tls: TlsConfig {
                ca: Some("ca.pem".into()),
                cert: Some("c.pem".into()),
                key: Some("k.pem".into()),
                server_name: Some("server.dc1.consul".to_owned()),
                insecure_skip_verify: true,
            },
            consistency: Consistency::Stale,
            wait: TimeSpan::from_secs(60),
            max_queries: Some(32),
            on_demand: true,
            probe_interval: TimeSpan::from_secs(1),
            probe_timeout: TimeSpan::from_millis(500),
            canary: Some(String::new()),
            hostname: "{service}.shop.svc.cluster.local".parse().ok(),
            namespace: "vms".into(),
            service_port: Some(80),
            protocol: Some(Protocol::Http),
            tagged_address: Some("wan".to_owned()),
            tag_separators: vec![':'],
            include: vec!["shop-*".to_owned()],
            exclude: vec!["*-canary".to_owned()],
            select: Selector {
                tags: vec!["mesh".to_owned()],
                without_tags: vec!["old".to_owned()],
                metadata: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
                node_metadata: BTreeMap::from([("rack".to_owned(), "r1".to_owned())]),
                passing_only: true,
            },
            ..ConsulConfig::new("vm-eu")
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let config = ConsulConfig { token: Some(Secret::from("t0p")), ..ConsulConfig::new("a") };
        assert!(!format!("{config:?}").contains("t0p"));
        assert!(!serde_json::to_string(&config).unwrap().contains("t0p"));
    }

    #[test]
    fn an_unknown_setting_or_placeholder_is_refused() {
        let error = |value| serde_json::from_value::<ConsulConfig>(value).unwrap_err().to_string();
        assert!(error(json!({"cluster": "a", "tokn": ""})).contains("unknown field `tokn`"));
        assert!(error(json!({"cluster": "a", "hostname": "{name}.x"})).contains(
            "\"{name}.x\" has the placeholder {name}; known are {service}, {datacenter}, {peer}, {namespace} and {partition}"
        ));
        assert!(error(json!({"cluster": "a", "hostname": "x"})).contains("lacks {service}"));
    }
}
