//! The mesh and its proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clap::Args;
use mainstem_model::{
    Address, Endpoint, EndpointSet, Labels, Locality, NetworkGateway, NetworkGatewayKey, Origins,
    Place, Port, Protocol, RegistryId, Service, ServiceKey, Sourced, TargetPort,
    TrafficDistribution, Value, Visibility,
};
use mainstem_proto::envoy::config::core::v3::{self as core, Node};
use mainstem_proto::google::protobuf::{Struct, Value as Any, value};
use serde::{Deserialize, Serialize};

/// The only registry. A file could not change a hundred times a second.
pub const REGISTRY: &str = "memory/bench";
pub const CLUSTER: &str = "bench";

/// Workloads, namespaces, zones and networks of diverse proxies.
const WORKLOADS: usize = 100;
const ZONES: usize = 3;
const NETWORKS: usize = 2;
/// Of so many services one prefers endpoints of the client's zone, where proxies are diverse.
const NEAR: usize = 20;

/// A mesh.
#[derive(Clone, Debug, Args)]
pub struct World {
    #[arg(long)]
    pub services: usize,
    /// Of each service
    #[arg(long, default_value_t = 10)]
    pub endpoints: usize,
    #[arg(long, default_value_t = 50)]
    pub namespaces: usize,
    /// Services are seen in their own namespace only
    #[arg(long)]
    pub private: bool,
    /// Places matter: networks with a gateway, services that prefer a zone
    #[arg(long)]
    pub places: bool,
}

impl World {
    pub fn args(&self) -> Vec<String> {
        let mut args = vec!["control".to_owned()];
        let numbers = [
            ("--services", self.services),
            ("--endpoints", self.endpoints),
            ("--namespaces", self.namespaces),
        ];
        args.extend(numbers.into_iter().flat_map(|(name, n)| [name.to_owned(), n.to_string()]));
        args.extend(self.private.then(|| "--private".to_owned()));
        args.extend(self.places.then(|| "--places".to_owned()));
        args
    }

    pub fn values(&self) -> Vec<Value> {
        let services = (0..self.services).map(|n| self.service(n));
        let endpoints = (0..self.services).map(|n| self.endpoints(n, 0));
        services.chain(endpoints).chain(self.places.then(gateway)).collect()
    }

    /// The endpoints of service `n`, one of which is another one in each round.
    pub fn endpoints(&self, n: usize, round: usize) -> Value {
        let name = format!("{}/service-{n}-abcde", self.namespace(n));
        let origins = origins("EndpointSlice", &name);
        let all = (0..self.endpoints).map(|at| {
            let shift = if at == 0 { round % 200 } else { 0 };
            let ip = ip(10 + shift as u8, n * self.endpoints.min(255) + at);
            let endpoint = Endpoint {
                port_name: "http".into(),
                place: Place {
                    cluster: CLUSTER.into(),
                    network: self.network(at).into(),
                    locality: zone(at),
                    ..Place::default()
                }
                .into(),
                ..Endpoint::new(80, Address::Ip(ip), 8080, origins.clone())
            };
            Arc::new(endpoint)
        });
        Value::Endpoints(Arc::new(EndpointSet::new(self.key(n), all.collect())))
    }

    fn service(&self, n: usize) -> Value {
        let namespace = self.namespace(n);
        let origins = origins("Service", &format!("{namespace}/service-{n}"));
        let mut service = Service::new(self.key(n), origins);
        let target = TargetPort::Number(8000 + (n % WORKLOADS) as u16);
        service.ports =
            vec![Port { number: 80, name: "http".into(), protocol: Protocol::Http, target }];
        service.addresses.insert(CLUSTER.into(), [ip(240, n)]);
        if n < WORKLOADS && self.places {
            service.selector = Labels::from_iter([("app", format!("app-{n}"))]);
        }
        if self.places && n.is_multiple_of(NEAR) {
            service.distribution = TrafficDistribution::PreferSameZone;
        }
        if self.private {
            service.visibility = Visibility::Namespaces(BTreeSet::from([namespace.into()]));
        }
        Value::Service(Arc::new(service))
    }

    fn key(&self, n: usize) -> ServiceKey {
        let namespace = self.namespace(n);
        ServiceKey::new(format!("service-{n}.{namespace}.svc.cluster.local"), namespace)
    }

    fn namespace(&self, n: usize) -> String {
        format!("team-{}", n % self.namespaces)
    }

    fn network(&self, n: usize) -> String {
        if self.places { format!("network-{}", n % NETWORKS) } else { String::new() }
    }
}

/// A third network has a gateway: from then on networks matter to everybody.
fn gateway() -> Value {
    let key = NetworkGatewayKey {
        network: "network-far".into(),
        cluster: CLUSTER.into(),
        address: Address::Ip(ip(200, 1)),
        port: 15443,
    };
    Value::Gateway(Arc::new(NetworkGateway { key, origins: origins("Gateway", "gateway") }))
}

fn origins(kind: &'static str, name: &str) -> Origins {
    Sourced::only(&RegistryId::from(REGISTRY), kind, name, "1")
}

fn zone(n: usize) -> Locality {
    Locality::new("eu", &format!("eu-{}", n % ZONES), "")
}

fn ip(first: u8, n: usize) -> IpAddr {
    let low = (n as u32 + 1) & 0x00ff_ffff;
    IpAddr::V4(Ipv4Addr::from_bits(u32::from(first) << 24 | low))
}

/// How proxies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proxies {
    /// One namespace, zone and network; nobody is selected by a service.
    Identical,
    /// 100 workloads, 50 namespaces, 3 zones, 2 networks.
    Diverse,
}

impl Proxies {
    pub fn name(self) -> &'static str {
        match self {
            Proxies::Identical => "identical",
            Proxies::Diverse => "diverse",
        }
    }

    /// The node of proxy `n`. Names, addresses and labels always differ.
    pub fn node(self, n: usize) -> Node {
        let spread = |of: usize| if self == Proxies::Diverse { n % of } else { 0 };
        let namespace = format!("team-{}", spread(50));
        let (name, address) = (format!("app-{}-5d4f7b9c6-{n:05}", spread(WORKLOADS)), ip(172, n));
        let app = if self == Proxies::Diverse { "app" } else { "client" };
        let labels = BTreeMap::from([
            ("app".to_owned(), text(format!("{app}-{}", spread(WORKLOADS)))),
            ("pod".to_owned(), text(name.clone())),
        ]);
        let metadata = BTreeMap::from([
            ("CLUSTER_ID".to_owned(), text(CLUSTER.to_owned())),
            ("NAMESPACE".to_owned(), text(namespace.clone())),
            ("NETWORK".to_owned(), text(format!("network-{}", spread(NETWORKS)))),
            ("INSTANCE_IPS".to_owned(), text(address.to_string())),
            ("SERVICE_ACCOUNT".to_owned(), text("default".to_owned())),
            (
                "LABELS".to_owned(),
                Any { kind: Some(value::Kind::StructValue(Struct { fields: labels })) },
            ),
        ]);
        let locality = zone(spread(ZONES));
        Node {
            id: format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: name,
            metadata: Some(Struct { fields: metadata }),
            locality: Some(core::Locality {
                region: locality.region().to_owned(),
                zone: locality.zone().to_owned(),
                sub_zone: String::new(),
            }),
            user_agent_name: "envoy".to_owned(),
            ..Node::default()
        }
    }
}

fn text(text: String) -> Any {
    Any { kind: Some(value::Kind::StringValue(text)) }
}
