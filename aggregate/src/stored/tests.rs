use std::sync::Arc;

use mainstem_model::{
    Address, Body, ClusterId, Config, ConfigKey, Endpoint, EndpointSet, Health, Labels, Locality,
    Message, Namespace, NetworkGateway, NetworkGatewayKey, Origins, Place, Port, Protocol,
    Resolution, Service, ServiceKey, Sourced, TargetPort, TlsMode, TrafficDistribution, Value,
    Visibility, Workload, WorkloadKey,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn bytes(values: &[Value]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    values.iter().for_each(|value| encoder.value(value));
    encoder.finish()
}

fn json(values: &[Value]) -> Vec<serde_json::Value> {
    values.iter().map(|value| serde_json::to_value(value).unwrap()).collect()
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-d]{1,2}", "[\\PC]{0,4}"]
}

fn origins() -> impl Strategy<Value = Origins> {
    let kind = prop::sample::select(vec!["Service", "instance", "EndpointSlice"]);
    vec((word(), kind, word(), word()), 1..3).prop_map(|all| {
        let each = all.into_iter().map(|(registry, kind, name, revision)| {
            Sourced::only(&registry.as_str().into(), kind, &name, &revision)[0].clone()
        });
        each.collect()
    })
}

fn labels() -> impl Strategy<Value = Labels> {
    vec((word(), word()), 0..3).prop_map(Labels::from_iter)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(Address::Ip),
        word().prop_map(|name| Address::Host(name.as_str().into())),
        word().prop_map(|path| Address::Unix(path.into())),
    ]
}

fn locality() -> impl Strategy<Value = Locality> {
    (word(), word(), word())
        .prop_map(|(region, zone, subzone)| Locality::new(&region, &zone, &subzone))
}

fn workload_key() -> impl Strategy<Value = WorkloadKey> {
    (word(), word(), word()).prop_map(|(cluster, namespace, name)| {
        WorkloadKey::new(cluster.as_str().into(), namespace.as_str().into(), &name)
    })
}

fn health() -> impl Strategy<Value = Health> {
    prop::sample::select(vec![
        Health::Healthy,
        Health::Degraded,
        Health::Draining,
        Health::Unhealthy,
    ])
}

fn endpoint() -> impl Strategy<Value = Arc<Endpoint>> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u8>(), any::<bool>());
    let places = (address(), vec(address(), 0..2), locality(), word(), word());
    let names = (word(), option::of(workload_key()), option::of(word()), option::of(word()));
    (numbers, places, names, health(), labels(), origins()).prop_map(
        |(numbers, places, names, health, labels, origins)| {
            let (port, target_port, weight, tier, flag) = numbers;
            let (address, more, locality, network, cluster) = places;
            let (port_name, workload, node, identity) = names;
            Arc::new(Endpoint {
                port_name: port_name.as_str().into(),
                more_addresses: Some(more).filter(|more| !more.is_empty()).map(Arc::new),
                weight,
                health,
                tls_mode: if flag { TlsMode::Istio } else { TlsMode::Disabled },
                tier,
                held: flag,
                place: Place {
                    locality,
                    network: network.as_str().into(),
                    cluster: cluster.as_str().into(),
                    node: node.map(|node| node.as_str().into()),
                }
                .into(),
                workload,
                identity: identity.map(|identity| identity.as_str().into()),
                labels,
                ..Endpoint::new(port, address, target_port, origins)
            })
        },
    )
}

fn port() -> impl Strategy<Value = Port> {
    let protocol =
        prop::sample::select(vec![Protocol::Http, Protocol::Grpc, Protocol::Unspecified]);
    let target = prop_oneof![
        any::<u16>().prop_map(TargetPort::Number),
        word().prop_map(|name| TargetPort::Name(name.as_str().into())),
    ];
    (any::<u16>(), word(), protocol, target).prop_map(|(number, name, protocol, target)| Port {
        number,
        name: name.as_str().into(),
        protocol,
        target,
    })
}

fn service() -> impl Strategy<Value = Service> {
    let resolution = prop::sample::select(vec![
        Resolution::ClientSide,
        Resolution::Dns,
        Resolution::DnsRoundRobin,
        Resolution::Passthrough,
        Resolution::Alias,
    ]);
    let names =
        (word(), word(), btree_set(word(), 0..3), option::of(word()), btree_set(word(), 0..3));
    let addresses = vec((word(), vec(any::<std::net::IpAddr>(), 0..3)), 0..3);
    let seen = option::of(btree_set(word(), 0..3));
    let rest = (any::<[bool; 4]>(), option::of(word()), labels(), labels(), origins());
    (names, vec(port(), 0..3), resolution, addresses, seen, rest).prop_map(
        |(names, ports, resolution, addresses, seen, rest)| {
            let (hostname, namespace, aliases, alias_of, accounts) = names;
            let (
                [external, node_local, cluster_local, exact_shares],
                session,
                labels,
                selector,
                origins,
            ) = rest;
            let name = |name: String| name.as_str().into();
            let visible = |names: std::collections::BTreeSet<String>| {
                Visibility::Namespaces(names.into_iter().map(|n| n.as_str().into()).collect())
            };
            Service {
                ports,
                resolution,
                addresses: addresses
                    .into_iter()
                    .map(|(cluster, own)| (ClusterId::from(cluster.as_str()), own))
                    .collect(),
                prefixes: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
                aliases: aliases.into_iter().map(name).collect(),
                alias_of: alias_of.map(name),
                visibility: seen
                    .map_or(if external { Visibility::Public } else { Visibility::Unset }, visible),
                labels,
                selector,
                service_accounts: accounts.iter().map(|a| a.as_str().into()).collect(),
                external,
                node_local,
                cluster_local,
                exact_shares,
                distribution: TrafficDistribution::PreferSameNode,
                persistent_session: session.map(Arc::from),
                ..Service::new(ServiceKey::new(hostname.as_str(), namespace.as_str()), origins)
            }
        },
    )
}

fn workload() -> impl Strategy<Value = Workload> {
    let places = (vec(address(), 0..3), word(), locality(), option::of(word()));
    (workload_key(), labels(), places, health(), vec((word(), any::<u16>()), 0..3), origins())
        .prop_map(|(key, labels, (addresses, network, locality, node), health, ports, origins)| {
            Workload {
                labels,
                addresses,
                network: network.as_str().into(),
                locality,
                node: node.map(|node| node.as_str().into()),
                identity: Some("spiffe://mesh/ns/a/sa/b".into()),
                ports: ports.into_iter().map(|(name, port)| (name.as_str().into(), port)).collect(),
                health,
                tls_mode: TlsMode::Istio,
                weight: 7,
                ..Workload::new(key, origins)
            }
        })
}

fn value() -> impl Strategy<Value = Value> {
    let set = (word(), word(), vec(endpoint(), 0..6)).prop_map(|(host, namespace, all)| {
        let key = ServiceKey::new(host.as_str(), namespace.as_str());
        Value::Endpoints(Arc::new(EndpointSet::new(key, all)))
    });
    let namespace = (word(), labels(), origins()).prop_map(|(name, labels, origins)| {
        let name = name.as_str().into();
        Value::Namespace(Arc::new(Namespace { name, labels, origins }))
    });
    let config = (word(), word(), labels(), origins()).prop_map(|(kind, name, labels, origins)| {
        let spec = serde_json::json!({ "hosts": [name], "weight": 1.5, "nested": { "a": null } });
        let message = Message { type_url: kind.as_str().into(), value: name.as_bytes().into() };
        let body = match name.len() % 2 {
            0 => Body::Document(Arc::new(spec)),
            _ => Body::Message(message),
        };
        let key = ConfigKey { kind: kind.into(), namespace: "n".into(), name: name.into() };
        let annotations = labels.clone();
        Value::Config(Arc::new(Config { key, labels, annotations, body, origins }))
    });
    let gateway =
        (word(), address(), any::<u16>(), origins()).prop_map(|(name, address, port, origins)| {
            let (network, cluster) = (name.as_str().into(), "c".into());
            let key = NetworkGatewayKey { network, cluster, address, port };
            Value::Gateway(Arc::new(NetworkGateway { key, origins }))
        });
    let unloaded = (word(), word()).prop_map(|(host, namespace)| {
        Value::Unloaded(ServiceKey::new(host.as_str(), namespace.as_str()))
    });
    prop_oneof![
        3 => set,
        3 => service().prop_map(|service| Value::Service(Arc::new(service))),
        2 => workload().prop_map(|workload| Value::Workload(Arc::new(workload))),
        1 => namespace,
        1 => config,
        1 => gateway,
        1 => unloaded,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_again(values in vec(value(), 0..8)) {
        let read = decode(&bytes(&values)).unwrap();
        prop_assert_eq!(json(&read), json(&values));
        let alike = read.iter().zip(&values).all(|(read, value)| read.same_content(value));
        prop_assert!(alike);
    }

    #[test]
    fn damaged_bytes_give_values_or_an_error_and_nothing_else(
        values in vec(value(), 1..4), cut in any::<prop::sample::Index>(), flip in any::<u8>(),
    ) {
        let mut bytes = bytes(&values);
        let at = cut.index(bytes.len());
        let _ = decode(&bytes[..at]);
        bytes[at] ^= flip;
        let _ = decode(&bytes);
    }

    #[test]
    fn foreign_bytes_give_an_error_and_nothing_else(bytes in vec(any::<u8>(), 1..200)) {
        let _ = decode(&bytes);
    }
}

#[test]
fn what_values_share_stands_once_and_is_shared_again() {
    let origins = Sourced::only(&"consul/dc1".into(), "instance", "a-rather-long-name", "77");
    let endpoint = |host: u8| {
        let address = Address::Ip([10, 0, 0, host].into());
        let labels = Labels::from_iter([("app", "a-rather-long-value")]);
        Arc::new(Endpoint { labels, ..Endpoint::new(80, address, 8080, origins.clone()) })
    };
    let set = EndpointSet::new(ServiceKey::new("a.shop", "shop"), (0..100).map(endpoint).collect());
    let bytes = bytes(&[Value::Endpoints(Arc::new(set))]);
    assert!(bytes.len() < 100 * 40, "{} bytes", bytes.len());
    let values = decode(&bytes).unwrap();
    let [Value::Endpoints(set)] = &values[..] else { panic!("one set") };
    let all = set.endpoints();
    assert!(std::ptr::eq(all[0].origins.as_ptr(), all[99].origins.as_ptr()));
}
