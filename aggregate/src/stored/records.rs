//! The records of the stream. Numbers of fields are for good.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(oneof = "Item", tags = "1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16")]
    pub item: Option<Item>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Item {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(message, tag = "2")]
    Labels(Texts),
    #[prost(message, tag = "3")]
    Origins(Origins),
    #[prost(message, tag = "4")]
    Locality(Texts),
    #[prost(message, tag = "5")]
    Place(Place),
    #[prost(message, tag = "10")]
    Service(Service),
    #[prost(message, tag = "11")]
    Endpoints(Endpoints),
    #[prost(message, tag = "12")]
    Workload(Workload),
    #[prost(message, tag = "13")]
    Namespace(Namespace),
    #[prost(message, tag = "14")]
    Config(Config),
    #[prost(message, tag = "15")]
    Gateway(Gateway),
    #[prost(message, tag = "16")]
    Unloaded(Unloaded),
}

/// Texts in their own order: keys and values in turn, or region, zone, subzone.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Origins {
    #[prost(message, repeated, tag = "1")]
    pub origins: Vec<Origin>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Origin {
    #[prost(uint32, tag = "1")]
    pub registry: u32,
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub revision: String,
    #[prost(string, optional, tag = "5")]
    pub via: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Place {
    #[prost(uint32, tag = "1")]
    pub cluster: u32,
    #[prost(uint32, tag = "2")]
    pub network: u32,
    #[prost(uint32, tag = "3")]
    pub locality: u32,
    #[prost(uint32, optional, tag = "4")]
    pub node: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Address {
    #[prost(oneof = "Where", tags = "1, 2, 3")]
    pub place: Option<Where>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Where {
    /// 4 or 16 bytes.
    #[prost(bytes, tag = "1")]
    Ip(Vec<u8>),
    #[prost(string, tag = "2")]
    Host(String),
    #[prost(string, tag = "3")]
    Unix(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Port {
    #[prost(uint32, tag = "1")]
    pub number: u32,
    #[prost(uint32, tag = "2")]
    pub name: u32,
    #[prost(uint32, tag = "3")]
    pub protocol: u32,
    #[prost(oneof = "Target", tags = "4, 5")]
    pub target: Option<Target>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub(super) enum Target {
    #[prost(uint32, tag = "4")]
    Number(u32),
    #[prost(uint32, tag = "5")]
    Name(u32),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ClusterAddresses {
    #[prost(uint32, tag = "1")]
    pub cluster: u32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addresses: Vec<Vec<u8>>,
}

/// Absent: nothing is said.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Visible {
    #[prost(uint32, repeated, tag = "1")]
    pub namespaces: Vec<u32>,
    #[prost(bool, tag = "2")]
    pub everybody: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Service {
    #[prost(uint32, tag = "1")]
    pub hostname: u32,
    #[prost(uint32, tag = "2")]
    pub namespace: u32,
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<Port>,
    #[prost(uint32, tag = "4")]
    pub resolution: u32,
    #[prost(message, repeated, tag = "5")]
    pub addresses: Vec<ClusterAddresses>,
    #[prost(string, repeated, tag = "6")]
    pub prefixes: Vec<String>,
    #[prost(uint32, repeated, tag = "7")]
    pub aliases: Vec<u32>,
    #[prost(uint32, optional, tag = "8")]
    pub alias_of: Option<u32>,
    #[prost(message, optional, tag = "9")]
    pub visible: Option<Visible>,
    #[prost(uint32, tag = "10")]
    pub labels: u32,
    #[prost(uint32, tag = "11")]
    pub selector: u32,
    #[prost(uint32, repeated, tag = "12")]
    pub service_accounts: Vec<u32>,
    #[prost(bool, tag = "13")]
    pub external: bool,
    #[prost(bool, tag = "14")]
    pub node_local: bool,
    #[prost(bool, tag = "15")]
    pub cluster_local: bool,
    #[prost(bool, tag = "16")]
    pub exact_shares: bool,
    #[prost(uint32, tag = "17")]
    pub distribution: u32,
    #[prost(string, optional, tag = "18")]
    pub persistent_session: Option<String>,
    #[prost(uint32, tag = "19")]
    pub origins: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Endpoints {
    #[prost(uint32, tag = "1")]
    pub hostname: u32,
    #[prost(uint32, tag = "2")]
    pub namespace: u32,
    #[prost(message, repeated, tag = "3")]
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WorkloadKey {
    #[prost(uint32, tag = "1")]
    pub cluster: u32,
    #[prost(uint32, tag = "2")]
    pub namespace: u32,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Endpoint {
    #[prost(uint32, tag = "1")]
    pub port: u32,
    #[prost(uint32, tag = "2")]
    pub port_name: u32,
    #[prost(message, optional, tag = "3")]
    pub address: Option<Address>,
    #[prost(message, repeated, tag = "4")]
    pub more_addresses: Vec<Address>,
    #[prost(uint32, tag = "5")]
    pub target_port: u32,
    #[prost(uint32, tag = "6")]
    pub weight: u32,
    #[prost(uint32, tag = "7")]
    pub health: u32,
    #[prost(uint32, tag = "8")]
    pub tls_mode: u32,
    #[prost(uint32, tag = "9")]
    pub tier: u32,
    #[prost(bool, tag = "10")]
    pub held: bool,
    #[prost(uint32, tag = "11")]
    pub place: u32,
    #[prost(message, optional, tag = "12")]
    pub workload: Option<WorkloadKey>,
    #[prost(uint32, optional, tag = "13")]
    pub identity: Option<u32>,
    #[prost(uint32, tag = "14")]
    pub labels: u32,
    #[prost(uint32, tag = "15")]
    pub origins: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamedPort {
    #[prost(uint32, tag = "1")]
    pub name: u32,
    #[prost(uint32, tag = "2")]
    pub number: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Workload {
    #[prost(message, optional, tag = "1")]
    pub key: Option<WorkloadKey>,
    #[prost(uint32, tag = "2")]
    pub labels: u32,
    #[prost(message, repeated, tag = "3")]
    pub addresses: Vec<Address>,
    #[prost(uint32, tag = "4")]
    pub network: u32,
    #[prost(uint32, tag = "5")]
    pub locality: u32,
    #[prost(uint32, optional, tag = "6")]
    pub node: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub identity: Option<u32>,
    #[prost(message, repeated, tag = "8")]
    pub ports: Vec<NamedPort>,
    #[prost(uint32, tag = "9")]
    pub health: u32,
    #[prost(uint32, tag = "10")]
    pub tls_mode: u32,
    #[prost(uint32, tag = "11")]
    pub weight: u32,
    #[prost(uint32, tag = "12")]
    pub origins: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Namespace {
    #[prost(uint32, tag = "1")]
    pub name: u32,
    #[prost(uint32, tag = "2")]
    pub labels: u32,
    #[prost(uint32, tag = "3")]
    pub origins: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Config {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(uint32, tag = "2")]
    pub namespace: u32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(uint32, tag = "4")]
    pub labels: u32,
    /// JSON; empty where there is a message.
    #[prost(string, tag = "5")]
    pub spec: String,
    #[prost(uint32, tag = "6")]
    pub origins: u32,
    /// Keys and values by turns.
    #[prost(string, repeated, tag = "7")]
    pub annotations: Vec<String>,
    #[prost(string, tag = "8")]
    pub body_type: String,
    #[prost(bytes = "vec", tag = "9")]
    pub body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gateway {
    #[prost(uint32, tag = "1")]
    pub network: u32,
    #[prost(uint32, tag = "2")]
    pub cluster: u32,
    #[prost(message, optional, tag = "3")]
    pub address: Option<Address>,
    #[prost(uint32, tag = "4")]
    pub port: u32,
    #[prost(uint32, tag = "5")]
    pub origins: u32,
}

/// A service that was not loaded.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unloaded {
    #[prost(uint32, tag = "1")]
    pub hostname: u32,
    #[prost(uint32, tag = "2")]
    pub namespace: u32,
}

/// Both ways between an enumeration and its number; a number that nobody gave is `None`.
macro_rules! numbered {
    ($($name:ident: $type:ty { $($variant:ident = $number:literal),* $(,)? })*) => {$(
        pub(super) mod $name {
            pub(in crate::stored) fn number(value: $type) -> u32 {
                match value { $(<$type>::$variant => $number),* }
            }
            pub(in crate::stored) fn value(number: u32) -> Option<$type> {
                match number { $($number => Some(<$type>::$variant),)* _ => None }
            }
        }
    )*};
}

numbered! {
    health: mainstem_model::Health { Healthy = 0, Degraded = 1, Draining = 2, Unhealthy = 3 }
    tls_mode: mainstem_model::TlsMode { Disabled = 0, Istio = 1 }
    resolution: mainstem_model::Resolution {
        ClientSide = 0, Dns = 1, DnsRoundRobin = 2, Passthrough = 3, Alias = 4,
    }
    distribution: mainstem_model::TrafficDistribution {
        Unset = 0, PreferSameZone = 1, PreferSameNode = 2,
    }
    protocol: mainstem_model::Protocol {
        Http = 0, HttpProxy = 1, Http2 = 2, Grpc = 3, GrpcWeb = 4, Https = 5, Tls = 6, Tcp = 7,
        Mongo = 8, Redis = 9, Mysql = 10, Udp = 11, Unspecified = 12,
    }
}
