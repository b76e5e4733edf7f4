//! Values into the stream.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model as model;
use model::{Labels, Locality, Value};
use prost::Message;
use rustc_hash::FxHashMap;

use super::records::{self as records, Item, Record, Target, Where};

/// Writes values one after another.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: Vec<u8>,
    texts: FxHashMap<Box<str>, u32>,
    labels: FxHashMap<Labels, u32>,
    localities: FxHashMap<Locality, u32>,
    places: FxHashMap<model::SharedPlace, u32>,
    /// By where they are: lists that are shared in memory are shared here. Each is
    /// kept, so that no other can come to stand in its place.
    origins: FxHashMap<*const model::Sourced, (model::Origins, u32)>,
}

/// The number of `value`; whether it is new.
fn number<T: Eq + Hash>(known: &mut FxHashMap<T, u32>, value: T) -> (u32, bool) {
    let next = counted(known.len());
    let number = *known.entry(value).or_insert(next);
    (number, number == next)
}

fn counted(len: usize) -> u32 {
    u32::try_from(len).expect("fewer than four billion values fit a process")
}

impl Encoder {
    /// Adds a value.
    pub(crate) fn value(&mut self, value: &Value) {
        let item = match value {
            Value::Service(service) => Item::Service(self.service(service)),
            Value::Endpoints(set) => Item::Endpoints(self.endpoints(set)),
            Value::Workload(workload) => Item::Workload(self.workload(workload)),
            Value::Namespace(namespace) => Item::Namespace(self.namespace(namespace)),
            Value::Config(config) => Item::Config(self.config(config)),
            Value::Gateway(gateway) => Item::Gateway(self.gateway(gateway)),
            Value::Unloaded(service) => Item::Unloaded(records::Unloaded {
                hostname: self.text(service.hostname().as_str()),
                namespace: self.text(service.namespace().as_str()),
            }),
        };
        self.write(item);
    }

    /// All that was written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn write(&mut self, item: Item) {
        let record = Record { item: Some(item) };
        record.encode_length_delimited(&mut self.out).expect("a vector grows as needed");
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let (number, _) = number(&mut self.texts, text.into());
        self.write(Item::Text(text.to_owned()));
        number
    }

    fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
        texts.into_iter().map(|text| self.text(text)).collect()
    }

    fn labels(&mut self, labels: &Labels) -> u32 {
        let (number, new) = number(&mut self.labels, labels.clone());
        if new {
            let texts = labels.iter().flat_map(|(key, value)| [key, value]);
            self.write(Item::Labels(records::Texts { texts: texts.map(str::to_owned).collect() }));
        }
        number
    }

    fn locality(&mut self, locality: &Locality) -> u32 {
        let (number, new) = number(&mut self.localities, locality.clone());
        if new {
            let parts = [locality.region(), locality.zone(), locality.subzone()];
            let texts = parts.map(str::to_owned).to_vec();
            self.write(Item::Locality(records::Texts { texts }));
        }
        number
    }

    fn place(&mut self, place: &model::SharedPlace) -> u32 {
        let (number, new) = number(&mut self.places, place.clone());
        if new {
            let model::Place { cluster, network, locality, node } = &**place;
            let record = records::Place {
                cluster: self.text(cluster.as_str()),
                network: self.text(network.as_str()),
                locality: self.locality(locality),
                node: node.as_ref().map(|node| self.text(node.as_str())),
            };
            self.write(Item::Place(record));
        }
        number
    }

    fn origins(&mut self, origins: &model::Origins) -> u32 {
        let next = counted(self.origins.len());
        if let Some((_, known)) = self.origins.get(&origins.as_ptr()) {
            return *known;
        }
        let all = origins.iter().map(|sourced| records::Origin {
            registry: self.text(sourced.origin.registry.as_str()),
            kind: self.text(sourced.origin.object.kind),
            name: sourced.origin.object.name.to_string(),
            revision: sourced.revision.to_string(),
            via: sourced.origin.via.as_ref().map(ToString::to_string),
        });
        let all = all.collect();
        self.write(Item::Origins(records::Origins { origins: all }));
        self.origins.insert(origins.as_ptr(), (origins.clone(), next));
        next
    }

    fn port(&mut self, port: &model::Port) -> records::Port {
        let model::Port { number, name, protocol, target } = port;
        let target = match target {
            model::TargetPort::Number(number) => Target::Number(u32::from(*number)),
            model::TargetPort::Name(name) => Target::Name(self.text(name.as_str())),
        };
        records::Port {
            number: u32::from(*number),
            name: self.text(name.as_str()),
            protocol: records::protocol::number(*protocol),
            target: Some(target),
        }
    }

    fn service(&mut self, service: &model::Service) -> records::Service {
        // Destructured so that a new field cannot be forgotten here.
        let model::Service {
            key,
            ports,
            resolution,
            addresses,
            prefixes,
            aliases,
            alias_of,
            visibility,
            labels,
            selector,
            service_accounts,
            external,
            node_local,
            cluster_local,
            exact_shares,
            distribution,
            persistent_session,
            origins,
        } = service;
        let addresses = addresses.iter().map(|(cluster, own)| records::ClusterAddresses {
            cluster: self.text(cluster.as_str()),
            addresses: own.iter().map(|ip| octets(*ip)).collect(),
        });
        let addresses = addresses.collect();
        let visible = match visibility {
            model::Visibility::Unset => None,
            model::Visibility::Public => {
                Some(records::Visible { everybody: true, namespaces: Vec::new() })
            }
            model::Visibility::Namespaces(names) => {
                let namespaces = self.texts(names.iter().map(model::NamespaceName::as_str));
                Some(records::Visible { everybody: false, namespaces })
            }
        };
        records::Service {
            hostname: self.text(key.hostname().as_str()),
            namespace: self.text(key.namespace().as_str()),
            ports: ports.iter().map(|port| self.port(port)).collect(),
            resolution: records::resolution::number(*resolution),
            addresses,
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            aliases: self.texts(aliases.iter().map(model::Hostname::as_str)),
            alias_of: alias_of.as_ref().map(|name| self.text(name.as_str())),
            visible,
            labels: self.labels(labels),
            selector: self.labels(selector),
            service_accounts: self
                .texts(service_accounts.iter().map(model::ServiceAccount::as_str)),
            external: *external,
            node_local: *node_local,
            cluster_local: *cluster_local,
            exact_shares: *exact_shares,
            distribution: records::distribution::number(*distribution),
            persistent_session: persistent_session.as_ref().map(ToString::to_string),
            origins: self.origins(origins),
        }
    }

    fn endpoints(&mut self, set: &model::EndpointSet) -> records::Endpoints {
        records::Endpoints {
            hostname: self.text(set.service.hostname().as_str()),
            namespace: self.text(set.service.namespace().as_str()),
            endpoints: set.endpoints().iter().map(|each| self.endpoint(each)).collect(),
        }
    }

    fn endpoint(&mut self, endpoint: &Arc<model::Endpoint>) -> records::Endpoint {
        let model::Endpoint {
            port,
            port_name,
            address: first,
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
        } = &**endpoint;
        let more = more_addresses.iter().flat_map(|more| more.iter());
        records::Endpoint {
            port: u32::from(*port),
            port_name: self.text(port_name.as_str()),
            address: Some(address(first)),
            more_addresses: more.map(address).collect(),
            target_port: u32::from(*target_port),
            weight: *weight,
            health: records::health::number(*health),
            tls_mode: records::tls_mode::number(*tls_mode),
            tier: u32::from(*tier),
            held: *held,
            place: self.place(place),
            workload: workload.as_ref().map(|key| self.workload_key(key)),
            identity: identity.as_ref().map(|identity| self.text(identity.as_str())),
            labels: self.labels(labels),
            origins: self.origins(origins),
        }
    }

    fn workload_key(&mut self, key: &model::WorkloadKey) -> records::WorkloadKey {
        records::WorkloadKey {
            cluster: self.text(key.cluster().as_str()),
            namespace: self.text(key.namespace().as_str()),
            name: key.name().to_owned(),
        }
    }

    fn workload(&mut self, workload: &model::Workload) -> records::Workload {
        let model::Workload {
            key,
            labels,
            addresses,
            network,
            locality,
            node,
            identity,
            ports,
            health,
            tls_mode,
            weight,
            origins,
        } = workload;
        let ports = ports.iter().map(|(name, number)| records::NamedPort {
            name: self.text(name.as_str()),
            number: u32::from(*number),
        });
        let ports = ports.collect();
        records::Workload {
            key: Some(self.workload_key(key)),
            labels: self.labels(labels),
            addresses: addresses.iter().map(address).collect(),
            network: self.text(network.as_str()),
            locality: self.locality(locality),
            node: node.as_ref().map(|node| self.text(node.as_str())),
            identity: identity.as_ref().map(|identity| self.text(identity.as_str())),
            ports,
            health: records::health::number(*health),
            tls_mode: records::tls_mode::number(*tls_mode),
            weight: *weight,
            origins: self.origins(origins),
        }
    }

    fn namespace(&mut self, namespace: &model::Namespace) -> records::Namespace {
        let model::Namespace { name, labels, origins } = namespace;
        records::Namespace {
            name: self.text(name.as_str()),
            labels: self.labels(labels),
            origins: self.origins(origins),
        }
    }

    fn config(&mut self, config: &model::Config) -> records::Config {
        let model::Config { key, labels, annotations, body, origins } = config;
        let (spec, body_type, body) = match body {
            model::Body::Document(spec) => (spec.to_string(), "", Vec::new()),
            model::Body::Message(message) => {
                (String::new(), &*message.type_url, message.value.to_vec())
            }
        };
        records::Config {
            kind: self.text(&key.kind),
            namespace: self.text(key.namespace.as_str()),
            name: key.name.to_string(),
            labels: self.labels(labels),
            origins: self.origins(origins),
            annotations: annotations.iter().flat_map(|(k, v)| [k, v]).map(str::to_owned).collect(),
            spec,
            body_type: body_type.to_owned(),
            body,
        }
    }

    fn gateway(&mut self, gateway: &model::NetworkGateway) -> records::Gateway {
        let model::NetworkGateway { key, origins } = gateway;
        records::Gateway {
            network: self.text(key.network.as_str()),
            cluster: self.text(key.cluster.as_str()),
            address: Some(address(&key.address)),
            port: u32::from(key.port),
            origins: self.origins(origins),
        }
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(address: &model::Address) -> records::Address {
    let place = match address {
        model::Address::Ip(ip) => Where::Ip(octets(*ip)),
        model::Address::Host(name) => Where::Host(name.to_string()),
        model::Address::Unix(path) => Where::Unix(path.to_string()),
    };
    records::Address { place: Some(place) }
}
