//! Registries, aggregate, scopes and a proxy, without servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstem_aggregate::{
    Aggregate, AggregateConfig, Change, MergePolicy, Moment, RegistrySettings, Sharing,
};
use mainstem_model::{
    Address, Condition, Endpoint, EndpointSet, Key, Locality, MeshSettings, ObjectRef, Origins,
    Place, Port, Protocol, Proxy, RegistryId, RegistryUpdate, Rejected, Service, ServiceKey,
    Snapshot, Sourced, TargetPort, Value,
};
use mainstem_registry::{Batch, ExportSettings};
use mainstem_translate::{Kind, Scopes, Settings};
use mainstem_xds::Version;
use mainstem_xds::clients::{Answer, Nack, Push, Refused, TypeStatus};
use mainstem_xds::protocol::{Nonce, Rejection};
use serde_json::json;

use super::super::{Asked, Client, Exporting, Found, Ground, Question, Target, walk};

/// A name, what is planted, the step expected and a part of its reason.
pub type Situation = (&'static str, fn(&mut World), &'static str, &'static str);

pub const DB: &str = "db.shop.svc.cluster.local";
pub const CONSUL: &str = "consul/dc1";
pub const KUBE: &str = "kubernetes/home";
pub const FAR: &str = "kubernetes/far";
pub const FILE: &str = "file/static";

pub fn key() -> ServiceKey {
    ServiceKey::new(DB, "shop")
}

pub fn of(registry: &str, name: &str) -> Origins {
    Sourced::only(&registry.into(), "Service", name, "7")
}

/// A service of port 80.
pub fn service(registry: &str, key: &ServiceKey) -> Service {
    let port = Port {
        number: 80,
        name: "http".into(),
        protocol: Protocol::Http,
        target: TargetPort::Number(8080),
    };
    Service { ports: vec![port], ..Service::new(key.clone(), of(registry, "shop/db")) }
}

/// An endpoint at port 8080 of an address, in the registry's cluster.
pub fn endpoint(registry: &str, address: &str) -> Endpoint {
    let id = RegistryId::from(registry);
    let place = Place { cluster: id.cluster().into(), ..Place::default() };
    let origins = of(registry, &format!("shop/{address}"));
    let bare = Endpoint::new(80, Address::parse(address), 8080, origins);
    Endpoint { place: place.into(), ..bare }
}

/// What of a proxy's types is planted.
pub enum Told {
    Synced,
    Nothing,
    Pending,
    Unanswered,
    Refused(&'static str, &'static [&'static str]),
    /// The rest was accepted since.
    Withheld(&'static str, &'static [&'static str]),
}

pub struct World {
    pub config: AggregateConfig,
    pub updates: Vec<(RegistryId, RegistryUpdate)>,
    /// What comes after the first publication.
    pub later: Vec<(RegistryId, RegistryUpdate)>,
    pub expired: BTreeSet<RegistryId>,
    pub decisions: Vec<Change>,
    pub question: Question,
    pub proxy: Option<(&'static str, serde_json::Value)>,
    pub unsubscribed: Option<Kind>,
    pub cds: Told,
    pub eds: Told,
    pub waiting_for: Vec<RegistryId>,
    pub exports: Vec<Exporting>,
    /// Whether the proxy keeps the first snapshot.
    pub on_track: bool,
    /// Whether what comes later is published.
    pub publishes: bool,
}

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub fn at(seconds: u64) -> Moment {
    Moment::from(now()).after(Duration::from_secs(seconds))
}

impl World {
    /// A Kubernetes service with one endpoint, 10.0.0.1, and a sidecar that has it.
    pub fn new() -> Self {
        let registries = [KUBE, FAR, CONSUL, FILE].map(|id| RegistrySettings::new(id.into()));
        let config = AggregateConfig {
            cluster: "home".into(),
            registries: registries.into(),
            ..AggregateConfig::default()
        };
        let mut world = Self {
            config,
            updates: Vec::new(),
            later: Vec::new(),
            expired: BTreeSet::new(),
            decisions: Vec::new(),
            question: Question {
                host: DB.into(),
                namespace: None,
                target: Some(Target::parse("10.0.0.1:8080")),
            },
            proxy: Some(("sidecar~10.9.9.9~web.shop~shop.svc.cluster.local", json!({}))),
            unsubscribed: None,
            cds: Told::Synced,
            eds: Told::Synced,
            waiting_for: Vec::new(),
            exports: Vec::new(),
            on_track: false,
            publishes: true,
        };
        for id in [KUBE, FAR, CONSUL, FILE] {
            world.say(id, RegistryUpdate::Replace { values: Vec::new(), rejected: Vec::new() });
            world.say(id, RegistryUpdate::Condition(Condition::Live));
        }
        world.define(KUBE, |_| ());
        world.bring(KUBE, &["10.0.0.1"]);
        world
    }

    pub fn say(&mut self, registry: &str, update: RegistryUpdate) {
        self.updates.push((registry.into(), update));
    }

    pub fn say_later(&mut self, registry: &str, update: RegistryUpdate) {
        self.later.push((registry.into(), update));
    }

    /// The registry defines the service, somehow.
    pub fn define(&mut self, registry: &str, change: impl FnOnce(&mut Service)) {
        let mut service = service(registry, &key());
        change(&mut service);
        self.say(registry, RegistryUpdate::Put(Value::Service(Arc::new(service))));
    }

    /// The registry brings these addresses, and no others.
    pub fn bring(&mut self, registry: &str, addresses: &[&str]) {
        self.bring_as(registry, addresses, |_| ());
    }

    pub fn bring_as(&mut self, registry: &str, addresses: &[&str], change: impl Fn(&mut Endpoint)) {
        let all = set(registry, addresses, change);
        self.say(registry, RegistryUpdate::Put(all));
    }

    pub fn bring_later(&mut self, registry: &str, addresses: &[&str]) {
        self.say_later(registry, RegistryUpdate::Put(set(registry, addresses, |_| ())));
    }

    /// Nobody has the service.
    pub fn forget(&mut self) {
        self.say(KUBE, RegistryUpdate::Remove(Key::Service(key())));
        self.say(KUBE, RegistryUpdate::Remove(Key::Endpoints(key())));
    }

    pub fn reject(&mut self, registry: &str, name: &str, reason: &str) {
        let object = ObjectRef { kind: "Service", name: name.into() };
        let rejected = Rejected { object, reason: reason.to_owned() };
        self.say(registry, RegistryUpdate::Reject(rejected));
    }

    pub fn ask(&mut self, target: &str) {
        self.question.target = Some(Target::parse(target));
    }

    pub fn policy(&mut self, sharing: Sharing) {
        let hosts = vec![DB.into()];
        let policy =
            MergePolicy { name: "move".into(), hosts, sharing, fields: Default::default() };
        self.config.policies.push(policy);
    }

    /// The registry gives things under these rules.
    pub fn export(&mut self, registry: &str, change: impl FnOnce(&mut ExportSettings)) {
        let mut rules = ExportSettings::default();
        change(&mut rules);
        self.exports.push((registry.into(), rules));
    }

    pub fn mesh(&mut self, change: impl FnOnce(&mut MeshSettings)) {
        change(&mut self.config.mesh);
    }

    pub fn settings(&mut self, registry: &str) -> &mut RegistrySettings {
        let mut all = self.config.registries.iter_mut();
        all.find(|settings| settings.id == registry.into()).expect("the registry is configured")
    }

    /// The proxy has this id and metadata.
    pub fn proxy_is(&mut self, id: &'static str, metadata: serde_json::Value) {
        self.proxy = Some((id, metadata));
    }

    /// What is said of the question in this world.
    pub fn walk(self) -> Found {
        let mut aggregate = Aggregate::new(self.config.clone());
        hear(&mut aggregate, self.updates.clone());
        let mut control = aggregate.control_state().clone();
        let first: Arc<Snapshot> = aggregate.snapshot().clone();
        for change in &self.decisions {
            control.apply(change);
        }
        let dirty = aggregate.control(control);
        aggregate.publish(&dirty);
        let (dirty, _) = aggregate.steer(now());
        aggregate.publish(&dirty);
        if self.publishes {
            hear(&mut aggregate, self.later.clone());
        } else {
            for (id, update) in self.later.clone() {
                aggregate.receive(id, batch(update), now());
            }
        }
        let dirty = aggregate.expire(self.expired.clone());
        aggregate.publish(&dirty);
        let told = if self.on_track { first } else { aggregate.snapshot().clone() };
        self.asked(&aggregate, &told)
    }

    fn asked(&self, aggregate: &Aggregate, told: &Arc<Snapshot>) -> Found {
        let testimony = aggregate.testimony();
        let ground = |client| Ground {
            question: &self.question,
            testimony: &testimony,
            control: aggregate.control_state(),
            waiting_for: &self.waiting_for,
            exports: &self.exports,
            client,
        };
        let Some((id, metadata)) = &self.proxy else {
            return walk(&ground(Asked::Absent("no proxy web.shop is connected".to_owned())));
        };
        let cluster = "home".into();
        let proxy = Proxy::parse(id, metadata.clone(), Locality::default(), &cluster);
        let proxy = proxy.expect("the node id is well formed");
        let scopes = Scopes::new(Settings::default(), told.clone());
        let moment = scopes.attach(proxy.clone()).moment();
        let given = |kind: Kind, name: &str| Some(moment.view(kind).get(name)?.body.clone());
        let asks_for = |kind: Kind, _: &str| self.unsubscribed != Some(kind);
        let types = [status(Kind::Cluster, &self.cds), status(Kind::LoadAssignment, &self.eds)];
        walk(&ground(Asked::Client(Client {
            proxy: &proxy,
            track: self.on_track.then(|| "namespace=shop".to_owned()),
            types: &types,
            asks_for: &asks_for,
            given: &given,
        })))
    }
}

pub fn set(registry: &str, addresses: &[&str], change: impl Fn(&mut Endpoint)) -> Value {
    let each = addresses.iter().map(|address| {
        let mut one = endpoint(registry, address);
        change(&mut one);
        Arc::new(one)
    });
    Value::Endpoints(Arc::new(EndpointSet::new(key(), each.collect())))
}

fn batch(update: RegistryUpdate) -> Batch {
    let mut batch = Batch::default();
    batch.merge(update);
    batch
}

fn hear(aggregate: &mut Aggregate, updates: Vec<(RegistryId, RegistryUpdate)>) {
    for (id, update) in updates {
        let heard = aggregate.receive(id, batch(update), now());
        aggregate.publish(&heard.dirty);
        let dirty = aggregate.decide(&heard.decisions);
        aggregate.publish(&dirty);
    }
}

fn status(kind: Kind, told: &Told) -> TypeStatus {
    let sent = Push { nonce: Nonce::new(1, 2), at: now(), resources: 1, removed: 0, bytes: 100 };
    let answer = Answer { nonce: Nonce::new(1, 2), at: now() };
    let mut status = TypeStatus {
        type_url: kind.type_url().to_owned(),
        wildcard: kind == Kind::Cluster,
        names: 1,
        pending: 0,
        stale_since: None,
        sent: Some(sent),
        acked: None,
        nacked: None,
        refused: Vec::new(),
    };
    match told {
        Told::Synced => status.acked = Some(answer),
        Told::Nothing => status.sent = None,
        Told::Pending => status.pending = 3,
        Told::Unanswered => {}
        Told::Refused(message, culprits) => {
            let culprits = culprits.iter().map(|name| (*name).into()).collect();
            let rejection = Rejection { code: 13, message: (*message).to_owned(), culprits };
            status.nacked = Some(Nack { answer, rejection });
        }
        Told::Withheld(message, names) => {
            status.acked = Some(answer);
            let refused = |name: &&str| Refused {
                name: (*name).into(),
                version: Version::of(b"bad"),
                at: now(),
                message: (*message).into(),
            };
            status.refused = names.iter().map(refused).collect();
        }
    }
    status
}
