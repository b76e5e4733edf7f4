//! One registered instance.

use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, Health, Labels, Locality, NetworkId, NodeName, ObjectRef, Origin, Origins,
    Place, Protocol, Rejected, SharedPlace, Sourced, TlsMode,
};

use super::{Context, INSTANCE, labels, revision};
use crate::api::{Instance, Node, RawInstance, Service, Weights};
use crate::config::Selector;
use crate::config::hostname::is_dns_name;

/// What one instance adds to its service.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// The instance.
    pub object: ObjectRef,
    /// Where it is reached. Its port is the service port's number, 0 where the
    /// instance names none.
    pub endpoint: Arc<Endpoint>,
    /// What is spoken there, if anybody says so.
    pub protocol: Option<Protocol>,
    /// Outside the mesh (metadata `external`).
    pub external: bool,
    /// The index at which it was last registered.
    pub registered: u64,
}

/// The object of an instance of `service`.
pub fn instance_object(service: &str, instance: &RawInstance) -> ObjectRef {
    let (id, node) = match instance {
        Ok(instance) => (&instance.service.id, &instance.node.node),
        Err(bad) => (&bad.id, &bad.node),
    };
    ObjectRef { kind: INSTANCE, name: Arc::from(format!("{service}/{id}@{node}")) }
}

/// What an instance of `service` contributes; `None` where it is a proxy or
/// gateway, or the selector leaves it out.
///
/// # Errors
/// [`Rejected`] with what to change.
pub fn contribution(
    context: Context<'_>,
    service: &str,
    instance: &RawInstance,
) -> Result<Option<Contribution>, Rejected> {
    let object = instance_object(service, instance);
    let made = match instance {
        Ok(instance) => contribute(context, instance, &object),
        Err(bad) => Err(bad.reason.clone()),
    };
    made.map_err(|reason| Rejected { object, reason })
}

fn contribute(
    context: Context<'_>,
    instance: &Instance,
    object: &ObjectRef,
) -> Result<Option<Contribution>, String> {
    let (service, select) = (&instance.service, &context.config.select);
    if !matches!(service.kind.as_str(), "" | "typical") || !selects(select, instance) {
        return Ok(None);
    }
    let (health, weight) = health(instance)?;
    if select.passing_only && health != Health::Healthy {
        return Ok(None);
    }
    let (address, target_port) = address(instance, context.config.tagged_address.as_deref())?;
    let port = service_port(service)?.or(context.config.service_port).unwrap_or(0);
    let endpoint = Endpoint {
        port_name: meta(service, "port-name").unwrap_or_default().into(),
        weight,
        health,
        tls_mode: TlsMode::default(),
        place: place(context, instance),
        labels: labels::labels(service, &context.config.tag_separators),
        ..Endpoint::new(port, address, target_port, origins(context, instance, object))
    };
    let tls_mode = tls_mode(&endpoint.labels);
    Ok(Some(Contribution {
        object: object.clone(),
        endpoint: Arc::new(Endpoint { tls_mode, ..endpoint }),
        protocol: protocol(service).or(context.config.protocol),
        external: meta(service, "external").is_some_and(|value| value != "false"),
        registered: service.modify_index,
    }))
}

fn place(context: Context<'_>, instance: &Instance) -> SharedPlace {
    let config = context.config;
    Place {
        cluster: config.cluster.clone(),
        network: network(instance).unwrap_or_else(|| config.network.clone()),
        locality: locality(instance),
        node: Some(NodeName::from(instance.node.node.as_str())),
    }
    .into()
}

fn origins(context: Context<'_>, instance: &Instance, object: &ObjectRef) -> Origins {
    let checks = instance.checks.iter().map(|check| check.modify_index);
    let newest = checks
        .chain([instance.service.modify_index, instance.node.modify_index])
        .max()
        .unwrap_or_default();
    let origin = Origin { registry: context.registry.clone(), object: object.clone(), via: None };
    Origins::from([Sourced { origin, revision: revision(newest) }])
}

fn selects(select: &Selector, instance: &Instance) -> bool {
    let service = &instance.service;
    let tagged = |tag: &String| service.tags.contains(tag);
    select.tags.iter().all(tagged)
        && !select.without_tags.iter().any(tagged)
        && select.metadata.iter().all(|(key, value)| service.meta.get(key) == Some(value))
        && select
            .node_metadata
            .iter()
            .all(|(key, value)| instance.node.meta.get(key) == Some(value))
}

/// Health and weight by the worst check, the node's checks and maintenance mode
/// (which is a critical check) included:
/// 1. critical is unhealthy;
/// 2. warning is degraded with the warning weight; a warning weight of 0 means
///    that the instance then takes no traffic, so it is unhealthy;
/// 3. otherwise healthy with the passing weight.
fn health(instance: &Instance) -> Result<(Health, u32), String> {
    let mut health = Health::Healthy;
    for check in &instance.checks {
        let of_check = match check.status.as_str() {
            "passing" => Health::Healthy,
            "warning" => Health::Degraded,
            "critical" | "maintenance" => Health::Unhealthy,
            other => {
                return Err(format!(
                    "its check {:?} has the status {other:?}; known are passing, warning and critical",
                    check.check_id
                ));
            }
        };
        health = health.max(of_check);
    }
    let weights = instance.service.weights.unwrap_or(Weights { passing: 1, warning: 1 });
    let passing = u32::try_from(weights.passing).unwrap_or(1).max(1);
    match (health, u32::try_from(weights.warning)) {
        (Health::Degraded, Ok(0)) => Ok((Health::Unhealthy, passing)),
        (Health::Degraded, Ok(warning)) => Ok((Health::Degraded, warning)),
        (health, _) => Ok((health, passing)),
    }
}

/// The address to connect to, in this order:
/// 1. the configured tagged address of the service, with its own port if it has one;
/// 2. the service's address; 3. its Unix socket, where it has no port;
/// 4. the configured tagged address of the node; 5. the node's address.
fn address(instance: &Instance, tagged: Option<&str>) -> Result<(Address, u16), String> {
    let (service, node) = (&instance.service, &instance.node);
    if service.port == 0 && service.address.is_empty() && !service.socket_path.is_empty() {
        return Ok((Address::Unix(Arc::from(service.socket_path.as_str())), 0));
    }
    let of_service = tagged.and_then(|tag| service.tagged_addresses.get(tag));
    let of_service = of_service.filter(|tagged| !tagged.address.is_empty());
    let of_node = tagged.and_then(|tag| node.tagged_addresses.get(tag));
    let (text, port) = match of_service {
        Some(tagged) if tagged.port > 0 => (&tagged.address, tagged.port),
        Some(tagged) => (&tagged.address, service.port),
        None if !service.address.is_empty() => (&service.address, service.port),
        None => (of_node.unwrap_or(&node.address), service.port),
    };
    Ok((read_address(text)?, read_port(port)?))
}

fn read_address(text: &str) -> Result<Address, String> {
    match Address::parse(text) {
        Address::Host(host) if !is_dns_name(host.as_str()) => {
            Err(format!("its address {text:?} is neither an IP address nor a host name"))
        }
        address => Ok(address),
    }
}

fn read_port(port: i64) -> Result<u16, String> {
    match u16::try_from(port) {
        Ok(0) => Err("it has no port: register one, or exclude the service".to_owned()),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("its port {port} is none; ports are 1 to 65535")),
    }
}

fn service_port(service: &Service) -> Result<Option<u16>, String> {
    let Some(text) = meta(service, "service-port") else { return Ok(None) };
    match text.parse() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(format!("its metadata service-port is {text:?}; ports are 1 to 65535")),
    }
}

/// Metadata `protocol`; one that is not known is sniffed, as Kubernetes'
/// `appProtocol` is.
fn protocol(service: &Service) -> Option<Protocol> {
    meta(service, "protocol").map(Protocol::from_name)
}

fn meta<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.meta.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// Where it runs, by the first that is known:
/// 1. metadata `locality` (`region/zone/subzone`) of the instance, then of the node;
/// 2. the locality of the registration, then of the node;
/// 3. node metadata `region`, `zone`, `subzone`;
/// 4. the datacenter as the region.
fn locality(instance: &Instance) -> Locality {
    let Instance { node, service, .. } = instance;
    if let Some(text) = meta(service, "locality").or(node_meta(node, "locality")) {
        return Locality::parse(text);
    }
    let registered = [&service.locality, &node.locality].into_iter().flatten();
    if let Some(known) = registered.into_iter().find(|l| !l.region.is_empty()) {
        return Locality::new(&known.region, &known.zone, "");
    }
    let [region, zone, subzone] =
        ["region", "zone", "subzone"].map(|key| node_meta(node, key).unwrap_or_default());
    match (region, zone) {
        ("", "") => Locality::new(&node.datacenter, "", ""),
        ("", zone) => Locality::new(&node.datacenter, zone, subzone),
        (region, zone) => Locality::new(region, zone, subzone),
    }
}

/// Metadata `network` of the instance, else of the node.
fn network(instance: &Instance) -> Option<NetworkId> {
    meta(&instance.service, "network").or(node_meta(&instance.node, "network")).map(NetworkId::from)
}

fn node_meta<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.meta.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// `security.istio.io/tlsMode`, which only a tag can carry: the agent refuses
/// such keys in metadata.
fn tls_mode(labels: &Labels) -> TlsMode {
    match labels.get("security.istio.io/tlsMode") {
        Some("istio") => TlsMode::Istio,
        _ => TlsMode::Disabled,
    }
}
