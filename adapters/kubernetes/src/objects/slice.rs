//! EndpointSlices.

use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{NodeName, PortName};
use serde::Deserialize;

use super::{Metadata, port_number};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MCS_SERVICE_NAME: &str = "multicluster.kubernetes.io/service-name";

/// What an EndpointSlice says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    /// The Service that it belongs to. None for slices of other origin, and for
    /// those imported from other clusters (MCS), which speak for themselves there.
    pub(crate) service: Option<Arc<str>>,
    /// Port name and number.
    pub(crate) ports: Vec<(PortName, u16)>,
    pub(crate) endpoints: Vec<SliceEndpoint>,
}

/// One address of a slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SliceEndpoint {
    pub(crate) address: IpAddr,
    pub(crate) condition: Condition,
    /// The Pod, of the slice's namespace, that it names.
    pub(crate) pod: Option<Arc<str>>,
    pub(crate) node: Option<NodeName>,
}

/// What an endpoint's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Ready, or nothing is known.
    Ready,
    /// Not ready, and not on its way out.
    NotReady,
    /// On its way out, still serving.
    Draining,
    /// On its way out.
    Terminating,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    ports: Vec<RawPort>,
    #[serde(default)]
    endpoints: Vec<RawEndpoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPort {
    name: String,
    port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawEndpoint {
    addresses: Vec<String>,
    conditions: RawConditions,
    target_ref: Option<RawTarget>,
    node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTarget {
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Slice {
    pub(super) fn read(raw: Raw) -> Result<Self, String> {
        let labels = &raw.metadata.labels;
        let imported = labels.get(MCS_SERVICE_NAME).is_some();
        let service = labels.get(SERVICE_NAME).filter(|name| !name.is_empty() && !imported);
        if raw.address_type == "FQDN" {
            return Err("addressType FQDN is not supported; use a Service of type ExternalName \
                 or a ServiceEntry for host names"
                .to_owned());
        }
        let mut endpoints = Vec::with_capacity(raw.endpoints.len());
        for endpoint in &raw.endpoints {
            let one = |address| slice_endpoint(endpoint, address, &raw.metadata.namespace);
            for address in &endpoint.addresses {
                endpoints.push(one(address)?);
            }
        }
        Ok(Self { service: service.map(Arc::from), ports: ports(&raw.ports)?, endpoints })
    }
}

/// A port without a number means all ports, which nothing here can use.
fn ports(raw: &[RawPort]) -> Result<Vec<(PortName, u16)>, String> {
    let named = |port: &RawPort, number: i64| {
        Ok((PortName::from(port.name.as_str()), port_number(number, "a port")?))
    };
    raw.iter().filter_map(|port| Some(named(port, port.port?))).collect()
}

fn slice_endpoint(
    raw: &RawEndpoint,
    address: &str,
    namespace: &str,
) -> Result<SliceEndpoint, String> {
    let address = address.parse().map_err(|_| format!("{address:?} is no IP address"))?;
    let pod = raw.target_ref.as_ref().filter(|target| target.kind == "Pod");
    if let Some(foreign) = pod.and_then(|pod| pod.namespace.as_deref())
        && foreign != namespace
    {
        return Err(format!("targetRef of {address} names a Pod of namespace {foreign:?}"));
    }
    Ok(SliceEndpoint {
        address,
        condition: Condition::of(&raw.conditions),
        pod: pod.map(|pod| Arc::from(pod.name.as_str())),
        node: raw.node_name.as_deref().filter(|name| !name.is_empty()).map(NodeName::from),
    })
}

impl Condition {
    fn of(raw: &RawConditions) -> Self {
        let serving = raw.serving.unwrap_or(false);
        match (raw.ready.unwrap_or(true), raw.terminating.unwrap_or(false)) {
            (true, _) => Self::Ready,
            (false, true) if serving => Self::Draining,
            (false, true) => Self::Terminating,
            (false, false) => Self::NotReady,
        }
    }
}
