//! A workload of Mainstem's own documents.

use std::sync::Arc;

use crate::{FieldPath, Problems};
use mainstem_model::{Origins, Workload, WorkloadKey};

use super::service::number;
use super::spec::WorkloadSpec;
use super::{Around, address, tls_mode, weight};

/// The workload.
///
/// # Errors
///
/// Every field that is wrong.
pub fn workload(
    around: &Around,
    spec: &WorkloadSpec,
    origins: &Origins,
) -> Result<Arc<Workload>, Problems> {
    let mut problems = Problems::default();
    let root = FieldPath::root();
    if spec.name.is_empty() {
        problems.add(root.field("name"), "is empty");
    }
    if spec.addresses.is_empty() {
        problems.add(root.field("addresses"), "has no address");
    }
    let place = |at| root.field("addresses").index(at);
    let addresses = spec
        .addresses
        .iter()
        .enumerate()
        .filter_map(|(at, text)| address(text, place(at), &mut problems))
        .collect();
    let port = |(name, port): (&String, &u32)| {
        let field = root.field("ports").field(name);
        Some((name.as_str().into(), number(*port, field, &mut problems)?))
    };
    let ports = spec.ports.iter().filter_map(port).collect();
    let weight = weight(spec.weight, &root, &mut problems);
    let namespace = around.namespace_or(&spec.namespace);
    let identity = around.identity_of(&spec.service_account, &namespace);
    let key = WorkloadKey::new(around.entries.cluster.clone(), namespace, &spec.name);
    problems.unless(|| {
        Arc::new(Workload {
            labels: spec.labels.clone(),
            addresses,
            network: around.network(&spec.network),
            locality: around.locality(&spec.locality),
            node: (!spec.node.is_empty()).then(|| spec.node.as_str().into()),
            ports,
            health: spec.health.into(),
            tls_mode: tls_mode(spec.tls_mode, &spec.labels, identity.as_ref()),
            identity,
            weight,
            ..Workload::new(key, origins.clone())
        })
    })
}
