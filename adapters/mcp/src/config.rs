//! How one MCP source is reached, and what holds for its objects.

use std::net::SocketAddr;
use std::path::PathBuf;

use mainstem_model::{ClusterId, NetworkId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert::Kind;

/// One MCP-over-xDS source as a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpConfig {
    /// The cluster that its endpoints and workloads belong to. The registry is
    /// then `mcp/CLUSTER`.
    pub cluster: ClusterId,
    /// The source: `http://HOST:PORT` or `https://HOST:PORT`. With `resourceSink` where to
    /// listen for it: `http://IP:PORT`, on loopback only, or `https://IP:PORT`.
    pub address: String,
    /// How it is followed. Default: `delta`.
    #[serde(default)]
    pub protocol: Protocol,
    /// The kinds that are asked for: `ServiceEntry`, `WorkloadEntry`, and whatever else is
    /// to be passed on unread, by the name under which the source and importers know it:
    /// `networking.istio.io/v1/VirtualService`. Leave out what the source does not know.
    /// Default: the first two.
    #[serde(default = "default_kinds")]
    pub kinds: Vec<Kind>,
    /// The network of endpoints and workloads that name none. Default: none.
    #[serde(default)]
    pub network: NetworkId,
    /// The locality, `region/zone/subzone`, of endpoints and workloads that name
    /// none. Default: none.
    #[serde(default)]
    pub locality: String,
    /// The trust domain of service accounts. Default: `cluster.local`.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// Clusters whose endpoints are left out of what another Mainstem exports: those
    /// of a registry of such a cluster, and those that came through the control plane
    /// of such a cluster. Default: none.
    #[serde(default)]
    pub exclude: Vec<ClusterId>,
    /// The cluster of this control plane: what it exported itself is left out, too.
    /// Default: the configuration's `cluster`.
    #[serde(default)]
    pub home: ClusterId,
    /// The node ID shown to the source, in whose namespace is seen what is imported.
    /// Default: `sidecar~0.0.0.0~mainstem.istio-system~istio-system.svc.cluster.local`.
    #[serde(default = "default_node")]
    pub node: String,
    /// A file with a bearer token, read again when it changes; over `https` only. With
    /// `resourceSink` the source must show it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates for `https`.
    #[serde(default)]
    pub tls: TlsConfig,
    /// How often the source is asked whether it is there. Default: `2s`.
    #[serde(default = "default_probe_interval")]
    pub probe_interval: TimeSpan,
    /// How long that answer, or a connection, may take. Default: `4s`.
    #[serde(default = "default_probe_timeout")]
    pub probe_timeout: TimeSpan,
    /// How long answers must be quiet before the first of them count as
    /// complete, since a source may split them. Default: `300ms`.
    #[serde(default = "default_settle")]
    pub settle: TimeSpan,
}

/// Certificates. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authority that signed the source's certificate (PEM); required for `https`,
    /// but for a sink that asks for a token.
    pub ca: Option<PathBuf>,
    /// The client's certificate, or a sink's, with its chain (PEM).
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// The name in the source's certificate, where it is not the address's host.
    pub server_name: Option<String>,
}

/// How a source is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Incremental ADS: only changes come.
    #[default]
    Delta,
    /// State-of-the-world ADS: every answer is the complete set of its kind.
    Sotw,
    /// The original protocol, `istio.mcp.v1alpha1.ResourceSource`: collections, changes
    /// where the source can tell them.
    ResourceSource,
    /// The original protocol, where the source opens the stream:
    /// `istio.mcp.v1alpha1.ResourceSink`.
    ResourceSink,
}

impl McpConfig {
    /// The configuration of `cluster` at `address`, everything else as by default.
    pub fn new(cluster: impl Into<ClusterId>, address: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            address: address.into(),
            protocol: Protocol::default(),
            kinds: default_kinds(),
            network: NetworkId::default(),
            locality: String::new(),
            trust_domain: default_trust_domain(),
            exclude: Vec::new(),
            home: ClusterId::default(),
            node: default_node(),
            token_file: None,
            tls: TlsConfig::default(),
            probe_interval: default_probe_interval(),
            probe_timeout: default_probe_timeout(),
            settle: default_settle(),
        }
    }
}

/// A sink that cannot listen as configured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// No address.
    #[error("a sink listens on an address: write http://IP:PORT or https://IP:PORT, not {0:?}")]
    Address(String),
    /// Whoever reaches the address could send anything.
    #[error("{0}: in plain text a sink listens on loopback only; use https")]
    Plain(String),
    /// TLS without a certificate.
    #[error("{0}: a sink over https needs tls.cert and tls.key")]
    NoIdentity(String),
    /// Nobody has to prove anything.
    #[error("{0}: anybody could send; set tokenFile, or tls.ca for client certificates")]
    Anybody(String),
}

impl McpConfig {
    /// Where a sink listens. In plain text only the host itself is let in, and over TLS only
    /// who proves something.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn sink_address(&self) -> Result<SocketAddr, SinkError> {
        let address = || self.address.clone();
        let unusable = || SinkError::Address(address());
        let (scheme, rest) = self.address.split_once("://").ok_or_else(unusable)?;
        let at: SocketAddr = rest.trim_end_matches('/').parse().map_err(|_| unusable())?;
        match scheme {
            "http" if !at.ip().is_loopback() => Err(SinkError::Plain(address())),
            "https" if self.tls.cert.is_none() || self.tls.key.is_none() => {
                Err(SinkError::NoIdentity(address()))
            }
            "https" if self.tls.ca.is_none() && self.token_file.is_none() => {
                Err(SinkError::Anybody(address()))
            }
            "http" | "https" => Ok(at),
            _ => Err(unusable()),
        }
    }

    /// Whether it can be followed as configured, as far as that can be told before it is
    /// tried.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), SinkError> {
        match self.protocol {
            Protocol::ResourceSink => self.sink_address().map(drop),
            _ => Ok(()),
        }
    }
}

fn default_kinds() -> Vec<Kind> {
    Kind::READ.to_vec()
}

fn default_trust_domain() -> String {
    "cluster.local".to_owned()
}

fn default_node() -> String {
    "sidecar~0.0.0.0~mainstem.istio-system~istio-system.svc.cluster.local".to_owned()
}

fn default_probe_interval() -> TimeSpan {
    TimeSpan::from_secs(2)
}

fn default_probe_timeout() -> TimeSpan {
    TimeSpan::from_secs(4)
}

fn default_settle() -> TimeSpan {
    TimeSpan::from_millis(300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_and_address_are_all_that_must_be_said() {
        let said = serde_json::json!({"cluster": "config", "address": "http://mcp:15010"});
        let read: McpConfig = serde_json::from_value(said).expect("valid");
        assert_eq!(read, McpConfig::new("config", "http://mcp:15010"));
    }

    #[test]
    fn a_sink_lets_in_the_host_itself_or_who_proves_something() {
        let found = |address: &str, token: bool, identity: bool| {
            let path = |there: bool| there.then(|| PathBuf::from("x"));
            let config = McpConfig {
                protocol: Protocol::ResourceSink,
                token_file: path(token),
                tls: TlsConfig { cert: path(identity), key: path(identity), ..Default::default() },
                ..McpConfig::new("config", address)
            };
            assert_eq!(config.check(), config.sink_address().map(drop));
            config.sink_address().map(|at| at.to_string())
        };
        let (plain, secure) = ("http://0.0.0.0:1".to_owned(), "https://0.0.0.0:1".to_owned());
        assert_eq!(found("http://127.0.0.1:1", false, false), Ok("127.0.0.1:1".to_owned()));
        assert_eq!(found("https://0.0.0.0:1/", true, true), Ok("0.0.0.0:1".to_owned()));
        assert_eq!(found(&plain, true, true), Err(SinkError::Plain(plain.clone())));
        assert_eq!(found(&secure, true, false), Err(SinkError::NoIdentity(secure.clone())));
        assert_eq!(found(&secure, false, true), Err(SinkError::Anybody(secure.clone())));
        for other in ["https://sink:1", "0.0.0.0:1", "tcp://127.0.0.1:1"] {
            assert_eq!(found(other, true, true), Err(SinkError::Address(other.to_owned())));
        }
        assert_eq!(McpConfig::new("config", plain).check(), Ok(()));
    }
}
