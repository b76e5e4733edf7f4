//! The stream into values.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model as model;
use model::{Labels, Locality, Value};
use parking_lot::Mutex;
use prost::Message;

use super::records::{self as records, Item, Record, Target, Where};

/// Kinds of objects are few; a stream that brings more is none of ours.
const KINDS: usize = 256;

/// Bytes that are no stream of values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Corrupt {
    /// Not a record.
    #[error("reading a record")]
    Record(#[from] prost::DecodeError),
    /// A configuration object's document.
    #[error("reading a configuration object's document")]
    Document(#[from] serde_json::Error),
    /// Something that no value has.
    #[error("a record with {0}")]
    Strange(&'static str),
}

/// All values of a stream, in its order.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<Value>, Corrupt> {
    let mut decoder = Decoder::default();
    while !bytes.is_empty() {
        let record = Record::decode_length_delimited(&mut bytes)?;
        decoder.take(record.item.ok_or(Corrupt::Strange("an unknown kind"))?)?;
    }
    Ok(decoder.values)
}

#[derive(Default)]
struct Decoder {
    texts: Vec<Box<str>>,
    labels: Vec<Labels>,
    localities: Vec<Locality>,
    places: Vec<model::SharedPlace>,
    origins: Vec<model::Origins>,
    values: Vec<Value>,
}

impl Decoder {
    fn take(&mut self, item: Item) -> Result<(), Corrupt> {
        let value = match item {
            Item::Text(text) => {
                self.texts.push(text.into());
                return Ok(());
            }
            Item::Labels(record) => return self.take_labels(&record),
            Item::Locality(record) => return self.take_locality(&record),
            Item::Place(record) => {
                let place = self.place(&record)?;
                self.places.push(place.into());
                return Ok(());
            }
            Item::Origins(record) => return self.take_origins(&record),
            Item::Service(record) => Value::Service(Arc::new(self.service(&record)?)),
            Item::Endpoints(record) => Value::Endpoints(Arc::new(self.endpoints(record)?)),
            Item::Workload(record) => Value::Workload(Arc::new(self.workload(&record)?)),
            Item::Namespace(record) => Value::Namespace(Arc::new(self.namespace(&record)?)),
            Item::Config(record) => Value::Config(Arc::new(self.config(&record)?)),
            Item::Gateway(record) => Value::Gateway(Arc::new(self.gateway(&record)?)),
            Item::Unloaded(record) => Value::Unloaded(self.key(record.hostname, record.namespace)?),
        };
        self.values.push(value);
        Ok(())
    }

    fn take_labels(&mut self, record: &records::Texts) -> Result<(), Corrupt> {
        let (pairs, rest) = record.texts.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Corrupt::Strange("a label without a value"));
        }
        self.labels.push(pairs.iter().map(|[key, value]| (&**key, &**value)).collect());
        Ok(())
    }

    fn take_locality(&mut self, record: &records::Texts) -> Result<(), Corrupt> {
        let [region, zone, subzone] = record.texts.as_slice() else {
            return Err(Corrupt::Strange("a locality of other than three parts"));
        };
        self.localities.push(Locality::new(region, zone, subzone));
        Ok(())
    }

    fn take_origins(&mut self, record: &records::Origins) -> Result<(), Corrupt> {
        let origin = |origin: &records::Origin| {
            let object = model::ObjectRef {
                kind: kind(self.text(origin.kind)?)?,
                name: origin.name.as_str().into(),
            };
            let registry = self.text(origin.registry)?.into();
            let via = origin.via.as_deref().and_then(model::Via::parse);
            let origin_of = model::Origin { registry, object, via };
            Ok(model::Sourced { origin: origin_of, revision: origin.revision.as_str().into() })
        };
        let all: Result<_, Corrupt> = record.origins.iter().map(origin).collect();
        self.origins.push(all?);
        Ok(())
    }

    fn place(&self, record: &records::Place) -> Result<model::Place, Corrupt> {
        Ok(model::Place {
            cluster: self.text(record.cluster)?.into(),
            network: self.text(record.network)?.into(),
            locality: self.locality(record.locality)?,
            node: self.maybe(record.node)?,
        })
    }

    fn text(&self, number: u32) -> Result<&str, Corrupt> {
        at(&self.texts, number, "a text that did not come before").map(|text| &**text)
    }

    fn labels(&self, number: u32) -> Result<Labels, Corrupt> {
        at(&self.labels, number, "labels that did not come before").cloned()
    }

    fn locality(&self, number: u32) -> Result<Locality, Corrupt> {
        at(&self.localities, number, "a locality that did not come before").cloned()
    }

    fn origins(&self, number: u32) -> Result<model::Origins, Corrupt> {
        at(&self.origins, number, "origins that did not come before").cloned()
    }

    fn all<T: for<'a> From<&'a str>, C: FromIterator<T>>(
        &self,
        numbers: &[u32],
    ) -> Result<C, Corrupt> {
        numbers.iter().map(|number| self.text(*number).map(T::from)).collect()
    }

    fn maybe<T: for<'a> From<&'a str>>(&self, number: Option<u32>) -> Result<Option<T>, Corrupt> {
        number.map(|number| self.text(number).map(T::from)).transpose()
    }

    fn key(&self, hostname: u32, namespace: u32) -> Result<model::ServiceKey, Corrupt> {
        Ok(model::ServiceKey::new(self.text(hostname)?, self.text(namespace)?))
    }

    fn port(&self, record: &records::Port) -> Result<model::Port, Corrupt> {
        let target = match record.target {
            Some(Target::Number(number)) => model::TargetPort::Number(small(number)?),
            Some(Target::Name(name)) => model::TargetPort::Name(self.text(name)?.into()),
            None => return Err(Corrupt::Strange("a port without a target")),
        };
        Ok(model::Port {
            number: small(record.number)?,
            name: self.text(record.name)?.into(),
            protocol: known(records::protocol::value(record.protocol))?,
            target,
        })
    }

    fn service(&self, record: &records::Service) -> Result<model::Service, Corrupt> {
        let mut addresses = model::ClusterAddresses::default();
        for own in &record.addresses {
            let all: Result<Vec<IpAddr>, _> = own.addresses.iter().map(|o| ip(o)).collect();
            addresses.insert(self.text(own.cluster)?.into(), all?);
        }
        let visibility = match &record.visible {
            None => model::Visibility::Unset,
            Some(visible) if visible.everybody => model::Visibility::Public,
            Some(visible) => model::Visibility::Namespaces(self.all(&visible.namespaces)?),
        };
        let prefix = |text: &String| text.parse().map_err(|_| Corrupt::Strange("no prefix"));
        Ok(model::Service {
            key: self.key(record.hostname, record.namespace)?,
            ports: record.ports.iter().map(|port| self.port(port)).collect::<Result<_, _>>()?,
            resolution: known(records::resolution::value(record.resolution))?,
            addresses,
            prefixes: record.prefixes.iter().map(prefix).collect::<Result<_, _>>()?,
            aliases: self.all(&record.aliases)?,
            alias_of: self.maybe(record.alias_of)?,
            visibility,
            labels: self.labels(record.labels)?,
            selector: self.labels(record.selector)?,
            service_accounts: self.all(&record.service_accounts)?,
            external: record.external,
            node_local: record.node_local,
            cluster_local: record.cluster_local,
            exact_shares: record.exact_shares,
            distribution: known(records::distribution::value(record.distribution))?,
            persistent_session: record.persistent_session.as_deref().map(Arc::from),
            origins: self.origins(record.origins)?,
        })
    }

    fn endpoints(&self, record: records::Endpoints) -> Result<model::EndpointSet, Corrupt> {
        let key = self.key(record.hostname, record.namespace)?;
        let all = record.endpoints.into_iter().map(|each| self.endpoint(each).map(Arc::new));
        Ok(model::EndpointSet::new(key, all.collect::<Result<_, _>>()?))
    }

    fn endpoint(&self, record: records::Endpoint) -> Result<model::Endpoint, Corrupt> {
        let more: Result<Vec<_>, _> = record.more_addresses.into_iter().map(address).collect();
        let more = Some(more?).filter(|more| !more.is_empty());
        Ok(model::Endpoint {
            port: small(record.port)?,
            port_name: self.text(record.port_name)?.into(),
            address: some_address(record.address)?,
            more_addresses: more.map(Arc::new),
            target_port: small(record.target_port)?,
            weight: record.weight,
            health: known(records::health::value(record.health))?,
            tls_mode: known(records::tls_mode::value(record.tls_mode))?,
            tier: small(record.tier)?,
            held: record.held,
            place: at(&self.places, record.place, "a place that did not come before")?.clone(),
            workload: record.workload.as_ref().map(|key| self.workload_key(key)).transpose()?,
            identity: self.maybe(record.identity)?,
            labels: self.labels(record.labels)?,
            origins: self.origins(record.origins)?,
        })
    }

    fn workload_key(&self, record: &records::WorkloadKey) -> Result<model::WorkloadKey, Corrupt> {
        let cluster = self.text(record.cluster)?.into();
        let namespace = self.text(record.namespace)?.into();
        Ok(model::WorkloadKey::new(cluster, namespace, &record.name))
    }

    fn workload(&self, record: &records::Workload) -> Result<model::Workload, Corrupt> {
        let key = record.key.as_ref().ok_or(Corrupt::Strange("a workload without a key"))?;
        let addresses = record.addresses.iter().cloned().map(address);
        let port = |port: &records::NamedPort| {
            Ok::<_, Corrupt>((self.text(port.name)?.into(), small(port.number)?))
        };
        Ok(model::Workload {
            key: self.workload_key(key)?,
            labels: self.labels(record.labels)?,
            addresses: addresses.collect::<Result<_, _>>()?,
            network: self.text(record.network)?.into(),
            locality: self.locality(record.locality)?,
            node: self.maybe(record.node)?,
            identity: self.maybe(record.identity)?,
            ports: record.ports.iter().map(port).collect::<Result<_, _>>()?,
            health: known(records::health::value(record.health))?,
            tls_mode: known(records::tls_mode::value(record.tls_mode))?,
            weight: record.weight,
            origins: self.origins(record.origins)?,
        })
    }

    fn namespace(&self, record: &records::Namespace) -> Result<model::Namespace, Corrupt> {
        Ok(model::Namespace {
            name: self.text(record.name)?.into(),
            labels: self.labels(record.labels)?,
            origins: self.origins(record.origins)?,
        })
    }

    fn config(&self, record: &records::Config) -> Result<model::Config, Corrupt> {
        let key = model::ConfigKey {
            kind: self.text(record.kind)?.into(),
            namespace: self.text(record.namespace)?.into(),
            name: record.name.as_str().into(),
        };
        Ok(model::Config {
            key,
            labels: self.labels(record.labels)?,
            annotations: pairs(&record.annotations),
            body: body(record)?,
            origins: self.origins(record.origins)?,
        })
    }

    fn gateway(&self, record: &records::Gateway) -> Result<model::NetworkGateway, Corrupt> {
        let key = model::NetworkGatewayKey {
            network: self.text(record.network)?.into(),
            cluster: self.text(record.cluster)?.into(),
            address: some_address(record.address.clone())?,
            port: small(record.port)?,
        };
        Ok(model::NetworkGateway { key, origins: self.origins(record.origins)? })
    }
}

fn at<'a, T>(all: &'a [T], number: u32, what: &'static str) -> Result<&'a T, Corrupt> {
    let number = usize::try_from(number).map_err(|_| Corrupt::Strange(what))?;
    all.get(number).ok_or(Corrupt::Strange(what))
}

fn small<T: TryFrom<u32>>(number: u32) -> Result<T, Corrupt> {
    T::try_from(number).map_err(|_| Corrupt::Strange("a number out of its range"))
}

fn known<T>(value: Option<T>) -> Result<T, Corrupt> {
    value.ok_or(Corrupt::Strange("a word that this program does not know"))
}

fn ip(octets: &[u8]) -> Result<IpAddr, Corrupt> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let sixteen = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| sixteen()).map_err(|_| Corrupt::Strange("an address of odd length"))
}

/// Keys and values by turns.
fn pairs(texts: &[String]) -> Labels {
    let (pairs, _) = texts.as_chunks();
    pairs.iter().map(|[key, value]| (key.as_str(), value.as_str())).collect()
}

fn body(record: &records::Config) -> Result<model::Body, Corrupt> {
    Ok(match record.spec.as_str() {
        "" => model::Body::Message(model::Message {
            type_url: record.body_type.as_str().into(),
            value: record.body.as_slice().into(),
        }),
        spec => model::Body::Document(Arc::new(serde_json::from_str(spec)?)),
    })
}

fn some_address(record: Option<records::Address>) -> Result<model::Address, Corrupt> {
    record.ok_or(Corrupt::Strange("no address")).and_then(address)
}

fn address(record: records::Address) -> Result<model::Address, Corrupt> {
    Ok(match record.place.ok_or(Corrupt::Strange("no address"))? {
        Where::Ip(octets) => model::Address::Ip(ip(&octets)?),
        Where::Host(name) => model::Address::Host(name.as_str().into()),
        Where::Unix(path) => model::Address::Unix(path.into()),
    })
}

/// A kind of objects, for the process's life. Their number is bounded, whatever
/// is read.
fn kind(name: &str) -> Result<model::ObjectKind, Corrupt> {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock();
    if let Some(kind) = known.get(name) {
        return Ok(kind);
    }
    if known.len() >= KINDS || name.len() > KINDS {
        return Err(Corrupt::Strange("too many kinds of objects"));
    }
    let kind: &'static str = Box::leak(name.to_owned().into_boxed_str());
    known.insert(kind);
    Ok(kind)
}
