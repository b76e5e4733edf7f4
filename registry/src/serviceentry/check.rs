//! The rules that an entry must keep, each with the field and a message.

use std::collections::BTreeSet;

use ipnet::IpNet;
use mainstem_model::{Address, Hostname, Protocol};

use super::spec::{ServiceEntryPort, ServiceEntryResolution, ServiceEntrySpec, WorkloadEntrySpec};
use crate::{FieldPath, Problems};

/// Which host names may stand somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Exact names.
    Exact,
    /// Also `*.suffix`.
    OrWildcard,
}

/// What is wrong with a host name; `None` when nothing is.
pub fn host_problem(host: &str, allowed: Hosts) -> Option<String> {
    let exact = host.strip_prefix("*.");
    if exact.is_some() && allowed == Hosts::Exact {
        return Some(format!("{host:?} is a wildcard, which cannot stand here"));
    }
    let name = exact.unwrap_or(host).trim_end_matches('.');
    if name.is_empty() || name == "*" {
        return Some(format!("{host:?} is no host name; write a name such as db.example.com"));
    }
    if name.len() > 253 {
        return Some(format!("host name of {} characters; at most 253 are allowed", name.len()));
    }
    let bad = name.split('.').find(|label| !is_label(label))?;
    Some(format!(
        "{host:?} is no host name: {bad:?} must be 1 to 63 letters, digits, '-' or '_', \
         and not begin or end with '-'"
    ))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What is wrong with a port number; `None` when nothing is.
pub fn port_problem(number: u32) -> Option<String> {
    let valid = (1..=u32::from(u16::MAX)).contains(&number);
    (!valid).then(|| format!("{number} is no port; ports are 1 to 65535"))
}

/// Everything wrong with a ServiceEntry.
pub(super) fn service_entry(spec: &ServiceEntrySpec) -> Problems {
    let mut problems = Problems::default();
    let root = FieldPath::root();
    hosts(spec, &root, &mut problems);
    addresses(spec, &root, &mut problems);
    ports(&spec.ports, &root.field("ports"), &mut problems);
    resolution(spec, &root, &mut problems);
    endpoints(spec, &root.field("endpoints"), &mut problems);
    if spec.workload_selector.as_ref().is_some_and(|selector| selector.labels.is_empty()) {
        problems.add(root.field("workloadSelector"), "has no labels, so it would pick nothing");
    }
    problems
}

fn hosts(spec: &ServiceEntrySpec, root: &FieldPath, problems: &mut Problems) {
    if spec.hosts.is_empty() {
        problems.add(root.clone(), "names no host; add one under hosts");
    }
    // Proxies cannot resolve a wildcard; its endpoints must be known or wanted as they are.
    let allowed = match spec.resolution {
        ServiceEntryResolution::None | ServiceEntryResolution::Static => Hosts::OrWildcard,
        _ if spec.endpoints.is_empty() && spec.workload_selector.is_none() => Hosts::Exact,
        _ => Hosts::OrWildcard,
    };
    let mut seen = BTreeSet::new();
    for (at, host) in spec.hosts.iter().enumerate() {
        let field = root.field("hosts").index(at);
        if let Some(problem) = host_problem(host, allowed) {
            problems.add(field, problem);
        } else if !seen.insert(Hostname::normalised(host)) {
            problems.add(field, format!("{host:?} stands here twice"));
        }
    }
}

fn addresses(spec: &ServiceEntrySpec, root: &FieldPath, problems: &mut Problems) {
    use ServiceEntryResolution::{None, Static};
    for (at, text) in spec.addresses.iter().enumerate() {
        let field = root.field("addresses").index(at);
        let Some(prefix) = prefix(text) else {
            problems.add(field, format!("{text:?} is neither an IP address nor a CIDR prefix"));
            continue;
        };
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        if !single && !matches!(spec.resolution, None | Static) {
            let word = spec.resolution.word();
            problems.add(field, format!("{text:?} is a prefix, which resolution {word} forbids"));
        }
    }
}

/// An address, as a prefix of its whole length, or a prefix.
pub(super) fn prefix(text: &str) -> Option<IpNet> {
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => Some(IpNet::from(ip)),
        Err(_) => text.parse::<IpNet>().ok(),
    }
}

fn ports(ports: &[ServiceEntryPort], field: &FieldPath, problems: &mut Problems) {
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (at, port) in ports.iter().enumerate() {
        let field = field.index(at);
        if let Some(problem) = port_problem(port.number) {
            problems.add(field.field("number"), problem);
        } else if !numbers.insert(port.number) {
            let problem = format!("port {} stands here twice", port.number);
            problems.add(field.field("number"), problem);
        }
        if port.name.is_empty() {
            problems.add(field.clone(), "has no name");
        } else if !names.insert(&port.name) {
            problems.add(field.field("name"), format!("{:?} names two ports", port.name));
        }
        // 0 is what protobuf writes for "not set".
        if port.target_port != 0
            && let Some(problem) = port_problem(port.target_port)
        {
            problems.add(field.field("targetPort"), problem);
        }
        if !port.protocol.is_empty() && Protocol::from_name(&port.protocol) == Protocol::Unspecified
        {
            problems.add(field.field("protocol"), unknown_protocol(&port.protocol));
        }
    }
}

fn unknown_protocol(word: &str) -> String {
    format!(
        "{word:?} is no protocol; there are HTTP, HTTP2, HTTPS, GRPC, GRPC-WEB, TCP, TLS, \
         MONGO, REDIS, MYSQL, UDP"
    )
}

fn resolution(spec: &ServiceEntrySpec, root: &FieldPath, problems: &mut Problems) {
    let field = root.field("resolution");
    if !spec.endpoints.is_empty() && spec.workload_selector.is_some() {
        let problem = "excludes endpoints; keep one of the two";
        problems.add(root.field("workloadSelector"), problem);
    }
    match spec.resolution {
        ServiceEntryResolution::None if !spec.endpoints.is_empty() => {
            problems.add(field, "NONE takes no endpoints; write STATIC or DNS");
        }
        ServiceEntryResolution::DnsRoundRobin if spec.endpoints.len() > 1 => {
            problems.add(field, "DNS_ROUND_ROBIN takes one endpoint at most; write DNS");
        }
        ServiceEntryResolution::DynamicDns => {
            problems.add(field, "DYNAMIC_DNS is not supported; write DNS, or NONE for wildcards");
        }
        _ => {}
    }
}

fn endpoints(spec: &ServiceEntrySpec, field: &FieldPath, problems: &mut Problems) {
    for (at, endpoint) in spec.endpoints.iter().enumerate() {
        let field = field.index(at);
        entry(endpoint, &field, problems);
        let host = match Address::parse(&endpoint.address) {
            Address::Host(host) => Some(host),
            Address::Ip(_) => None,
            Address::Unix(_) => {
                unix(spec, &field, problems);
                None
            }
        };
        if let Some(host) = host
            && !host.is_empty()
            && spec.resolution == ServiceEntryResolution::Static
        {
            let problem = format!("{host:?} is a name; resolution STATIC takes IP addresses");
            problems.add(field.field("address"), problem);
        }
        for name in endpoint.ports.keys() {
            if !spec.ports.iter().any(|port| port.name == *name) {
                problems.add(field.field("ports").field(name), unknown_port(name, &spec.ports));
            }
        }
    }
}

fn unix(spec: &ServiceEntrySpec, field: &FieldPath, problems: &mut Problems) {
    if spec.resolution != ServiceEntryResolution::Static {
        problems.add(field.field("address"), "a Unix socket needs resolution STATIC");
    }
    if spec.ports.len() != 1 {
        problems.add(field.field("address"), "a Unix socket needs an entry with one port");
    }
}

fn unknown_port(name: &str, ports: &[ServiceEntryPort]) -> String {
    let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    format!("no port is named {name:?}; there are: {}", known.join(", "))
}

/// Everything wrong with a WorkloadEntry.
pub(super) fn workload_entry(spec: &WorkloadEntrySpec) -> Problems {
    let mut problems = Problems::default();
    entry(spec, &FieldPath::root(), &mut problems);
    problems
}

fn entry(spec: &WorkloadEntrySpec, field: &FieldPath, problems: &mut Problems) {
    if spec.address.is_empty() {
        let problem = "has no address; one that only its network's gateway reaches needs one too";
        problems.add(field.clone(), problem);
    }
    let at = field.field("address");
    match Address::parse(&spec.address) {
        Address::Unix(path) if !(path.starts_with('/') || path.starts_with('@')) => {
            problems.add(at, format!("{path:?} is no absolute path"));
        }
        Address::Unix(_) if !spec.ports.is_empty() => {
            problems.add(field.field("ports"), "a Unix socket has no ports");
        }
        Address::Host(host) if !spec.address.is_empty() => {
            if let Some(problem) = host_problem(host.as_str(), Hosts::Exact) {
                problems.add(at, problem);
            }
        }
        _ => {}
    }
    for (name, number) in &spec.ports {
        if let Some(problem) = port_problem(*number) {
            problems.add(field.field("ports").field(name), problem);
        }
    }
}
