//! Workloads from Pods.

use mainstem_model::{Address, Labels, Locality, NetworkId, TlsMode, Workload, WorkloadKey};

use super::{Settings, augmented};
use crate::api::Kind;
use crate::names::ObjectName;
use crate::objects::{NETWORK, Node, Pod};

const TLS_MODE: &str = "security.istio.io/tlsMode";
const LOCALITY: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];

/// The workload that a Pod is, not placed yet.
pub(crate) fn from_pod(
    settings: &Settings,
    name: &ObjectName,
    revision: &str,
    pod: &Pod,
) -> Workload {
    let key = WorkloadKey::new(settings.cluster.clone(), name.namespace.clone(), &name.name);
    let origins = settings.origins(Kind::Pod.name(), name, revision);
    Workload {
        addresses: pod.addresses.iter().copied().map(Address::Ip).collect(),
        node: pod.node.clone(),
        identity: Some(settings.identity(name.namespace.as_str(), &pod.account)),
        ports: pod.ports.clone(),
        health: pod.health,
        tls_mode: tls_mode(&pod.labels),
        ..Workload::new(key, origins)
    }
}

/// Sets what follows from where the workload runs, given its own labels, its node
/// where that is known, and the network of addresses that say nothing:
///
/// - locality: its label, else its node's;
/// - network: its label, else the default;
/// - labels: its own, and these as labels.
pub(crate) fn place(
    workload: &mut Workload,
    own: &Labels,
    node: Option<&Node>,
    network: &NetworkId,
) {
    workload.locality = locality(own, node);
    workload.network = match own.get(NETWORK) {
        Some(name) if !name.is_empty() => NetworkId::from(name),
        _ => network.clone(),
    };
    workload.labels = augmented(
        own,
        workload.key.cluster(),
        &workload.network,
        &workload.locality,
        workload.node.as_ref(),
    );
}

fn locality(own: &Labels, node: Option<&Node>) -> Locality {
    let label = LOCALITY.iter().find_map(|label| own.get(label)).filter(|text| !text.is_empty());
    match (label, node) {
        (Some(text), _) => Locality::parse(text),
        (None, Some(node)) => node.locality.clone(),
        (None, None) => Locality::default(),
    }
}

fn tls_mode(labels: &Labels) -> TlsMode {
    match labels.get(TLS_MODE) {
        Some("istio") => TlsMode::Istio,
        _ => TlsMode::Disabled,
    }
}
