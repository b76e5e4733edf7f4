//! Who asks: a proxy's node identifier and metadata, as Istio's agents write them.

use std::fmt;
use std::net::IpAddr;

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};

use crate::{ClusterId, Labels, Locality, NamespaceName, NetworkId, NodeName};

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyType {
    /// Beside one workload.
    Sidecar,
    /// A gateway.
    Router,
}

/// A node identifier that is not `type~ip~id~domain`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// Not four parts.
    #[error("node id {0:?} is not of the form type~ip~name.namespace~domain")]
    Form(String),
    /// The first part is not a type that is served.
    #[error("node id {id:?} has the type {kind:?}; known are sidecar and router")]
    Type {
        /// The whole node id.
        id: String,
        /// Its first part.
        kind: String,
    },
    /// The second part is not an IP address.
    #[error("node id {id:?} has {ip:?} where an IP address belongs")]
    Ip {
        /// The whole node id.
        id: String,
        /// Its second part.
        ip: String,
    },
}

/// How a sidecar gets hold of traffic.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Interception {
    /// iptables REDIRECT to the virtual listeners.
    #[default]
    Redirect,
    /// iptables TPROXY to the virtual listeners, which keep the source address.
    Tproxy,
    /// None: listeners bind the addresses and ports that applications use.
    None,
}

/// A container port of the proxy's own workload (`POD_PORTS`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodPort {
    /// Its name.
    pub name: String,
    /// Its number.
    pub container_port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

/// The node metadata that changes what a proxy is told. Names are Istio's; what
/// is malformed counts as absent, since the rest must not suffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
pub struct ProxyMetadata {
    /// The workload's namespace.
    #[serde(deserialize_with = "lenient")]
    pub namespace: Option<NamespaceName>,
    /// The cluster that the proxy runs in.
    #[serde(deserialize_with = "lenient")]
    pub cluster_id: Option<ClusterId>,
    /// The network that it runs in.
    #[serde(deserialize_with = "lenient")]
    pub network: Option<NetworkId>,
    /// Its workload's labels.
    #[serde(deserialize_with = "lenient")]
    pub labels: Option<Labels>,
    /// All its addresses, separated by commas.
    #[serde(rename = "INSTANCE_IPS", deserialize_with = "lenient")]
    pub instance_ips: Option<String>,
    /// Its service account.
    #[serde(deserialize_with = "lenient")]
    pub service_account: Option<String>,
    /// The name of its workload's owner.
    #[serde(deserialize_with = "lenient")]
    pub workload_name: Option<String>,
    /// The node it runs on.
    #[serde(deserialize_with = "lenient")]
    pub node_name: Option<NodeName>,
    /// `grpc` for proxyless clients, `api` for configuration consumers.
    #[serde(deserialize_with = "lenient")]
    pub generator: Option<String>,
    /// How traffic is intercepted.
    #[serde(deserialize_with = "lenient")]
    pub interception_mode: Option<Interception>,
    /// The version of Istio's proxy that it is; absent for Envoy as released.
    #[serde(deserialize_with = "lenient")]
    pub istio_version: Option<String>,
    /// `true` if it may not listen on ports below 1024.
    #[serde(deserialize_with = "lenient")]
    pub unprivileged_pod: Option<String>,
    /// The container ports, as JSON text or as a list.
    #[serde(deserialize_with = "json_text")]
    pub pod_ports: Option<Vec<PodPort>>,
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(value).ok())
}

fn json_text<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) => serde_json::from_str(&text).ok(),
        value => serde_json::from_value(value).ok(),
    })
}

/// A connected client of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// The node identifier as sent.
    pub id: String,
    /// What it is for.
    pub kind: ProxyType,
    /// Its own addresses, the node id's first.
    pub addresses: Vec<IpAddr>,
    /// The workload's name: the node id's third part up to the first dot.
    pub name: String,
    /// The workload's namespace.
    pub namespace: NamespaceName,
    /// The DNS domain that short names resolve in.
    pub domain: String,
    /// The cluster that it runs in.
    pub cluster: ClusterId,
    /// The network that it runs in.
    pub network: NetworkId,
    /// Where it runs, from the node's locality.
    pub locality: Locality,
    /// Everything else that it said of itself.
    pub metadata: ProxyMetadata,
    /// Whether somebody else than itself says that it is of its namespace. Then what it
    /// says of its addresses counts within that namespace only.
    #[serde(skip)]
    pub namespace_proven: bool,
}

impl Proxy {
    /// Reads a node as an xDS request carries it. `metadata` is the node's
    /// metadata as JSON; `default_cluster` is meant where it names no cluster.
    ///
    /// # Errors
    /// [`NodeIdError`] when `id` is not `type~ip~name.namespace~domain`.
    pub fn parse(
        id: &str,
        metadata: serde_json::Value,
        locality: Locality,
        default_cluster: &ClusterId,
    ) -> Result<Self, NodeIdError> {
        let parts: Vec<&str> = id.split('~').collect();
        let [kind, ip, workload, domain] = parts[..] else {
            return Err(NodeIdError::Form(id.to_owned()));
        };
        let kind = match kind {
            "sidecar" => ProxyType::Sidecar,
            "router" => ProxyType::Router,
            kind => return Err(NodeIdError::Type { id: id.to_owned(), kind: kind.to_owned() }),
        };
        let first: IpAddr =
            ip.parse().map_err(|_| NodeIdError::Ip { id: id.to_owned(), ip: ip.to_owned() })?;
        let metadata: ProxyMetadata = serde_json::from_value(metadata).unwrap_or_default();
        let (name, namespace) = workload.rsplit_once('.').unwrap_or((workload, "default"));
        Ok(Self {
            id: id.to_owned(),
            kind,
            addresses: addresses(first, metadata.instance_ips.as_deref()),
            name: name.to_owned(),
            namespace: metadata.namespace.clone().unwrap_or_else(|| namespace.into()),
            domain: domain.to_owned(),
            cluster: metadata.cluster_id.clone().unwrap_or_else(|| default_cluster.clone()),
            network: metadata.network.clone().unwrap_or_default(),
            locality,
            metadata,
            namespace_proven: false,
        })
    }

    /// How it intercepts traffic.
    pub fn interception(&self) -> Interception {
        self.metadata.interception_mode.unwrap_or_default()
    }

    /// Whether it is a gRPC client that follows xDS itself, without a proxy.
    pub fn is_grpc(&self) -> bool {
        self.metadata.generator.as_deref() == Some("grpc")
    }

    /// Whether it is a control plane that imports services, as Istio's clients of
    /// the Mesh Configuration Protocol say it.
    pub fn is_importer(&self) -> bool {
        self.metadata.generator.as_deref() == Some("api")
    }

    /// Whether what is at an address that it claims may be its own, if that is of this
    /// namespace.
    pub fn may_be_of(&self, namespace: &str) -> bool {
        !self.namespace_proven || self.namespace.as_str() == namespace
    }

    /// Its workload's labels as it claims them.
    pub fn labels(&self) -> Labels {
        self.metadata.labels.clone().unwrap_or_default()
    }
}

fn addresses(first: IpAddr, all: Option<&str>) -> Vec<IpAddr> {
    let mut addresses = vec![first];
    for ip in all.unwrap_or_default().split(',').filter_map(|ip| ip.trim().parse().ok()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

impl fmt::Display for ProxyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(id: &str, metadata: serde_json::Value) -> Result<Proxy, NodeIdError> {
        Proxy::parse(id, metadata, Locality::default(), &"home".into())
    }

    #[test]
    fn a_node_id_names_type_address_workload_and_domain() {
        let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
        let proxy = parse(id, json!({"INSTANCE_IPS": "10.0.0.1, fd00::1"})).unwrap();
        assert_eq!(proxy.kind, ProxyType::Sidecar);
        assert_eq!(
            proxy.addresses,
            ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
        );
        assert_eq!((proxy.name.as_str(), proxy.namespace.as_str()), ("web-1", "shop"));
        assert_eq!(
            (proxy.domain.as_str(), proxy.cluster.as_str()),
            ("shop.svc.cluster.local", "home")
        );
    }

    #[test]
    fn metadata_wins_and_its_malformed_fields_cost_only_themselves() {
        let metadata = json!({
            "NAMESPACE": "other", "CLUSTER_ID": "vm", "NETWORK": 7, "INTERCEPTION_MODE": "TPROXY",
            "POD_PORTS": "[{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"TCP\"}]",
            "UNKNOWN": {},
        });
        let proxy = parse("sidecar~10.0.0.1~web.shop~d", metadata).unwrap();
        assert_eq!((proxy.namespace.as_str(), proxy.cluster.as_str()), ("other", "vm"));
        assert_eq!(proxy.network, NetworkId::default());
        assert_eq!(proxy.interception(), Interception::Tproxy);
        assert_eq!(proxy.metadata.pod_ports.unwrap()[0].container_port, 8080);
    }

    #[test]
    fn a_malformed_node_id_says_what_is_wrong() {
        let error = |id: &str| parse(id, json!({})).unwrap_err().to_string();
        assert_eq!(error("x"), "node id \"x\" is not of the form type~ip~name.namespace~domain");
        assert_eq!(
            error("ztunnel~1.1.1.1~a.b~c"),
            "node id \"ztunnel~1.1.1.1~a.b~c\" has the type \"ztunnel\"; known are sidecar and router"
        );
        assert_eq!(
            error("router~one~a.b~c"),
            "node id \"router~one~a.b~c\" has \"one\" where an IP address belongs"
        );
    }
}
