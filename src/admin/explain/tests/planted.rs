//! The situations.

use std::sync::Arc;

use mainstem_aggregate::{Change, Drain, ExpiryAction, Freeze, Isolation, Scope, Sharing};
use mainstem_model::{
    Address, Condition, Health, Key, Labels, Locality, NetworkGateway, NetworkGatewayKey, Place,
    RegistryUpdate, Resolution, ServiceKey, TlsMode, Value, Visibility, Workload, WorkloadKey,
};
use mainstem_translate::Kind;
use serde_json::json;

use super::world::{
    CONSUL, DB, FAR, FILE, KUBE, Situation, Told, World, at, key, of, service, set,
};

const CLUSTER: &str = "outbound|80||db.shop.svc.cluster.local";

fn failed() -> RegistryUpdate {
    RegistryUpdate::Condition(Condition::Failed("connection refused".into()))
}

fn workload(world: &mut World, health: Health) {
    let workload = Workload {
        key: WorkloadKey::new("home".into(), "shop".into(), "db-1"),
        labels: Labels::default(),
        addresses: vec![Address::parse("10.0.0.5")],
        network: "".into(),
        locality: Locality::default(),
        node: None,
        identity: None,
        ports: Default::default(),
        health,
        tls_mode: TlsMode::Disabled,
        weight: 1,
        origins: of(KUBE, "shop/db-1"),
    };
    world.say(KUBE, RegistryUpdate::Put(Value::Workload(Arc::new(workload))));
    world.ask("10.0.0.5");
}

/// What Consul brings to the Kubernetes service is asked about.
fn joining(world: &mut World) {
    world.settings(CONSUL).joins = vec!["*".into()];
    world.bring(CONSUL, &["10.0.0.9"]);
    world.ask("10.0.0.9");
}

/// A service of this name in another namespace is asked about, which `registry` has.
fn elsewhere(world: &mut World, registry: &str) {
    let other = ServiceKey::new(DB, "other");
    let update = |value| RegistryUpdate::Put(value);
    let definition = Value::Service(Arc::new(service(registry, &other)));
    world.say(registry, update(definition));
    let one = Arc::new(super::world::endpoint(registry, "10.0.0.7"));
    let set = mainstem_model::EndpointSet::new(other, vec![one]);
    world.say(registry, update(Value::Endpoints(Arc::new(set))));
    world.ask("10.0.0.7");
    world.question.namespace = Some("other".into());
}

fn in_network(world: &mut World, network: &'static str, health: Health) {
    world.bring_as(KUBE, &["10.0.0.1"], move |e| {
        e.place =
            Place { network: network.into(), cluster: "home".into(), ..Place::default() }.into();
        e.health = health;
    });
}

fn gateway(world: &mut World, network: &str) {
    let key = NetworkGatewayKey {
        network: network.into(),
        cluster: "home".into(),
        address: Address::parse("34.1.1.1"),
        port: 15443,
    };
    let gateway = NetworkGateway { key, origins: of(KUBE, "gateway") };
    world.say(KUBE, RegistryUpdate::Put(Value::Gateway(Arc::new(gateway))));
}

fn freeze(world: &mut World, service: Option<ServiceKey>) {
    let freeze = Freeze { since: at(0), until: at(60), reason: "release night".to_owned() };
    let scope = Scope { registry: KUBE.into(), service };
    world.decisions.push(Change::Freeze(scope, Some(freeze)));
    world.bring_later(KUBE, &["10.0.0.1", "10.0.0.2"]);
    world.ask("10.0.0.2");
}

fn prefer(world: &mut World) {
    world.policy(Sharing::Prefer(vec![KUBE.into(), CONSUL.into()]));
    world.bring(CONSUL, &["10.0.0.9"]);
    world.ask("10.0.0.9");
}

/// Consul has a service of its own with four endpoints, and then half of them.
fn halved(world: &mut World) {
    world.settings(CONSUL).hosts = vec!["*".into()];
    world.forget();
    world.updates.retain(|(id, _)| id.as_str() != CONSUL);
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let definition = Value::Service(Arc::new(service(CONSUL, &key())));
    let values = vec![definition, set(CONSUL, &all, |_| ())];
    world.say(CONSUL, RegistryUpdate::Replace { values, rejected: Vec::new() });
    world.say(CONSUL, RegistryUpdate::Condition(Condition::Live));
    world.bring(CONSUL, &["10.0.0.4"]);
}

pub const REMOVED: &[Situation] = &[
    (
        "a service that its registry leaves out",
        |w| {
            w.forget();
            w.export(CONSUL, |rules| rules.exclude = vec!["*.shop.svc.cluster.local".to_owned()]);
        },
        "export",
        "consul/dc1 leaves db.shop.svc.cluster.local out: exclude *.shop.svc.cluster.local",
    ),
    (
        "a service that its registry gives under another name",
        |w| {
            w.forget();
            w.export(CONSUL, |rules| {
                rules.aliases = [(DB.to_owned(), "shop/store.shop".to_owned())].into();
            });
        },
        "export",
        "consul/dc1 gives db.shop.svc.cluster.local as store.shop: alias",
    ),
    (
        "a host name that nobody knows",
        |w| w.question.host = "nobody.example".into(),
        "registry",
        "no registry brings 10.0.0.1:8080 of nobody.example",
    ),
    (
        "a service that is loaded on demand, and that nobody asked for",
        |w| {
            w.forget();
            w.say(CONSUL, RegistryUpdate::Put(Value::Unloaded(key())));
        },
        "loaded",
        "consul/dc1 has shop/db.shop.svc.cluster.local and loads it on demand",
    ),
    (
        "an address that nobody has",
        |w| w.ask("10.0.0.66"),
        "registry",
        "no registry brings 10.0.0.66",
    ),
    (
        "a deleted endpoint",
        |w| w.say_later(KUBE, RegistryUpdate::Remove(Key::Endpoints(key()))),
        "registry",
        "no registry brings",
    ),
    (
        "another name",
        |w| {
            w.define(KUBE, |s| {
                s.aliases.insert("pg.shop".into());
            });
            w.question.host = "pg.shop".into();
        },
        "registry",
        "another name of db.shop",
    ),
    (
        "a malformed object",
        |w| {
            w.forget();
            w.reject(KUBE, "shop/db", "port 99999 is none");
        },
        "accepted",
        "port 99999 is none",
    ),
    (
        "a malformed instance",
        |w| {
            w.reject(CONSUL, "db/10.0.0.8", "weight is negative");
            w.ask("10.0.0.8");
        },
        "accepted",
        "consul/dc1 brings an object that cannot be understood",
    ),
    ("a pod that is not ready", |w| workload(w, Health::Unhealthy), "ready", "is not ready"),
    (
        "a pod that is not selected",
        |w| workload(w, Health::Healthy),
        "ready",
        "selector leaves it out",
    ),
    (
        "a registry that is syncing",
        |w| {
            w.updates.retain(|(id, _)| id.as_str() != FILE);
            w.forget();
        },
        "synced",
        "file/static is still syncing",
    ),
    (
        "a registry that never answered",
        |w| {
            w.updates.retain(|(id, _)| id.as_str() != FILE);
            w.forget();
            w.say(FILE, failed());
        },
        "synced",
        "has never been complete, and fails: connection refused",
    ),
    (
        "a registry that does not answer",
        |w| {
            w.ask("10.0.0.66");
            w.say(KUBE, failed());
        },
        "synced",
        "connection refused",
    ),
    (
        "an expired registry",
        |w| {
            w.settings(KUBE).expiry.action = ExpiryAction::Remove;
            w.say(KUBE, failed());
            w.expired.insert(KUBE.into());
        },
        "expired",
        "not answered for too long",
    ),
    ("another target port", |w| w.ask("10.0.0.1:9090"), "port", "at 8080 for port 80, not at 9090"),
    (
        "a port that the service lacks",
        |w| {
            w.settings(CONSUL).joins = vec!["*".into()];
            w.bring_as(CONSUL, &["10.0.0.9"], |e| e.port = 81);
            w.ask("10.0.0.9");
        },
        "port",
        "the service has no port 81",
    ),
    (
        "a host that Consul may not define",
        |w| {
            w.forget();
            w.define(CONSUL, |_| ());
            w.bring(CONSUL, &["10.0.0.9"]);
            w.ask("10.0.0.9");
        },
        "hosts",
        "hosts of consul/dc1 does not include",
    ),
    (
        "endpoints without a service",
        |w| w.say(KUBE, RegistryUpdate::Remove(Key::Service(key()))),
        "hosts",
        "no registry defines",
    ),
    (
        "a host that Consul may not join",
        |w| {
            w.bring(CONSUL, &["10.0.0.9"]);
            w.ask("10.0.0.9");
        },
        "joins",
        "joins of consul/dc1 does not include",
    ),
    (
        "isolated by policy",
        |w| {
            joining(w);
            w.policy(Sharing::Isolate(Isolation::Registries(vec![KUBE.into()])));
        },
        "policy",
        "isolates the service to kubernetes/home",
    ),
    ("not preferred by policy", prefer, "policy", "prefers kubernetes/home"),
    (
        "isolated to the client's cluster",
        |w| {
            w.policy(Sharing::Isolate(Isolation::OwnCluster));
            w.bring(FAR, &["10.0.0.9"]);
            w.ask("10.0.0.9");
        },
        "cluster-local",
        "it is in far, the proxy in home",
    ),
    ("newer than a freeze of the registry", |w| freeze(w, None), "freeze", "release night"),
    ("newer than a freeze of the service", |w| freeze(w, Some(key())), "freeze", "release night"),
    (
        "an endpoint not published yet",
        |w| {
            w.publishes = false;
            w.bring_later(KUBE, &["10.0.0.1", "10.0.0.2"]);
            w.ask("10.0.0.2");
        },
        "published",
        "the next snapshot will have it",
    ),
    ("no proxy", |w| w.proxy = None, "connected", "no proxy web.shop is connected"),
    (
        "nobody is served yet",
        |w| w.waiting_for = vec![CONSUL.into()],
        "served",
        "before consul/dc1 is known",
    ),
    (
        "exported to another namespace",
        |w| {
            w.define(KUBE, |s| {
                s.visibility = Visibility::Namespaces(["ops".into()].into());
            })
        },
        "visible",
        "exportTo, or the mesh's default, is ops",
    ),
    (
        "exported to nobody",
        |w| w.define(KUBE, |s| s.visibility = Visibility::Namespaces([].into())),
        "visible",
        "is nobody",
    ),
    (
        "hidden by the mesh's default",
        |w| {
            w.mesh(|m| m.default_service_export_to = vec![".".to_owned()]);
            w.proxy_is("sidecar~10.9.9.9~web.ops~ops.svc.cluster.local", json!({}));
        },
        "visible",
        "is shop",
    ),
    (
        "another namespace's service of that name",
        |w| elsewhere(w, KUBE),
        "visible",
        "means shop/db.shop",
    ),
    (
        "a name taken over elsewhere",
        |w| elsewhere(w, FILE),
        "visible",
        "kubernetes/home defines the name",
    ),
    (
        "cluster-local",
        |w| {
            w.define(KUBE, |s| s.cluster_local = true);
            w.proxy_is(
                "sidecar~10.9.9.9~web.shop~shop.svc.cluster.local",
                json!({"CLUSTER_ID": "far"}),
            );
        },
        "cluster-local",
        "it is in home, the proxy in far",
    ),
    (
        "node-local",
        |w| w.define(KUBE, |s| s.node_local = true),
        "node-local",
        "internalTrafficPolicy",
    ),
    (
        "unhealthy behind a gateway",
        |w| {
            gateway(w, "vpc");
            in_network(w, "vpc", Health::Unhealthy);
        },
        "network",
        "gateways stand in for healthy ones alone",
    ),
    (
        "a name among addresses",
        |w| {
            w.bring(KUBE, &["10.0.0.1", "db.example.com"]);
            w.ask("db.example.com");
        },
        "address",
        "carry no such address: db.example.com",
    ),
    (
        "traffic that passes through",
        |w| w.define(KUBE, |s| s.resolution = Resolution::Passthrough),
        "address",
        "no endpoints are told",
    ),
    (
        "a frozen proxy",
        |w| {
            w.on_track = true;
            w.bring_later(KUBE, &["10.0.0.1", "10.0.0.2"]);
            w.ask("10.0.0.2");
        },
        "track",
        "frozen with namespace=shop",
    ),
    (
        "a load assignment not asked for",
        |w| w.unsubscribed = Some(Kind::LoadAssignment),
        "subscribed",
        "did not ask for EDS",
    ),
    (
        "a cluster not asked for",
        |w| w.unsubscribed = Some(Kind::Cluster),
        "subscribed",
        "did not ask for CDS",
    ),
    ("a load assignment not sent", |w| w.eds = Told::Nothing, "sent", "no EDS response was sent"),
    ("a load assignment that waits", |w| w.eds = Told::Pending, "sent", "3 EDS names wait"),
    (
        "a load assignment not answered",
        |w| w.eds = Told::Unanswered,
        "acked",
        "sent and not answered yet",
    ),
    (
        "a load assignment refused",
        |w| w.eds = Told::Refused("priority 1 without 0", &[]),
        "acked",
        "priority 1 without 0",
    ),
    (
        "a cluster refused",
        |w| w.cds = Told::Refused("duplicate cluster", &[CLUSTER]),
        "acked",
        "duplicate cluster",
    ),
    (
        "a cluster refused while the rest was accepted",
        |w| w.cds = Told::Withheld("duplicate cluster", &["other", CLUSTER]),
        "acked",
        "the proxy refused CDS outbound|80||db.shop.svc.cluster.local: duplicate cluster",
    ),
];

pub const IDLE: &[Situation] = &[
    ("held by the guard", halved, "guard", "held in the last tier until"),
    (
        "unhealthy",
        |w| w.bring_as(KUBE, &["10.0.0.1"], |e| e.health = Health::Unhealthy),
        "health",
        "unhealthy",
    ),
    (
        "a drained registry",
        |w| {
            w.bring(FAR, &["10.0.0.9"]);
            let drain =
                Drain { since: at(0), until: at(0), from: 100, to: 0, reason: String::new() };
            w.decisions.push(Change::Drain(KUBE.into(), Some(drain)));
        },
        "drain",
        "kubernetes/home is drained",
    ),
    (
        "a higher tier",
        |w| {
            w.policy(Sharing::Failover([(KUBE.into(), 0), (CONSUL.into(), 1)].into()));
            w.bring(CONSUL, &["10.0.0.9"]);
            w.ask("10.0.0.9");
        },
        "tier",
        "tier 1: idle while tier 0",
    ),
];

pub const THERE: &[Situation] = &[
    ("there", |_| (), "acked", "accepted EDS"),
    (
        "there beside others that are refused",
        |w| w.eds = Told::Withheld("priority 1 without 0", &["one", "two"]),
        "acked",
        "accepted EDS outbound|80||db.shop.svc.cluster.local, and refuses 2 other",
    ),
    (
        "brought under an alias",
        |w| {
            w.export(KUBE, |rules| {
                rules.aliases = [("db.vm".to_owned(), format!("shop/{DB}"))].into();
            });
        },
        "export",
        "kubernetes/home gives db.vm under this name, by an alias",
    ),
    (
        "behind a gateway",
        |w| {
            gateway(w, "vpc");
            in_network(w, "vpc", Health::Healthy);
        },
        "network",
        "34.1.1.1:15443",
    ),
    (
        "in a network without a gateway",
        |w| in_network(w, "vpc", Health::Healthy),
        "network",
        "no gateway is known",
    ),
];
