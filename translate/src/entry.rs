//! Services as Istio's ServiceEntries, for control planes that import them.
//!
//! What a ServiceEntry cannot say stands in annotations and labels under
//! `mainstem.io/`, which another Mainstem reads and istiod passes over: origins, and
//! that an endpoint is degraded. Endpoints that take no traffic are left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_model::{
    Address, ClusterId, Endpoint, EndpointSet, Health, NamespaceName, Origins, Port, Protocol,
    Resolution, Service, ServiceAccount, TargetPort, TlsMode, TrafficDistribution, Via, Visibility,
};
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::istio::{
    DEGRADED, HEALTH, Metadata, ORIGIN, ORIGINS, Resource, SERVICE_ENTRY, ServiceEntry,
    ServicePort, WorkloadEntry,
};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::endpoint::{self, Audience};

/// `namespace/hostname`: the name of a service's entry.
pub(crate) fn name(service: &Service) -> String {
    format!("{}/{}", service.namespace(), service.hostname())
}

/// The encoded `istio.mcp.v1alpha1.Resource` of a service. `home` is the cluster of
/// the control plane that exports it.
pub(crate) fn resource(
    service: &Service,
    endpoints: Option<&EndpointSet>,
    home: &ClusterId,
) -> Bytes {
    let mut origins = Catalog::new(home);
    let own = origins.numbers(&service.origins);
    let entry = service_entry(service, endpoints, &mut origins);
    let body = Bytes::from(entry.encode_to_vec());
    let mut annotations =
        BTreeMap::from([(ORIGINS.to_owned(), origins.list()), (ORIGIN.to_owned(), own)]);
    if let Some(word) = distribution(service.distribution) {
        annotations.insert("networking.istio.io/traffic-distribution".to_owned(), word.to_owned());
    }
    let mut metadata = Metadata {
        name: name(service),
        labels: service.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        annotations,
        ..Metadata::default()
    };
    let content = [metadata.encode_to_vec(), body.to_vec()].concat();
    metadata.version = format!("{:016x}", xxh3_64(&content));
    let body = Some(Any { type_url: SERVICE_ENTRY.to_owned(), value: body });
    Resource { metadata: Some(metadata), body }.encode_to_vec().into()
}

fn service_entry(
    service: &Service,
    endpoints: Option<&EndpointSet>,
    origins: &mut Catalog<'_>,
) -> ServiceEntry {
    let all = endpoints.map_or(&[][..], EndpointSet::endpoints);
    let aliased = service.alias_of.as_ref();
    let listed = match aliased {
        Some(target) => vec![named(target.as_str())],
        None => workloads(service, all, origins),
    };
    ServiceEntry {
        hosts: vec![service.hostname().to_string()],
        addresses: addresses(service),
        ports: service.ports.iter().map(port).collect(),
        location: i32::from(!service.external),
        resolution: resolution(endpoint::resolution(service, endpoints, Audience::Envoy)),
        endpoints: listed,
        export_to: export_to(&service.visibility),
        subject_alt_names: service.service_accounts.iter().map(ToString::to_string).collect(),
        // Workloads are not exported, and their endpoints stand here.
        workload_selector: None,
    }
}

fn named(host: &str) -> WorkloadEntry {
    WorkloadEntry { address: host.to_owned(), ..WorkloadEntry::default() }
}

/// Virtual addresses of all clusters, then prefixes.
fn addresses(service: &Service) -> Vec<String> {
    let mut single: Vec<_> = service.addresses.values().flatten().collect();
    single.sort();
    single.dedup();
    let single = single.into_iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string);
    single.chain(service.prefixes.iter().map(ToString::to_string)).collect()
}

fn port(port: &Port) -> ServicePort {
    let target = match port.target {
        TargetPort::Number(number) if number != port.number => number,
        // Every endpoint names its own.
        TargetPort::Number(_) | TargetPort::Name(_) => 0,
    };
    let protocol = match port.protocol {
        Protocol::Unspecified => String::new(),
        known => known.as_str().to_ascii_uppercase(),
    };
    ServicePort {
        number: port.number.into(),
        protocol,
        name: port.name.to_string(),
        target_port: target.into(),
    }
}

/// The numbers of `ServiceEntry.Resolution`.
fn resolution(resolution: Resolution) -> i32 {
    match resolution {
        Resolution::Passthrough => 0,
        Resolution::ClientSide => 1,
        Resolution::Dns | Resolution::Alias => 2,
        Resolution::DnsRoundRobin => 3,
    }
}

fn export_to(visibility: &Visibility) -> Vec<String> {
    match visibility {
        Visibility::Unset => Vec::new(),
        Visibility::Public => vec!["*".to_owned()],
        Visibility::Namespaces(none) if none.is_empty() => vec!["~".to_owned()],
        Visibility::Namespaces(some) => some.iter().map(NamespaceName::to_string).collect(),
    }
}

fn distribution(distribution: TrafficDistribution) -> Option<&'static str> {
    match distribution {
        TrafficDistribution::Unset => None,
        TrafficDistribution::PreferSameZone => Some("PreferClose"),
        TrafficDistribution::PreferSameNode => Some("PreferSameNode"),
    }
}

/// The endpoints that take traffic: those of several ports that are alike in all
/// else are one.
fn workloads(
    service: &Service,
    endpoints: &[Arc<Endpoint>],
    origins: &mut Catalog<'_>,
) -> Vec<WorkloadEntry> {
    let mut all: BTreeMap<Vec<u8>, WorkloadEntry> = BTreeMap::new();
    let serving =
        endpoints.iter().filter(|e| matches!(e.health, Health::Healthy | Health::Degraded));
    for endpoint in serving {
        let entry = workload(service, endpoint, origins);
        let known = all.entry(entry.encode_to_vec()).or_insert(entry);
        if !matches!(endpoint.address, Address::Unix(_)) {
            let name = service.port(endpoint.port).map_or("", |port| port.name.as_str());
            known.ports.insert(name.to_owned(), endpoint.target_port.into());
        }
    }
    all.into_values().collect()
}

fn workload(service: &Service, endpoint: &Endpoint, origins: &mut Catalog<'_>) -> WorkloadEntry {
    let labels = endpoint.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
    let mut labels: BTreeMap<String, String> = labels.collect();
    labels.insert(ORIGIN.to_owned(), origins.numbers(&endpoint.origins));
    if endpoint.health == Health::Degraded {
        labels.insert(HEALTH.to_owned(), DEGRADED.to_owned());
    }
    if endpoint.tls_mode == TlsMode::Istio {
        labels.insert("security.istio.io/tlsMode".to_owned(), "istio".to_owned());
    }
    let locality = &endpoint.place.locality;
    WorkloadEntry {
        address: endpoint.address.to_string(),
        ports: BTreeMap::new(),
        labels,
        network: endpoint.place.network.to_string(),
        locality: if locality.is_unknown() { String::new() } else { locality.to_string() },
        weight: endpoint.weight,
        service_account: account(service, endpoint.identity.as_ref()),
    }
}

/// The name of the service account, where it is one of the service's namespace:
/// that is how it is read.
fn account(service: &Service, identity: Option<&ServiceAccount>) -> String {
    let within = format!("/ns/{}/sa/", service.namespace());
    let name = identity.and_then(|identity| identity.as_str().split_once(&within));
    name.map_or_else(String::new, |(_, name)| name.to_owned())
}

/// The origins of one entry, numbered as they come.
pub(crate) struct Catalog<'a> {
    home: &'a ClusterId,
    known: BTreeMap<Via, usize>,
}

impl<'a> Catalog<'a> {
    /// None yet, of what `home` exports.
    pub(crate) fn new(home: &'a ClusterId) -> Self {
        Self { home, known: BTreeMap::new() }
    }

    /// The numbers of some of them, joined by dots.
    pub(crate) fn numbers(&mut self, origins: &Origins) -> String {
        let numbers = origins.iter().map(|sourced| {
            let via = match &sourced.origin.via {
                Some(via) => via.through(self.home),
                None => Via::new(self.home, &sourced.origin),
            };
            let next = self.known.len();
            self.known.entry(via).or_insert(next).to_string()
        });
        numbers.collect::<Vec<_>>().join(".")
    }

    /// All as a JSON list.
    pub(crate) fn list(&self) -> String {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(_, number)| **number);
        let texts: Vec<_> = all.into_iter().map(|(via, _)| via.to_string()).collect();
        serde_json::to_string(&texts).expect("a list of texts is JSON")
    }
}

#[cfg(test)]
mod tests;
