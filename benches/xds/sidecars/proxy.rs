//! One proxy: asks as Envoy does, decodes names and nonces, answers at once.
//!
//! ```text
//!  clusters ─▶ load assignments of those that have them ─▶ listeners ─▶ their routes ─▶ warm
//! ```

use std::rc::Rc;

use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::listener::v3::Listener;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mainstem_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::wire::{Fields, field, put};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Delta,
    Sotw,
}

const TYPES: [&str; 4] = [CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION];
const CDS: usize = 0;
const EDS: usize = 1;
const LDS: usize = 2;
const RDS: usize = 3;

type Id = u32;

/// Texts, each kept once.
#[derive(Default)]
pub struct Interner {
    ids: FxHashMap<Rc<[u8]>, Id>,
    texts: Vec<Rc<[u8]>>,
}

impl Interner {
    fn id(&mut self, text: &[u8]) -> Id {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let (id, text) = (self.texts.len() as Id, Rc::<[u8]>::from(text));
        self.ids.insert(text.clone(), id);
        self.texts.push(text);
        id
    }
}

/// What all proxies share, since they all run here.
#[derive(Default)]
pub struct Shared {
    names: [Interner; 4],
    versions: Interner,
    /// Names that a resource refers to, by its type and version.
    referred: FxHashMap<(usize, Id), Rc<[Id]>>,
    /// Encoded sets of names, by their identities.
    sets: FxHashMap<Vec<Id>, Rc<[u8]>>,
}

/// One proxy.
pub struct Proxy {
    protocol: Protocol,
    node: Vec<u8>,
    /// Per type, the version held by name; 0 is none.
    held: [Vec<Id>; 4],
    /// Per type, the names asked for.
    wanted: [Vec<Id>; 4],
    /// Per type, names asked for and not there yet.
    missing: [usize; 4],
    /// In SotW, the names of each request of a type, encoded.
    encoded: [Rc<[u8]>; 4],
    asked: [bool; 4],
    pub warm: bool,
}

impl Proxy {
    pub fn new(protocol: Protocol, node: Vec<u8>) -> Proxy {
        Proxy {
            protocol,
            node,
            held: Default::default(),
            wanted: Default::default(),
            missing: [0; 4],
            encoded: std::array::from_fn(|_| Rc::from([])),
            asked: [false; 4],
            warm: false,
        }
    }

    /// Repeats the names that the other asked for in each answer.
    pub fn answer_like(&mut self, other: &Proxy) {
        self.encoded = other.encoded.clone();
    }

    pub fn path(&self) -> &'static str {
        match self.protocol {
            Protocol::Delta => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            }
            Protocol::Sotw => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            }
        }
    }

    /// What it says first: on a new connection after an earlier one, everything
    /// at once with what it holds.
    pub fn open(&mut self, shared: &mut Shared) -> Vec<Vec<u8>> {
        if !self.asked[CDS] {
            return vec![self.ask(CDS, &[], shared)];
        }
        let asked = (0..4).filter(|kind| self.asked[*kind]).collect::<Vec<_>>();
        let all = asked.into_iter().map(|kind| {
            let names = self.wanted[kind].clone();
            self.ask(kind, &names, shared)
        });
        all.collect()
    }

    /// Takes in a response; returns what it says to it.
    pub fn take(&mut self, message: &[u8], shared: &mut Shared) -> Vec<Vec<u8>> {
        let url = field(message, 4);
        let Some(kind) = TYPES.iter().position(|of| of.as_bytes() == url) else {
            return Vec::new();
        };
        let mut referred = Vec::new();
        for (number, value) in Fields(message) {
            match (number, self.protocol) {
                (2, _) => self.take_resource(kind, value, shared, &mut referred),
                (6, Protocol::Delta) => {
                    self.hold(kind, shared.names[kind].id(value), 0);
                }
                _ => {}
            }
        }
        let mut out = vec![self.ack(kind, message)];
        out.extend(self.go_on(kind, referred, shared));
        out
    }

    /// What it holds of a type, as one number.
    pub fn digest(&self, kind: usize, shared: &Shared) -> u128 {
        let held = self.held[kind].iter().enumerate().filter(|(_, version)| **version > 0);
        held.fold(0, |sum, (name, version)| {
            let (names, versions) = (&shared.names[kind].texts, &shared.versions.texts);
            let entry = [&*names[name], &*versions[*version as usize - 1]].concat();
            sum.wrapping_add(xxh3_128(&entry))
        })
    }

    fn take_resource(
        &mut self,
        kind: usize,
        value: &[u8],
        shared: &mut Shared,
        referred: &mut Vec<Id>,
    ) {
        let any = if self.protocol == Protocol::Delta { field(value, 2) } else { value };
        let body = field(any, 2);
        let (name, version) = match self.protocol {
            Protocol::Delta => (field(value, 3), shared.versions.id(field(value, 1))),
            // Every type that is asked for has its name in its first field.
            Protocol::Sotw => (field(body, 1), shared.versions.id(&xxh3_128(body).to_le_bytes())),
        };
        let name = shared.names[kind].id(name);
        if !self.hold(kind, name, version + 1) || !matches!(kind, CDS | LDS) {
            return;
        }
        if !shared.referred.contains_key(&(kind, version)) {
            let names = referred_by(kind, body);
            let interner = &mut shared.names[kind + 1];
            let ids = names.iter().map(|name| interner.id(name.as_bytes())).collect();
            shared.referred.insert((kind, version), ids);
        }
        referred.extend_from_slice(&shared.referred[&(kind, version)]);
    }

    /// Whether that is something else than before.
    fn hold(&mut self, kind: usize, name: Id, version: Id) -> bool {
        let (held, name) = (&mut self.held[kind], name as usize);
        if held.len() <= name {
            held.resize(name + 1, 0);
        }
        let before = std::mem::replace(&mut held[name], version);
        if before == 0 && version != 0 {
            self.missing[kind] = self.missing[kind].saturating_sub(1);
        }
        before != version
    }

    /// Asks for what is referred to, and for the next type when that came.
    fn go_on(&mut self, kind: usize, referred: Vec<Id>, shared: &mut Shared) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if matches!(kind, CDS | LDS) && !referred.is_empty() {
            let of = kind + 1;
            let known: FxHashSet<Id> = self.wanted[of].iter().copied().collect();
            let mut new: Vec<Id> =
                referred.into_iter().filter(|name| !known.contains(name)).collect();
            new.sort_unstable();
            new.dedup();
            if !new.is_empty() {
                self.missing[of] += new.len();
                self.wanted[of].extend(&new);
                out.push(self.ask(of, &new, shared));
            }
        }
        let complete = |kind: usize| self.missing[kind] == 0;
        // The floor's changes come to proxies that were told of no cluster.
        let begun = kind == CDS || self.asked[EDS];
        if begun && !self.asked[LDS] && complete(EDS) {
            out.push(self.ask(LDS, &[], shared));
        } else if self.asked[LDS] && kind >= LDS && complete(RDS) {
            self.warm = true;
        }
        out
    }

    /// A request for names; in SotW for all that it wants.
    fn ask(&mut self, kind: usize, names: &[Id], shared: &mut Shared) -> Vec<u8> {
        let again = std::mem::replace(&mut self.asked[kind], true);
        let text =
            |id: Id| String::from_utf8(shared.names[kind].texts[id as usize].to_vec()).unwrap();
        let mut request = Vec::new();
        match self.protocol {
            Protocol::Delta => {
                let holds = again && names.len() == self.wanted[kind].len();
                DeltaDiscoveryRequest {
                    type_url: TYPES[kind].to_owned(),
                    resource_names_subscribe: if matches!(kind, CDS | LDS) {
                        vec!["*".to_owned()]
                    } else {
                        names.iter().map(|name| text(*name)).collect()
                    },
                    initial_resource_versions: if holds {
                        self.versions(kind, shared)
                    } else {
                        Default::default()
                    },
                    ..Default::default()
                }
                .encode(&mut request)
                .unwrap();
            }
            Protocol::Sotw => {
                let all = &self.wanted[kind];
                self.encoded[kind] = shared
                    .sets
                    .entry([&[kind as Id], &**all].concat())
                    .or_insert_with(|| {
                        let mut names = Vec::new();
                        all.iter().for_each(|name| put(3, text(*name).as_bytes(), &mut names));
                        names.into()
                    })
                    .clone();
                request.extend_from_slice(&self.encoded[kind]);
                DiscoveryRequest { type_url: TYPES[kind].to_owned(), ..Default::default() }
                    .encode(&mut request)
                    .unwrap();
            }
        }
        const NODE: [u32; 2] = [1, 2];
        put(NODE[usize::from(self.protocol == Protocol::Sotw)], &self.node, &mut request);
        request
    }

    fn versions(&self, kind: usize, shared: &Shared) -> std::collections::BTreeMap<String, String> {
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        let held = self.held[kind].iter().enumerate().filter(|(_, version)| **version > 0);
        held.map(|(name, version)| {
            let version = &shared.versions.texts[*version as usize - 1];
            (text(&shared.names[kind].texts[name]), text(version))
        })
        .collect()
    }

    fn ack(&self, kind: usize, message: &[u8]) -> Vec<u8> {
        let nonce = field(message, 5);
        let mut request = Vec::with_capacity(self.encoded[kind].len() + 128);
        match self.protocol {
            Protocol::Delta => {
                put(2, TYPES[kind].as_bytes(), &mut request);
                put(6, nonce, &mut request);
            }
            Protocol::Sotw => {
                put(1, field(message, 1), &mut request);
                request.extend_from_slice(&self.encoded[kind]);
                put(4, TYPES[kind].as_bytes(), &mut request);
                put(5, nonce, &mut request);
            }
        }
        request
    }
}

/// The load assignment of a cluster, the route configurations of a listener.
fn referred_by(kind: usize, body: &[u8]) -> Vec<String> {
    if kind == CDS {
        let cluster = Cluster::decode(body).unwrap();
        let service = cluster.eds_cluster_config.map(|config| config.service_name);
        return service
            .map(|name| if name.is_empty() { cluster.name } else { name })
            .into_iter()
            .collect();
    }
    let listener = Listener::decode(body).unwrap();
    let chains = listener.filter_chains.into_iter().chain(listener.default_filter_chain);
    let filters = chains.flat_map(|chain| chain.filters);
    let managers = filters.filter_map(|filter| {
        use mainstem_proto::envoy::config::listener::v3::filter::ConfigType;
        match filter.config_type? {
            ConfigType::TypedConfig(any) if any.type_url.ends_with("HttpConnectionManager") => {
                HttpConnectionManager::decode(any.value).ok()
            }
            _ => None,
        }
    });
    let routes = managers.filter_map(|manager| match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    });
    routes.collect()
}
