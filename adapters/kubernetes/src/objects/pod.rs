//! Pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mainstem_model::{Health, Labels, NodeName, PortName};
use serde::Deserialize;

use super::{Metadata, port_number};

/// What a Pod says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) labels: Labels,
    /// Its addresses, the preferred one first; none while it is pending.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) node: Option<NodeName>,
    pub(crate) account: String,
    pub(crate) ports: BTreeMap<PortName, u16>,
    pub(crate) health: Health,
    /// Has run to its end (phase `Succeeded` or `Failed`).
    pub(crate) over: bool,
}

#[derive(Debug, Deserialize)]
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
    node_name: String,
    service_account_name: String,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawContainer {
    ports: Vec<RawPort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    #[serde(default)]
    name: String,
    container_port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawIp>,
    conditions: Vec<RawCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawIp {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    r#type: String,
    status: String,
}

impl Pod {
    pub(super) fn read(raw: Raw) -> Result<Self, String> {
        let Raw { metadata, spec, status } = raw;
        let account = Some(spec.service_account_name).filter(|name| !name.is_empty());
        Ok(Self {
            health: health(&metadata, &status),
            labels: metadata.labels,
            addresses: addresses(&status)?,
            node: Some(spec.node_name).filter(|name| !name.is_empty()).map(NodeName::from),
            account: account.unwrap_or_else(|| "default".to_owned()),
            ports: named_ports(spec.containers.iter().chain(&spec.init_containers))?,
            over: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        })
    }
}

fn health(metadata: &Metadata, status: &RawStatus) -> Health {
    let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
    match (&metadata.deletion_timestamp, ready.is_some_and(|ready| ready.status == "True")) {
        (Some(_), true) => Health::Draining,
        (None, true) => Health::Healthy,
        (_, false) => Health::Unhealthy,
    }
}

fn addresses(status: &RawStatus) -> Result<Vec<IpAddr>, String> {
    let single = status.pod_ips.is_empty().then_some(&status.pod_ip);
    let all = status.pod_ips.iter().map(|raw| &raw.ip).chain(single);
    let all = all.filter(|text| !text.is_empty());
    all.map(|text| text.parse().map_err(|_| format!("podIP {text:?} is no IP address"))).collect()
}

/// A name that several containers use belongs to the first, as for Services.
fn named_ports<'a>(
    containers: impl Iterator<Item = &'a RawContainer>,
) -> Result<BTreeMap<PortName, u16>, String> {
    let mut ports = BTreeMap::new();
    for port in containers.flat_map(|container| &container.ports) {
        if !port.name.is_empty() {
            let number = port_number(port.container_port, "a containerPort")?;
            ports.entry(port.name.as_str().into()).or_insert(number);
        }
    }
    Ok(ports)
}
