//! Endpoints: where a service port can be reached.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::origin::same_origins;
use crate::{
    Hostname, Labels, NetworkId, Origins, PortName, ServiceAccount, ServiceKey, SharedPlace,
    WorkloadKey,
};

/// Something that can be connected to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name that has to be resolved.
    Host(Hostname),
    /// A Unix domain socket's path.
    Unix(Arc<str>),
}

impl Address {
    /// Reads an address as registries write it: an IP address, `unix:///path`, else a host name.
    pub fn parse(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("unix://") {
            return Self::Unix(Arc::from(path));
        }
        match text.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Host(Hostname::normalised(text)),
        }
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Host(host) => host.fmt(f),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the registry says of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Takes traffic.
    #[default]
    Healthy,
    /// Takes traffic when too few healthy ones are left (Consul *warning*).
    Degraded,
    /// Finishes what it has (persistent sessions).
    Draining,
    /// Takes none (Consul *critical*).
    Unhealthy,
}

/// Whether the workload's proxy accepts mesh TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// Plain text only.
    #[default]
    Disabled,
    /// Mesh mutual TLS (`security.istio.io/tlsMode: istio`).
    Istio,
}

/// One way to reach one service port. Under 100 bytes; share it by [`Arc`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The service port's number; 0 in a contribution means "the service's only port".
    pub port: u16,
    /// The service port's name, by which it is matched where the number is unknown.
    pub port_name: PortName,
    /// Where to connect first.
    pub address: Address,
    /// Further addresses of the same endpoint (dual stack), in order of preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more_addresses: Option<Arc<Vec<Address>>>,
    /// The port to connect to.
    pub target_port: u16,
    /// Relative share of traffic, at least 1.
    pub weight: u32,
    /// What the registry says of its health.
    pub health: Health,
    /// Whether it accepts mesh TLS.
    pub tls_mode: TlsMode,
    /// The merge policy's tier; 0 is used first.
    pub tier: u8,
    /// Used after everything else: kept by the withdrawal guard though its registry
    /// withdrew it, or brought by a registry whose state expired.
    pub held: bool,
    /// Where it runs.
    #[serde(flatten)]
    pub place: SharedPlace,
    /// The workload behind it, where the registry knows workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadKey>,
    /// The identity that its proxy presents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<ServiceAccount>,
    /// Its workload's labels.
    pub labels: Labels,
    /// Who says so; fields come from the first.
    pub origins: Origins,
}

/// The identity of an endpoint within its service.
pub type EndpointKey<'a> = (u16, &'a NetworkId, &'a Address, u16);

impl Endpoint {
    /// A healthy endpoint of weight 1 with everything else unknown.
    pub fn new(port: u16, address: Address, target_port: u16, origins: Origins) -> Self {
        Self {
            port,
            port_name: PortName::default(),
            address,
            more_addresses: None,
            target_port,
            weight: 1,
            health: Health::default(),
            tls_mode: TlsMode::default(),
            tier: 0,
            held: false,
            place: SharedPlace::default(),
            workload: None,
            identity: None,
            labels: Labels::default(),
            origins,
        }
    }

    /// Its identity and its place in an [`EndpointSet`].
    pub fn key(&self) -> EndpointKey<'_> {
        (self.port, &self.place.network, &self.address, self.target_port)
    }

    /// All addresses, the first first.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.address)
            .chain(self.more_addresses.iter().flat_map(|more| more.iter()))
    }

    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        // Destructured so that a new field cannot be forgotten here.
        let Self {
            port,
            port_name,
            address,
            more_addresses,
            target_port,
            weight,
            health,
            tls_mode,
            tier,
            held,
            place,
            workload,
            identity,
            labels,
            origins,
        } = self;
        *port == other.port
            && *port_name == other.port_name
            && *address == other.address
            && *more_addresses == other.more_addresses
            && *target_port == other.target_port
            && *weight == other.weight
            && *health == other.health
            && *tls_mode == other.tls_mode
            && *tier == other.tier
            && *held == other.held
            && *place == other.place
            && *workload == other.workload
            && *identity == other.identity
            && *labels == other.labels
            && same_origins(origins, &other.origins)
    }
}

/// All endpoints of one service, from one registry or merged, ascending by
/// [`Endpoint::key`], each key once.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSet {
    /// The service.
    pub service: ServiceKey,
    endpoints: Vec<Arc<Endpoint>>,
}

impl EndpointSet {
    /// Sorts `endpoints`; of several with one key the first one given stays.
    pub fn new(service: ServiceKey, mut endpoints: Vec<Arc<Endpoint>>) -> Self {
        endpoints.sort_by(|a, b| a.key().cmp(&b.key()));
        endpoints.dedup_by(|later, first| later.key() == first.key());
        endpoints.shrink_to_fit();
        Self { service, endpoints }
    }

    /// The endpoints in key order.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Those of one service port, which stand together.
    pub fn of_port(&self, port: u16) -> &[Arc<Endpoint>] {
        let start = self.endpoints.partition_point(|e| e.port < port);
        let end = self.endpoints.partition_point(|e| e.port <= port);
        &self.endpoints[start..end]
    }

    /// The endpoint of this key.
    pub fn get(&self, key: EndpointKey<'_>) -> Option<&Arc<Endpoint>> {
        let found = self.endpoints.binary_search_by(|e| e.key().cmp(&key)).ok()?;
        Some(&self.endpoints[found])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        self.service == other.service
            && self.len() == other.len()
            && self
                .endpoints
                .iter()
                .zip(&other.endpoints)
                .all(|(a, b)| Arc::ptr_eq(a, b) || a.same_content(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegistryId, Sourced};

    fn endpoint(port: u16, address: &str) -> Arc<Endpoint> {
        let origins = Sourced::only(&RegistryId::new("file", "a"), "Service", "s", "1");
        Arc::new(Endpoint::new(port, Address::parse(address), 8080, origins))
    }

    #[test]
    fn a_set_is_sorted_and_keeps_the_first_of_a_key() {
        let first = Arc::new(Endpoint { weight: 7, ..(*endpoint(80, "10.0.0.2")).clone() });
        let set = EndpointSet::new(
            ServiceKey::new("a", "b"),
            vec![
                first.clone(),
                endpoint(443, "10.0.0.1"),
                endpoint(80, "10.0.0.1"),
                endpoint(80, "10.0.0.2"),
            ],
        );
        let of_80: Vec<_> =
            set.of_port(80).iter().map(|e| (e.address.to_string(), e.weight)).collect();
        assert_eq!(of_80, [("10.0.0.1".to_owned(), 1), ("10.0.0.2".to_owned(), 7)]);
        assert_eq!(set.len(), 3);
        assert!(Arc::ptr_eq(set.get(first.key()).unwrap(), &first));
    }

    #[test]
    fn an_endpoint_stays_small() {
        assert!(size_of::<Endpoint>() <= 96, "{}", size_of::<Endpoint>());
    }
}
