//! Entries to values.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use mainstem_model::{
    Address, ClusterAddresses, ClusterId, Endpoint, Hostname, Labels, Locality, NamespaceName,
    NetworkId, Origins, Place, Port, Protocol, ProtocolHint, RegistryId, Resolution, Service,
    ServiceAccount, ServiceKey, SharedPlace, TargetPort, TlsMode, TrafficDistribution, Visibility,
    Workload, WorkloadKey,
};

use super::check;
use super::select::Declared;
use super::spec::{
    Location, ServiceEntryPort, ServiceEntryResolution, ServiceEntrySpec, WorkloadEntrySpec,
};
use crate::Problems;

/// What holds for every entry of a registry.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The registry.
    pub registry: RegistryId,
    /// The cluster that its workloads belong to.
    pub cluster: ClusterId,
    /// The network of workloads that name none.
    pub network: NetworkId,
    /// The locality of workloads that name none.
    pub locality: Locality,
    /// The trust domain of service accounts.
    pub trust_domain: Arc<str>,
}

impl Surroundings {
    /// The SPIFFE identity of a service account.
    pub fn identity(&self, namespace: &NamespaceName, account: &str) -> ServiceAccount {
        format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain).into()
    }
}

/// The object around a specification.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: Arc<str>,
    /// Its own labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Where it stands.
    pub origins: Origins,
}

/// The services that a ServiceEntry declares, one per host, in the order of its hosts.
///
/// # Errors
///
/// Every field that breaks a rule.
pub fn service_entry(
    around: &Surroundings,
    entry: &Entry,
    spec: &ServiceEntrySpec,
) -> Result<Vec<Declared>, Problems> {
    check::service_entry(spec).unless(|| {
        let template = service(around, entry, spec);
        let declare = |host: &String| declared(around, entry, spec, &template, host);
        spec.hosts.iter().map(declare).collect()
    })
}

/// The workload that a WorkloadEntry declares.
///
/// # Errors
///
/// Every field that breaks a rule.
pub fn workload_entry(
    around: &Surroundings,
    entry: &Entry,
    spec: &WorkloadEntrySpec,
) -> Result<Workload, Problems> {
    check::workload_entry(spec).unless(|| {
        let key = WorkloadKey::new(around.cluster.clone(), entry.namespace.clone(), &entry.name);
        // The object's own labels win over those of the specification, as in Istio.
        let labels = spec.labels.with(entry.labels.iter());
        Workload {
            addresses: address(spec).into_iter().collect(),
            network: network(around, spec, &labels),
            locality: locality(around, spec, &labels),
            identity: identity(around, &entry.namespace, spec),
            ports: spec.ports.iter().map(|(n, p)| (n.as_str().into(), port16(*p))).collect(),
            tls_mode: tls_mode(spec, &labels),
            weight: spec.weight.max(1),
            labels,
            ..Workload::new(key, entry.origins.clone())
        }
    })
}

/// The service without its host name.
fn service(around: &Surroundings, entry: &Entry, spec: &ServiceEntrySpec) -> Service {
    let prefixes: BTreeSet<IpNet> =
        spec.addresses.iter().filter_map(|text| check::prefix(text)).collect();
    let (single, wide): (Vec<IpNet>, Vec<IpNet>) =
        prefixes.into_iter().partition(|net| net.prefix_len() == net.max_prefix_len());
    let addresses: Vec<_> = single.iter().map(IpNet::addr).collect();
    let mut ports: Vec<Port> = spec.ports.iter().map(port).collect();
    ports.sort_by_key(|port| port.number);
    let key = ServiceKey::new("", entry.namespace.clone());
    Service {
        ports,
        resolution: resolution(spec.resolution),
        addresses: match addresses.is_empty() {
            true => ClusterAddresses::default(),
            false => [(around.cluster.clone(), addresses)].into(),
        },
        prefixes: wide.iter().map(IpNet::trunc).collect(),
        visibility: visibility(spec, &entry.namespace),
        labels: entry.labels.clone(),
        selector: spec.workload_selector.as_ref().map(|s| s.labels.clone()).unwrap_or_default(),
        service_accounts: spec.subject_alt_names.iter().map(|n| n.as_str().into()).collect(),
        external: spec.location == Location::External,
        distribution: distribution(entry),
        persistent_session: entry.labels.get("istio.io/persistent-session").map(Arc::from),
        ..Service::new(key, entry.origins.clone())
    }
}

fn declared(
    around: &Surroundings,
    entry: &Entry,
    spec: &ServiceEntrySpec,
    template: &Service,
    host: &str,
) -> Declared {
    let host = Hostname::normalised(host);
    let key = ServiceKey::new(host.clone(), entry.namespace.clone());
    let listed = spec.endpoints.iter();
    let mut endpoints: Vec<Arc<Endpoint>> =
        listed.flat_map(|endpoint| listed_endpoints(around, entry, spec, endpoint)).collect();
    let resolved = matches!(template.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if resolved && spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        // Nothing else is named, so the host itself is what gets resolved.
        let itself = WorkloadEntrySpec { address: host.to_string(), ..Default::default() };
        endpoints = listed_endpoints(around, entry, spec, &itself);
    }
    Declared { service: Arc::new(Service { key, ..template.clone() }), endpoints }
}

/// One endpoint of each service port.
fn listed_endpoints(
    around: &Surroundings,
    entry: &Entry,
    spec: &ServiceEntrySpec,
    endpoint: &WorkloadEntrySpec,
) -> Vec<Arc<Endpoint>> {
    let Some(address) = address(endpoint) else { return Vec::new() };
    let place = SharedPlace::from(Place {
        cluster: around.cluster.clone(),
        network: network(around, endpoint, &endpoint.labels),
        locality: locality(around, endpoint, &endpoint.labels),
        node: None,
    });
    let identity = identity(around, &entry.namespace, endpoint);
    let of_port = |port: &ServiceEntryPort| {
        let target = target_port(port, &address, endpoint);
        let origins = entry.origins.clone();
        Arc::new(Endpoint {
            port_name: port.name.as_str().into(),
            weight: endpoint.weight.max(1),
            tls_mode: tls_mode(endpoint, &endpoint.labels),
            place: place.clone(),
            identity: identity.clone(),
            labels: endpoint.labels.clone(),
            ..Endpoint::new(port16(port.number), address.clone(), target, origins)
        })
    };
    spec.ports.iter().map(of_port).collect()
}

/// As Istio: none on a Unix socket, else the endpoint's port of that name, the
/// service port's target, the service port itself.
fn target_port(port: &ServiceEntryPort, address: &Address, endpoint: &WorkloadEntrySpec) -> u16 {
    match (address, endpoint.ports.get(&port.name), port.target_port) {
        (Address::Unix(_), _, _) => 0,
        (_, Some(number), _) => port16(*number),
        (_, None, 0) => port16(port.number),
        (_, None, target) => port16(target),
    }
}

fn port(port: &ServiceEntryPort) -> Port {
    let number = port16(port.number);
    let target = if port.target_port == 0 { number } else { port16(port.target_port) };
    let declared = (!port.protocol.is_empty()).then_some(port.protocol.as_str());
    let udp = declared.is_some_and(|protocol| protocol.eq_ignore_ascii_case("udp"));
    let hint = ProtocolHint { name: &port.name, app_protocol: declared, udp, number };
    Port {
        number,
        name: port.name.as_str().into(),
        protocol: Protocol::of(hint),
        target: TargetPort::Number(target),
    }
}

fn port16(number: u32) -> u16 {
    u16::try_from(number).expect("ports were checked")
}

fn resolution(resolution: ServiceEntryResolution) -> Resolution {
    match resolution {
        ServiceEntryResolution::None | ServiceEntryResolution::DynamicDns => {
            Resolution::Passthrough
        }
        ServiceEntryResolution::Static => Resolution::ClientSide,
        ServiceEntryResolution::Dns => Resolution::Dns,
        ServiceEntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
    }
}

fn visibility(spec: &ServiceEntrySpec, namespace: &NamespaceName) -> Visibility {
    Visibility::parse(spec.export_to.iter().map(String::as_str), namespace).unwrap_or_default()
}

fn distribution(entry: &Entry) -> TrafficDistribution {
    match entry.annotations.get("networking.istio.io/traffic-distribution") {
        Some("PreferClose" | "PreferSameZone") => TrafficDistribution::PreferSameZone,
        Some("PreferSameNode") => TrafficDistribution::PreferSameNode,
        _ => TrafficDistribution::Unset,
    }
}

fn address(spec: &WorkloadEntrySpec) -> Option<Address> {
    (!spec.address.is_empty()).then(|| Address::parse(&spec.address))
}

fn network(around: &Surroundings, spec: &WorkloadEntrySpec, labels: &Labels) -> NetworkId {
    match (spec.network.as_str(), labels.get("topology.istio.io/network")) {
        ("", Some(label)) => label.into(),
        ("", None) => around.network.clone(),
        (own, _) => own.into(),
    }
}

fn locality(around: &Surroundings, spec: &WorkloadEntrySpec, labels: &Labels) -> Locality {
    let label = || labels.get("topology.istio.io/locality").or(labels.get("istio-locality"));
    match spec.locality.as_str() {
        "" => label().map_or_else(|| around.locality.clone(), Locality::parse),
        own => Locality::parse(own),
    }
}

fn identity(
    around: &Surroundings,
    namespace: &NamespaceName,
    spec: &WorkloadEntrySpec,
) -> Option<ServiceAccount> {
    let account = spec.service_account.as_str();
    (!account.is_empty()).then(|| around.identity(namespace, account))
}

/// The label decides; without it, a workload with an identity has a proxy.
fn tls_mode(spec: &WorkloadEntrySpec, labels: &Labels) -> TlsMode {
    match labels.get("security.istio.io/tlsMode") {
        Some("istio") => TlsMode::Istio,
        None if !spec.service_account.is_empty() => TlsMode::Istio,
        _ => TlsMode::Disabled,
    }
}
