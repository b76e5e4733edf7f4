//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{
    Address, Hostname, Labels, NamespaceName, NetworkId, Port, Protocol, ProtocolHint, TargetPort,
    TrafficDistribution, Visibility,
};
use serde::Deserialize;

use super::{Metadata, NETWORK, port_number};

const EXPORT_TO: &str = "networking.istio.io/exportTo";
const CANONICAL_ACCOUNTS: &str = "alpha.istio.io/canonical-serviceaccounts";
const KUBERNETES_ACCOUNTS: &str = "alpha.istio.io/kubernetes-serviceaccounts";
const PERSISTENT_SESSION: &str = "istio.io/persistent-session";
const GATEWAY_PORT: &str = "networking.istio.io/gatewayPort";
const NODE_SELECTOR: &str = "traffic.istio.io/nodeSelector";
pub(super) const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// The port of cross-network gateways where the label does not name another.
const DEFAULT_GATEWAY_PORT: u16 = 15443;

/// How clients reach a Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Addressing {
    /// At its own addresses, in the cluster's order; possibly none yet.
    Cluster(Vec<IpAddr>),
    /// At its endpoints' (`clusterIP: None`).
    Headless,
    /// It is another name (`type: ExternalName`).
    External(Hostname),
}

/// What a Service says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) labels: Labels,
    pub(crate) selector: Labels,
    /// Ascending by number, each number once.
    pub(crate) ports: Vec<Port>,
    pub(crate) addressing: Addressing,
    /// The first of its IP families is IPv6.
    pub(crate) prefers_ipv6: bool,
    pub(crate) visibility: Option<Visibility>,
    /// Identities, as they are written.
    pub(crate) canonical_accounts: Vec<String>,
    /// Names of service accounts of its namespace.
    pub(crate) kubernetes_accounts: Vec<String>,
    /// As the Service itself says, its specification before its annotation.
    pub(crate) distribution: Option<TrafficDistribution>,
    pub(crate) node_local: bool,
    pub(crate) publish_not_ready: bool,
    pub(crate) persistent_session: Option<Arc<str>>,
    pub(crate) gateway: Option<Gateway>,
}

/// A Service that leads into a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) network: NetworkId,
    /// Its addresses for the outside: external ones and the load balancer's.
    pub(crate) addresses: Vec<Address>,
    pub(crate) port: u16,
    /// For nodes that these labels select, their external addresses and this port.
    pub(crate) node_port: Option<(Labels, u16)>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ip_families: Vec<String>,
    external_name: String,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    selector: Labels,
    ports: Vec<RawPort>,
    internal_traffic_policy: String,
    traffic_distribution: Option<String>,
    publish_not_ready_addresses: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    #[serde(default)]
    name: String,
    #[serde(default)]
    protocol: String,
    app_protocol: Option<String>,
    port: i64,
    target_port: Option<RawTarget>,
    #[serde(default)]
    node_port: i64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawTarget {
    Number(i64),
    Name(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    load_balancer: RawBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBalancer {
    ingress: Vec<RawIngress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawIngress {
    ip: String,
    hostname: String,
}

impl Service {
    pub(super) fn read(raw: Raw) -> Result<Self, String> {
        let Raw { metadata, spec, status } = raw;
        let own = NamespaceName::from(metadata.namespace.as_str());
        let list = |name| comma_separated(metadata.annotation(name).unwrap_or_default());
        let declared = spec.traffic_distribution.as_deref();
        let distribution = declared.or_else(|| metadata.annotation(DISTRIBUTION));
        Ok(Self {
            ports: ports(&spec.ports)?,
            addressing: addressing(&spec)?,
            prefers_ipv6: prefers_ipv6(&spec),
            visibility: visibility(metadata.annotation(EXPORT_TO), &own)?,
            canonical_accounts: list(CANONICAL_ACCOUNTS),
            kubernetes_accounts: list(KUBERNETES_ACCOUNTS),
            distribution: distribution.map(traffic_distribution),
            node_local: spec.internal_traffic_policy == "Local",
            publish_not_ready: spec.publish_not_ready_addresses,
            persistent_session: metadata
                .labels
                .get(PERSISTENT_SESSION)
                .filter(|value| !value.is_empty())
                .map(Arc::from),
            gateway: gateway(&metadata, &spec, &status)?,
            selector: spec.selector,
            labels: metadata.labels,
        })
    }
}

/// Preferences that a later Kubernetes may bring read as none.
pub(super) fn traffic_distribution(text: &str) -> TrafficDistribution {
    match text.to_ascii_lowercase().as_str() {
        "preferclose" | "prefersamezone" => TrafficDistribution::PreferSameZone,
        "prefersamenode" => TrafficDistribution::PreferSameNode,
        _ => TrafficDistribution::Unset,
    }
}

fn comma_separated(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn visibility(text: Option<&str>, own: &NamespaceName) -> Result<Option<Visibility>, String> {
    let Some(text) = text else { return Ok(None) };
    let values = comma_separated(text);
    let known = |value: &str| matches!(value, "*" | "." | "~") || is_label(value);
    match values.iter().find(|value| !known(value)) {
        Some(bad) => Err(format!(
            "annotation {EXPORT_TO} has {bad:?}; write namespaces, \".\", \"*\" or \"~\", separated by commas"
        )),
        None => Ok(Visibility::parse(values.iter().map(String::as_str), own)),
    }
}

/// Whether it can be the name of a namespace (RFC 1123).
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn addressing(spec: &RawSpec) -> Result<Addressing, String> {
    if spec.r#type == "ExternalName" {
        let name = spec.external_name.trim();
        if name.is_empty() {
            return Err("type is ExternalName, but externalName is empty".to_owned());
        }
        return Ok(Addressing::External(Hostname::normalised(name)));
    }
    if spec.cluster_ip == "None" {
        return Ok(Addressing::Headless);
    }
    cluster_ips(spec).map(ip_address).collect::<Result<_, _>>().map(Addressing::Cluster)
}

/// `clusterIPs` holds `clusterIP` as its first where it is there at all.
fn cluster_ips(spec: &RawSpec) -> impl Iterator<Item = &str> {
    let single = spec.cluster_ips.is_empty().then_some(spec.cluster_ip.as_str());
    let all = spec.cluster_ips.iter().map(String::as_str).chain(single);
    all.filter(|ip| !ip.is_empty() && *ip != "None")
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address"))
}

fn prefers_ipv6(spec: &RawSpec) -> bool {
    match spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => cluster_ips(spec).next().is_some_and(|ip| ip.contains(':')),
    }
}

/// Of a number that is there for TCP and UDP (as of DNS) the TCP port stays,
/// since UDP is not proxied.
fn ports(raw: &[RawPort]) -> Result<Vec<Port>, String> {
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    for port in raw {
        let port = service_port(port)?;
        let held = ports.get(&port.number);
        if held.is_none_or(|held| held.protocol == Protocol::Udp) {
            ports.insert(port.number, port);
        }
    }
    Ok(ports.into_values().collect())
}

fn service_port(raw: &RawPort) -> Result<Port, String> {
    let number = port_number(raw.port, "a port")?;
    let target = match &raw.target_port {
        None | Some(RawTarget::Number(0)) => TargetPort::Number(number),
        Some(RawTarget::Number(target)) => {
            TargetPort::Number(port_number(*target, "a targetPort")?)
        }
        Some(RawTarget::Name(name)) if name.is_empty() => TargetPort::Number(number),
        Some(RawTarget::Name(name)) => match name.parse() {
            Ok(target) => TargetPort::Number(target),
            Err(_) => TargetPort::Name(name.as_str().into()),
        },
    };
    let protocol = Protocol::of(ProtocolHint {
        name: &raw.name,
        app_protocol: raw.app_protocol.as_deref(),
        udp: raw.protocol == "UDP",
        number,
    });
    Ok(Port { number, name: raw.name.as_str().into(), protocol, target })
}

fn gateway(
    metadata: &Metadata,
    spec: &RawSpec,
    status: &RawStatus,
) -> Result<Option<Gateway>, String> {
    let Some(network) = metadata.labels.get(NETWORK).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let port = match metadata.labels.get(GATEWAY_PORT) {
        None => DEFAULT_GATEWAY_PORT,
        Some(text) => text
            .parse()
            .map_err(|_| format!("label {GATEWAY_PORT} is {text:?}, which is no port"))?,
    };
    let ingress = status.load_balancer.ingress.iter();
    let ingress = ingress.map(|i| if i.ip.is_empty() { &i.hostname } else { &i.ip });
    let addresses = spec.external_ips.iter().chain(ingress).filter(|address| !address.is_empty());
    Ok(Some(Gateway {
        network: network.into(),
        addresses: addresses.map(|address| Address::parse(address)).collect(),
        port,
        node_port: node_port(metadata.annotation(NODE_SELECTOR), spec, port)?,
    }))
}

/// The node port behind the gateway port, on the nodes that the annotation selects.
fn node_port(
    selector: Option<&str>,
    spec: &RawSpec,
    port: u16,
) -> Result<Option<(Labels, u16)>, String> {
    let Some(selector) = selector.filter(|_| spec.r#type == "NodePort") else { return Ok(None) };
    let labels: Labels = serde_json::from_str(selector)
        .map_err(|error| format!("annotation {NODE_SELECTOR} is no JSON map of labels: {error}"))?;
    let found = spec.ports.iter().find(|raw| raw.port == i64::from(port) && raw.node_port > 0);
    let Some(found) = found else { return Ok(None) };
    Ok(Some((labels, port_number(found.node_port, "a nodePort")?)))
}
