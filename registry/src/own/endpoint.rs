//! The endpoints that a service lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{FieldPath, Problems};
use mainstem_model::{Address, Endpoint, Place, Port, Service, SharedPlace, TargetPort};

use super::service::number;
use super::spec::EndpointSpec;
use super::{Around, address, tls_mode, weight};

/// One endpoint of each service port for each one listed.
pub(super) fn endpoints(
    around: &Around,
    service: &Service,
    specs: &[EndpointSpec],
    field: &FieldPath,
    problems: &mut Problems,
) -> Vec<Arc<Endpoint>> {
    let mut endpoints = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        endpoints.extend(of_ports(around, service, spec, &field.index(at), problems));
    }
    let mut seen = BTreeSet::new();
    for endpoint in &endpoints {
        if !seen.insert(endpoint.key()) {
            let (.., address, target) = endpoint.key();
            let problem = format!("{address} port {target} stands here twice");
            problems.add(field.clone(), problem);
        }
    }
    endpoints
}

fn of_ports(
    around: &Around,
    service: &Service,
    spec: &EndpointSpec,
    field: &FieldPath,
    problems: &mut Problems,
) -> Vec<Arc<Endpoint>> {
    let addresses = addresses(spec, field, problems);
    let weight = weight(spec.weight, field, problems);
    check_ports(service, spec, field, problems);
    let Some((first, more)) = addresses.split_first() else { return Vec::new() };
    let more = (!more.is_empty()).then(|| Arc::new(more.to_vec()));
    let identity = around.identity_of(&spec.service_account, service.namespace());
    let place = SharedPlace::from(Place {
        cluster: around.entries.cluster.clone(),
        network: around.network(&spec.network),
        locality: around.locality(&spec.locality),
        node: (!spec.node.is_empty()).then(|| spec.node.as_str().into()),
    });
    let mut endpoint = |port: &Port| {
        let target = target(port, first, spec, field, problems)?;
        let base = Endpoint::new(port.number, first.clone(), target, service.origins.clone());
        Some(Arc::new(Endpoint {
            port_name: port.name.clone(),
            more_addresses: more.clone(),
            weight,
            health: spec.health.into(),
            tls_mode: tls_mode(spec.tls_mode, &spec.labels, identity.as_ref()),
            place: place.clone(),
            identity: identity.clone(),
            labels: spec.labels.clone(),
            ..base
        }))
    };
    service.ports.iter().filter_map(&mut endpoint).collect()
}

fn addresses(spec: &EndpointSpec, field: &FieldPath, problems: &mut Problems) -> Vec<Address> {
    match (spec.address.as_str(), spec.addresses.as_slice()) {
        ("", []) => {
            problems.add(field.clone(), "has no address");
            Vec::new()
        }
        ("", many) => {
            let place = |at| field.field("addresses").index(at);
            let read = many.iter().enumerate();
            read.filter_map(|(at, text)| address(text, place(at), problems)).collect()
        }
        (one, []) => address(one, field.field("address"), problems).into_iter().collect(),
        _ => {
            problems.add(field.field("addresses"), "excludes address; keep one of the two");
            Vec::new()
        }
    }
}

fn check_ports(service: &Service, spec: &EndpointSpec, field: &FieldPath, problems: &mut Problems) {
    for name in spec.ports.keys() {
        let target = TargetPort::Name(name.as_str().into());
        let known = service.port_named(name).is_some()
            || service.ports.iter().any(|port| port.target == target);
        if !known {
            let names: Vec<&str> = service.ports.iter().map(|port| port.name.as_str()).collect();
            let problem =
                format!("the service has no port {name:?}; there are: {}", names.join(", "));
            problems.add(field.field("ports").field(name), problem);
        }
    }
    if spec.port.is_some() && service.ports.len() > 1 {
        let problem = "the service has several ports; name them under ports";
        problems.add(field.field("port"), problem);
    }
    for (name, port) in &spec.ports {
        number(*port, field.field("ports").field(name), problems);
    }
}

/// Where the service port leads, in this order: none on a Unix socket, the
/// endpoint's port of the service port's name, its only port, the service
/// port's target.
fn target(
    port: &Port,
    address: &Address,
    spec: &EndpointSpec,
    field: &FieldPath,
    problems: &mut Problems,
) -> Option<u16> {
    if matches!(address, Address::Unix(_)) {
        return Some(0);
    }
    if let Some(own) = spec.ports.get(port.name.as_str()) {
        // What is no port was found when the names were looked at.
        return u16::try_from(*own).ok();
    }
    if let Some(own) = spec.port {
        return number(own, field.field("port"), problems);
    }
    match &port.target {
        TargetPort::Number(target) => Some(*target),
        TargetPort::Name(name) => match spec.ports.get(name.as_str()) {
            Some(own) => u16::try_from(*own).ok(),
            None => {
                let problem = format!(
                    "has no port {name:?}, where service port {} leads; add it under ports",
                    port.number
                );
                problems.add(field.clone(), problem);
                None
            }
        },
    }
}
