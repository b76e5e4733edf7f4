//! What Consul's answers become: values in, values out.
//!
//! ```text
//! service list ── names ──▶ host name and namespace of each service to follow
//! instances ──── contribution ──▶ Contribution (an endpoint and its port) or Rejected
//! contributions ─ assemble ──▶ Service and EndpointSet
//! ```
//!
//! A malformed instance rejects itself; whoever holds its last good contribution
//! puts that among the others before assembling.

mod instance;
mod labels;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, EndpointSet, ObjectKind, ObjectRef, Port, PortName, Protocol, ProtocolHint,
    RegistryId, Rejected, Resolution, Revision, Service, ServiceKey, Sourced, TargetPort,
};

use crate::config::ConsulConfig;
use crate::config::hostname::namespace_of;

pub use instance::{Contribution, contribution, instance_object};

/// The kind of a registered instance: `service/id@node`.
pub const INSTANCE: ObjectKind = "instance";

/// The kind of a Consul service.
pub const SERVICE: ObjectKind = "service";

/// What every conversion of one registry reads.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The registry's configuration.
    pub config: &'a ConsulConfig,
    /// The registry.
    pub registry: &'a RegistryId,
    /// The datacenter that answers.
    pub datacenter: &'a str,
}

/// The services to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What each Consul service is in the mesh.
    pub services: BTreeMap<Arc<str>, ServiceKey>,
    /// Those that cannot be in the mesh.
    pub rejected: BTreeMap<ObjectRef, Rejected>,
}

/// What the services of a list are in the mesh. Those that configuration leaves
/// out are not mentioned. Of several with one host name the first by name keeps it.
pub fn names<'a>(context: Context<'_>, listed: impl IntoIterator<Item = &'a str>) -> Names {
    let config = context.config;
    let listed: BTreeSet<&str> = listed.into_iter().collect();
    let mut taken: BTreeMap<ServiceKey, &str> = BTreeMap::new();
    let mut names = Names::default();
    for name in listed.into_iter().filter(|name| follows(config, name)) {
        match free_key(context, name, &taken) {
            Ok(key) => {
                taken.insert(key.clone(), name);
                names.services.insert(Arc::from(name), key);
            }
            Err(reason) => {
                let object = service_object(name);
                names.rejected.insert(object.clone(), Rejected { object, reason });
            }
        }
    }
    names
}

fn follows(config: &ConsulConfig, name: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|p| pattern::matches(p, name));
    (config.include.is_empty() || any(&config.include)) && !any(&config.exclude)
}

fn free_key(
    context: Context<'_>,
    name: &str,
    taken: &BTreeMap<ServiceKey, &str>,
) -> Result<ServiceKey, String> {
    let config = context.config;
    let hostname = config.hostname(name, context.datacenter).ok_or_else(|| {
        format!(
            "by the template {} it has no DNS name: rename the service or exclude it",
            config.template()
        )
    })?;
    let namespace = namespace_of(&hostname).unwrap_or_else(|| config.namespace.clone());
    let key = ServiceKey::new(hostname, namespace);
    match taken.get(&key) {
        Some(other) => Err(format!(
            "its host name {} is already that of the service {other:?}: rename one or exclude it",
            key.hostname()
        )),
        None => Ok(key),
    }
}

/// The object of a Consul service.
pub fn service_object(name: &str) -> ObjectRef {
    ObjectRef { kind: SERVICE, name: Arc::from(name) }
}

/// Service and endpoints of these contributions, which stand in the order of
/// their objects. `None` without any: what has no instance does not exist.
///
/// Ports: each service port that an instance names; where none does, one port
/// with the lowest number that an instance listens on. Of several instances that
/// disagree on a port's name or protocol the first one counts.
pub fn assemble<'a>(
    context: Context<'_>,
    name: &str,
    key: &ServiceKey,
    contributions: impl IntoIterator<Item = &'a Contribution>,
) -> Option<(Service, EndpointSet)> {
    let contributions: Vec<&Contribution> = contributions.into_iter().collect();
    let newest = contributions.iter().map(|c| c.registered).max()?;
    let origins = Sourced::only(context.registry, SERVICE, name, &newest.to_string());
    let mut service = Service::new(key.clone(), origins);
    service.ports = ports(&contributions);
    service.external = contributions.iter().any(|c| c.external);
    if contributions.iter().any(|c| matches!(c.endpoint.address, Address::Host(_))) {
        service.resolution = Resolution::Dns;
    }
    let endpoints: Vec<Arc<Endpoint>> = contributions.iter().map(|c| c.endpoint.clone()).collect();
    Some((service, EndpointSet::new(key.clone(), endpoints)))
}

fn ports(contributions: &[&Contribution]) -> Vec<Port> {
    let mut ports: BTreeMap<u16, &Contribution> = BTreeMap::new();
    for contribution in contributions.iter().filter(|c| c.endpoint.port > 0) {
        ports.entry(contribution.endpoint.port).or_insert(contribution);
    }
    if ports.is_empty() {
        let lowest = contributions
            .iter()
            .filter(|c| c.endpoint.target_port > 0)
            .min_by_key(|c| c.endpoint.target_port);
        ports.extend(lowest.map(|c| (c.endpoint.target_port, *c)));
    }
    let mut named: BTreeSet<PortName> = BTreeSet::new();
    ports
        .into_iter()
        .map(|(number, contribution)| {
            let protocol = protocol(contribution, number);
            let name = free_name(&contribution.endpoint.port_name, protocol, number, &named);
            named.insert(name.clone());
            let target = TargetPort::Number(contribution.endpoint.target_port);
            Port { number, name, protocol, target }
        })
        .collect()
}

fn protocol(contribution: &Contribution, number: u16) -> Protocol {
    contribution.protocol.unwrap_or_else(|| {
        let name = contribution.endpoint.port_name.as_str();
        Protocol::of(ProtocolHint { name, number, ..ProtocolHint::default() })
    })
}

/// The declared name if it is free, else protocol and number.
fn free_name(
    declared: &PortName,
    protocol: Protocol,
    number: u16,
    named: &BTreeSet<PortName>,
) -> PortName {
    if !declared.is_empty() && !named.contains(declared) {
        return declared.clone();
    }
    match protocol {
        Protocol::Unspecified => format!("port-{number}").into(),
        protocol => format!("{}-{number}", word(protocol)).into(),
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::HttpProxy => "http_proxy",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::GrpcWeb => "grpc-web",
        Protocol::Https => "https",
        Protocol::Tls => "tls",
        Protocol::Tcp => "tcp",
        Protocol::Mongo => "mongo",
        Protocol::Redis => "redis",
        Protocol::Mysql => "mysql",
        Protocol::Udp => "udp",
        Protocol::Unspecified => "port",
    }
}

/// The revision of an instance: the last change of anything that it is made of.
fn revision(index: u64) -> Revision {
    Arc::from(index.to_string())
}

#[cfg(test)]
mod tests;
