//! A service of Mainstem's own documents.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::serviceentry::{Declared, Hosts, host_problem, port_problem};
use crate::{FieldPath, Problems};
use ipnet::IpNet;
use mainstem_model::{
    Address, ClusterAddresses, Hostname, NamespaceName, Origins, Port, Protocol, ProtocolHint,
    Resolution, Service, ServiceKey, TargetPort, TrafficDistribution, Visibility,
};

use super::endpoint::endpoints;
use super::spec::{
    Distribution, EndpointSpec, PortSpec, PortTarget, ServiceResolution, ServiceSpec,
};
use super::{Around, namespace_of};

/// The key of the service, whether or not the rest of it holds.
pub fn key(around: &Around, hostname: &str, namespace: &str) -> ServiceKey {
    let hostname = Hostname::normalised(hostname);
    let namespace: NamespaceName = match namespace_of(hostname.as_str()) {
        Some(shown) if namespace.is_empty() => shown.into(),
        _ => around.namespace_or(namespace),
    };
    ServiceKey::new(hostname, namespace)
}

/// The service and the endpoints that it lists.
///
/// # Errors
///
/// Every field that is wrong.
pub fn service(
    around: &Around,
    spec: &ServiceSpec,
    origins: &Origins,
) -> Result<Declared, Problems> {
    let mut problems = Problems::default();
    let root = FieldPath::root();
    let key = key(around, &spec.hostname, &spec.namespace);
    names(spec, &root, &mut problems);
    exclusions(spec, &root, &mut problems);
    let ports = ports(&spec.ports, &root.field("ports"), &mut problems);
    let (addresses, prefixes) = addresses(spec, &root, &mut problems);
    let service = Service {
        ports,
        resolution: resolution(spec),
        addresses: match addresses.is_empty() {
            true => ClusterAddresses::default(),
            false => [(around.entries.cluster.clone(), addresses)].into(),
        },
        prefixes,
        aliases: spec.aliases.iter().map(|name| Hostname::normalised(name)).collect(),
        alias_of: spec.alias_of.as_deref().map(Hostname::normalised),
        visibility: visibility(spec, key.namespace()),
        labels: spec.labels.clone(),
        selector: spec.selector.clone(),
        service_accounts: spec
            .service_accounts
            .iter()
            .map(|account| around.identity(account, key.namespace()))
            .collect(),
        external: spec.external,
        distribution: distribution(spec.traffic_distribution),
        ..Service::new(key, origins.clone())
    };
    let listed = match names_itself(spec) {
        true => vec![EndpointSpec { address: spec.hostname.clone(), ..EndpointSpec::default() }],
        false => spec.endpoints.clone(),
    };
    let endpoints = endpoints(around, &service, &listed, &root.field("endpoints"), &mut problems);
    problems.unless(|| Declared { service: Arc::new(service), endpoints })
}

fn names(spec: &ServiceSpec, root: &FieldPath, problems: &mut Problems) {
    let resolved =
        matches!(spec.resolution, ServiceResolution::Dns | ServiceResolution::DnsRoundRobin);
    let allowed = if resolved { Hosts::Exact } else { Hosts::OrWildcard };
    if let Some(problem) = host_problem(&spec.hostname, allowed) {
        problems.add(root.field("hostname"), problem);
    }
    let exact = spec
        .aliases
        .iter()
        .enumerate()
        .map(|(at, alias)| (alias, root.field("aliases").index(at)))
        .chain(spec.alias_of.iter().map(|name| (name, root.field("aliasOf"))));
    for (name, field) in exact {
        if let Some(problem) = host_problem(name, Hosts::Exact) {
            problems.add(field, problem);
        } else if Hostname::normalised(name) == Hostname::normalised(&spec.hostname) {
            problems.add(field, "names the service itself");
        }
    }
}

fn exclusions(spec: &ServiceSpec, root: &FieldPath, problems: &mut Problems) {
    let listed = !spec.endpoints.is_empty();
    if spec.alias_of.is_some() && (listed || !spec.selector.is_empty()) {
        problems.add(
            root.field("aliasOf"),
            "excludes endpoints and selector: another service has them",
        );
    }
    if spec.resolution == ServiceResolution::Passthrough && listed {
        problems
            .add(root.field("resolution"), "passthrough takes no endpoints; write static or dns");
    }
    if spec.resolution == ServiceResolution::DnsRoundRobin && spec.endpoints.len() > 1 {
        problems
            .add(root.field("resolution"), "dnsRoundRobin takes one endpoint at most; write dns");
    }
}

/// Whether the proxy resolves the service's own name, nothing else being named.
fn names_itself(spec: &ServiceSpec) -> bool {
    matches!(spec.resolution, ServiceResolution::Dns | ServiceResolution::DnsRoundRobin)
        && spec.endpoints.is_empty()
        && spec.selector.is_empty()
        && spec.alias_of.is_none()
        && !spec.hostname.starts_with('*')
}

fn ports(specs: &[PortSpec], field: &FieldPath, problems: &mut Problems) -> Vec<Port> {
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let field = field.index(at);
        let Some(port) = port(spec, &field, problems) else { continue };
        if !numbers.insert(port.number) {
            let problem = format!("port {} stands here twice", port.number);
            problems.add(field.field("number"), problem);
        }
        if !names.insert(port.name.clone()) {
            problems.add(field.field("name"), format!("{:?} names two ports", port.name));
        }
        ports.push(port);
    }
    ports.sort_by_key(|port| port.number);
    ports
}

fn port(spec: &PortSpec, field: &FieldPath, problems: &mut Problems) -> Option<Port> {
    let number = number(spec.number, field.field("number"), problems);
    let target = match &spec.target_port {
        None => number.map(TargetPort::Number),
        Some(PortTarget::Number(target)) => {
            self::number(*target, field.field("targetPort"), problems).map(TargetPort::Number)
        }
        Some(PortTarget::Name(name)) => Some(TargetPort::Name(name.as_str().into())),
    };
    let protocol = spec.protocol.to_ascii_lowercase();
    if !protocol.is_empty() && !is_protocol(&protocol) {
        problems.add(
            field.field("protocol"),
            format!(
                "{:?} is no protocol; there are http, http2, https, grpc, grpc-web, http_proxy, \
                 tcp, tls, mongo, redis, mysql, udp",
                spec.protocol
            ),
        );
    }
    let number = number?;
    let name = match (spec.name.as_str(), protocol.as_str()) {
        ("", "") => format!("port-{number}"),
        ("", protocol) => format!("{protocol}-{number}"),
        (name, _) => name.to_owned(),
    };
    let hint = ProtocolHint {
        name: &name,
        app_protocol: (!protocol.is_empty()).then_some(protocol.as_str()),
        udp: protocol == "udp",
        number,
    };
    let protocol = Protocol::of(hint);
    Some(Port { number, protocol, target: target?, name: name.into() })
}

/// A whole word, where a port's name may go on after it.
fn is_protocol(word: &str) -> bool {
    let whole = word == "grpc-web" || !word.contains('-');
    whole && Protocol::from_name(word) != Protocol::Unspecified
}

/// A port number, unless it is none.
pub(super) fn number(number: u32, field: FieldPath, problems: &mut Problems) -> Option<u16> {
    if let Some(problem) = port_problem(number) {
        problems.add(field, problem);
        return None;
    }
    u16::try_from(number).ok()
}

/// Single addresses and prefixes, each ascending.
fn addresses(
    spec: &ServiceSpec,
    root: &FieldPath,
    problems: &mut Problems,
) -> (Vec<IpAddr>, Vec<IpNet>) {
    let (mut single, mut wide) = (BTreeSet::new(), BTreeSet::new());
    for (at, text) in spec.addresses.iter().enumerate() {
        match (Address::parse(text).ip(), text.parse::<IpNet>()) {
            (Some(ip), _) => drop(single.insert(ip)),
            (None, Ok(net)) if net.prefix_len() == net.max_prefix_len() => {
                single.insert(net.addr());
            }
            (None, Ok(net)) => drop(wide.insert(net.trunc())),
            (None, Err(_)) => {
                let problem = format!("{text:?} is neither an IP address nor a CIDR prefix");
                problems.add(root.field("addresses").index(at), problem);
            }
        }
    }
    (single.into_iter().collect(), wide.into_iter().collect())
}

fn resolution(spec: &ServiceSpec) -> Resolution {
    match spec.resolution {
        _ if spec.alias_of.is_some() => Resolution::Alias,
        ServiceResolution::Static => Resolution::ClientSide,
        ServiceResolution::Dns => Resolution::Dns,
        ServiceResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        ServiceResolution::Passthrough => Resolution::Passthrough,
    }
}

fn visibility(spec: &ServiceSpec, namespace: &NamespaceName) -> Visibility {
    Visibility::parse(spec.export_to.iter().map(String::as_str), namespace).unwrap_or_default()
}

fn distribution(said: Option<Distribution>) -> TrafficDistribution {
    match said {
        None => TrafficDistribution::Unset,
        Some(Distribution::Close | Distribution::SameZone) => TrafficDistribution::PreferSameZone,
        Some(Distribution::SameNode) => TrafficDistribution::PreferSameNode,
    }
}
