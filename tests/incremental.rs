//! After any sequence of changes in any registries, what every proxy is told
//! equals what a fresh server, which heard the registries in another order, tells
//! it: byte for byte, for all types of resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_aggregate::{Aggregate, AggregateConfig, RegistrySettings};
use mainstem_model::{
    Address, Condition, Endpoint, EndpointSet, Health, Key, Labels, Locality, Place, Port,
    Protocol, Proxy, RegistryId, RegistryUpdate, Resolution, Service, ServiceKey, Sourced,
    TargetPort, Value, Visibility, Workload, WorkloadKey,
};
use mainstem_registry::Batch;
use mainstem_translate::{Attached, Kind, Scopes, Settings};
use proptest::prelude::*;
use serde_json::json;

const REGISTRIES: [&str; 3] = ["kubernetes/home", "consul/dc1", "file/static"];

/// One thing that one registry says.
#[derive(Clone, Debug)]
enum Op {
    Service {
        host: u8,
        ports: u8,
        resolution: u8,
        hidden: bool,
        selects: bool,
    },
    Endpoints {
        host: u8,
        hosts: Vec<u8>,
        weight: u32,
        health: u8,
    },
    Workload {
        name: u8,
        labelled: bool,
    },
    RemoveService(u8),
    RemoveEndpoints(u8),
    RemoveWorkload(u8),
    Fail,
    /// Says all that it holds again, as after a relist.
    Resync,
}

fn op() -> impl Strategy<Value = Op> {
    let host = 0u8..4;
    prop_oneof![
        3 => (host.clone(), 0u8..6, 0u8..8, prop::bool::weighted(0.2), any::<bool>()).prop_map(
            |(host, ports, resolution, hidden, selects)| Op::Service { host, ports, resolution, hidden, selects }
        ),
        4 => (host.clone(), prop::collection::vec(1u8..6, 0..4), 1u32..4, 0u8..4).prop_map(
            |(host, hosts, weight, health)| Op::Endpoints { host, hosts, weight, health }
        ),
        2 => (1u8..4, any::<bool>()).prop_map(|(name, labelled)| Op::Workload { name, labelled }),
        1 => host.clone().prop_map(Op::RemoveService),
        1 => host.prop_map(Op::RemoveEndpoints),
        1 => (1u8..4).prop_map(Op::RemoveWorkload),
        1 => Just(Op::Fail),
        1 => Just(Op::Resync),
    ]
}

fn registry(index: usize) -> RegistryId {
    RegistryId::from(REGISTRIES[index])
}

fn key(host: u8) -> ServiceKey {
    ServiceKey::new(format!("s{host}.shop.svc.cluster.local").as_str(), "shop")
}

fn service(
    registry: &RegistryId,
    host: u8,
    ports: u8,
    resolution: u8,
    hidden: bool,
    selects: bool,
) -> Value {
    const CHOICES: [(u16, &str, Protocol); 5] = [
        (80, "http", Protocol::Http),
        (80, "web", Protocol::Unspecified),
        (9090, "grpc", Protocol::Grpc),
        (5432, "tcp-db", Protocol::Tcp),
        (443, "tls", Protocol::Tls),
    ];
    let mut service =
        Service::new(key(host), Sourced::only(registry, "Service", &host.to_string(), "1"));
    let chosen = CHOICES.iter().cycle().skip(ports.into()).take(usize::from(ports % 3) + 1);
    let mut by_number = BTreeMap::new();
    for (number, name, protocol) in chosen {
        by_number.entry(*number).or_insert_with(|| Port {
            number: *number,
            name: (*name).into(),
            protocol: *protocol,
            target: TargetPort::Number(8080),
        });
    }
    service.ports = by_number.into_values().collect();
    service.resolution = match resolution {
        0 => Resolution::Dns,
        1 => Resolution::Passthrough,
        2 => Resolution::DnsRoundRobin,
        3 => {
            service.alias_of = Some(key((host + 1) % 4).hostname().clone());
            Resolution::Alias
        }
        _ => Resolution::ClientSide,
    };
    if resolution > 4 {
        let ip = format!("10.0.0.{}", host + 1).parse().expect("an address");
        service.addresses = [(registry.cluster().into(), vec![ip])].into();
    }
    if hidden {
        service.visibility = Visibility::Namespaces(["elsewhere".into()].into());
    }
    if selects {
        service.selector = Labels::from_iter([("app", "web")]);
    }
    Value::Service(Arc::new(service))
}

fn endpoints(registry: &RegistryId, host: u8, hosts: &[u8], weight: u32, health: u8) -> Value {
    let health = [Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy]
        [usize::from(health)];
    let all = hosts.iter().map(|at| {
        let origins = Sourced::only(registry, "instance", &format!("{host}-{at}"), "1");
        let address = Address::parse(&format!("10.1.0.{at}"));
        Arc::new(Endpoint {
            weight,
            health,
            place: Place {
                locality: Locality::parse(&format!("eu/eu-{}", at % 2)),
                cluster: registry.cluster().into(),
                ..Place::default()
            }
            .into(),
            ..Endpoint::new(80, address, 8080, origins)
        })
    });
    Value::Endpoints(Arc::new(EndpointSet::new(key(host), all.collect())))
}

fn workload_key(registry: &RegistryId, name: u8) -> WorkloadKey {
    WorkloadKey::new(registry.cluster().into(), "shop".into(), &format!("w{name}"))
}

fn workload(registry: &RegistryId, name: u8, labelled: bool) -> Value {
    let origins = Sourced::only(registry, "Pod", &format!("w{name}"), "1");
    let mut workload = Workload::new(workload_key(registry, name), origins);
    workload.addresses = vec![Address::parse(&format!("10.1.0.{name}"))];
    if labelled {
        workload.labels = Labels::from_iter([("app", "web")]);
    }
    Value::Workload(Arc::new(workload))
}

/// What a registry holds by its own word.
type Held = BTreeMap<Key, Value>;

fn update(registry: &RegistryId, held: &mut Held, op: &Op) -> RegistryUpdate {
    let value = match op {
        Op::Service { host, ports, resolution, hidden, selects } => {
            service(registry, *host, *ports, *resolution, *hidden, *selects)
        }
        Op::Endpoints { host, hosts, weight, health } => {
            endpoints(registry, *host, hosts, *weight, *health)
        }
        Op::Workload { name, labelled } => workload(registry, *name, *labelled),
        Op::RemoveService(host) => return remove(held, Key::Service(key(*host))),
        Op::RemoveEndpoints(host) => return remove(held, Key::Endpoints(key(*host))),
        Op::RemoveWorkload(name) => {
            return remove(held, Key::Workload(workload_key(registry, *name)));
        }
        Op::Fail => return RegistryUpdate::Condition(Condition::Failed("down".into())),
        Op::Resync => return replace(held),
    };
    held.insert(value.key(), value.clone());
    RegistryUpdate::Put(value)
}

fn remove(held: &mut Held, key: Key) -> RegistryUpdate {
    held.remove(&key);
    RegistryUpdate::Remove(key)
}

fn replace(held: &Held) -> RegistryUpdate {
    RegistryUpdate::Replace { values: held.values().cloned().collect(), rejected: Vec::new() }
}

/// Registries that may join each other's services; Consul defines none of them.
fn aggregate() -> Aggregate {
    let registries = REGISTRIES.map(|id| RegistrySettings {
        joins: vec!["*.shop.svc.cluster.local".into()],
        ..RegistrySettings::new(id.into())
    });
    Aggregate::new(AggregateConfig {
        cluster: "home".into(),
        registries: registries.to_vec(),
        ..AggregateConfig::default()
    })
}

fn say(aggregate: &mut Aggregate, registry: RegistryId, update: RegistryUpdate) {
    let mut batch = Batch::default();
    batch.merge(update);
    let dirty = aggregate.apply(registry, batch);
    aggregate.publish(&dirty);
}

fn grpc(mut proxy: Proxy) -> Proxy {
    proxy.metadata.generator = Some("grpc".to_owned());
    proxy
}

fn importer(mut proxy: Proxy) -> Proxy {
    proxy.metadata.generator = Some("api".to_owned());
    proxy
}

fn proxies() -> Vec<Proxy> {
    let proxy = |id: &str, interception: &str| {
        let metadata = json!({ "CLUSTER_ID": "home", "INTERCEPTION_MODE": interception });
        let locality = Locality::parse("eu/eu-1");
        Proxy::parse(id, metadata, locality, &"home".into()).expect("a well-formed node id")
    };
    vec![
        proxy("sidecar~10.1.0.1~w1.shop~shop.svc.cluster.local", "REDIRECT"),
        proxy("sidecar~10.1.0.2~w2.shop~shop.svc.cluster.local", "TPROXY"),
        proxy("sidecar~10.1.0.3~w3.shop~shop.svc.cluster.local", "NONE"),
        proxy("sidecar~10.1.0.9~w9.elsewhere~elsewhere.svc.cluster.local", "REDIRECT"),
        proxy("router~10.1.0.8~gateway.shop~shop.svc.cluster.local", "REDIRECT"),
        grpc(proxy("sidecar~10.1.0.7~app.shop~shop.svc.cluster.local", "NONE")),
        grpc(proxy("sidecar~10.1.0.6~app.elsewhere~elsewhere.svc.cluster.local", "NONE")),
        importer(proxy("sidecar~10.1.0.5~mainstem.elsewhere~x", "NONE")),
        importer(proxy("sidecar~10.1.0.4~istiod.istio-system~x", "NONE")),
    ]
}

/// Every resource of a proxy with its bytes.
fn told(attached: &Attached) -> BTreeMap<(Kind, String), Vec<u8>> {
    let moment = attached.moment();
    let all = Kind::ALL.into_iter().flat_map(|kind| {
        let view = moment.view(kind);
        let entries = view.iter().map(|r| ((kind, r.name.to_string()), r.body.to_bytes().to_vec()));
        entries.collect::<Vec<_>>()
    });
    all.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn incremental_equals_from_scratch_in_any_order_byte_for_byte(
        ops in prop::collection::vec((0..REGISTRIES.len(), op()), 1..60),
    ) {
        let mut aggregate_one = aggregate();
        let scopes = Scopes::new(Settings::default(), aggregate_one.snapshot().clone());
        let attached: Vec<_> = proxies().into_iter().map(|proxy| scopes.attach(proxy)).collect();
        let mut held: [Held; REGISTRIES.len()] = Default::default();
        for (index, op) in &ops {
            let registry = registry(*index);
            let update = update(&registry, &mut held[*index], op);
            let before: Vec<_> = attached.iter().map(|proxy| proxy.moment()).collect();
            say(&mut aggregate_one, registry, update);
            scopes.update(aggregate_one.snapshot());
            for (proxy, before) in attached.iter().zip(before) {
                // Whoever follows the reported names ends with the same content.
                let now = proxy.moment();
                let named: Vec<_> = now.changes_since(&before).collect();
                for kind in Kind::ALL {
                    let (then, now) = (before.view(kind), now.view(kind));
                    let changed = |name: &str| {
                        then.get(name).map(|r| r.version) != now.get(name).map(|r| r.version)
                    };
                    let differ: Vec<_> = then.iter().chain(now.iter())
                        .filter(|resource| changed(&resource.name))
                        .map(|resource| resource.name.clone())
                        .collect::<std::collections::BTreeSet<_>>().into_iter().collect();
                    let reported = named.iter().find(|(k, _)| *k == kind).map(|(_, n)| n.clone());
                    prop_assert_eq!(&*reported.unwrap_or_default(), differ);
                }
            }
        }

        let mut aggregate_two = aggregate();
        for index in (0..REGISTRIES.len()).rev() {
            say(&mut aggregate_two, registry(index), replace(&held[index]));
        }
        let fresh = Scopes::new(Settings::default(), aggregate_two.snapshot().clone());
        for (proxy, attached) in proxies().into_iter().zip(&attached) {
            let id = proxy.id.clone();
            prop_assert_eq!(told(attached), told(&fresh.attach(proxy)), "{}", id);
        }
    }
}
