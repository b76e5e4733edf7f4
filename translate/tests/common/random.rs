//! Random meshes, and random changes of them: few names and addresses, so that
//! everything collides with everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Address, ClusterId, Draft, Health, Labels, Locality, MeshSettings, NetworkGateway,
    NetworkGatewayKey, Origins, OutboundPolicy, OutboundTrafficPolicy, Place, Protocol, Proxy,
    Resolution, Service, ServiceKey, Snapshot, TimeSpan, TrafficDistribution, Visibility,
    WorkloadKey,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::{endpoint, endpoints, port, proxy, service, workload};

/// One change of a mesh.
#[derive(Clone, Debug)]
pub enum Change {
    Service(Box<Service>),
    NoService(ServiceKey),
    Endpoints(ServiceKey, Vec<mainstem_model::Endpoint>),
    NoEndpoints(ServiceKey),
    Workload(Box<mainstem_model::Workload>),
    NoWorkload(WorkloadKey),
    Gateway(NetworkGatewayKey, bool),
    Mesh(Box<MeshSettings>),
}

impl Change {
    pub fn apply(self, draft: &mut Draft) {
        match self {
            Self::Service(service) => draft.put_service(Arc::from(service)),
            Self::NoService(key) => draft.remove_service(&key),
            Self::Endpoints(key, all) => {
                let set = endpoints(key.hostname().as_str(), key.namespace().as_str(), all);
                draft.put_endpoints(set);
            }
            Self::NoEndpoints(key) => draft.remove_endpoints(&key),
            Self::Workload(workload) => draft.put_workload(Arc::from(workload)),
            Self::NoWorkload(key) => draft.remove_workload(&key),
            Self::Gateway(key, true) => {
                draft.put_gateway(Arc::new(NetworkGateway { key, origins: Origins::default() }));
            }
            Self::Gateway(key, false) => draft.remove_gateway(&key),
            Self::Mesh(mesh) => draft.set_mesh(*mesh),
        }
    }
}

pub fn after(snapshot: &Snapshot, changes: Vec<Change>) -> Snapshot {
    let mut draft = snapshot.edit();
    changes.into_iter().for_each(|change| change.apply(&mut draft));
    draft.finish()
}

/// Sidecars of all interceptions and families, routers, gRPC clients, and control
/// planes that import services.
pub fn proxies() -> Vec<Proxy> {
    let shop = "shop.svc.cluster.local";
    vec![
        proxy(&format!("sidecar~10.1.0.1~web-1.shop~{shop}"), "c1", json!({})),
        proxy(&format!("sidecar~10.1.0.2~web-2.shop~{shop}"), "c1", json!({"NETWORK": "n2"})),
        proxy(
            "sidecar~10.1.0.3~api-1.other~other.svc.cluster.local",
            "c2",
            json!({"INTERCEPTION_MODE": "TPROXY", "INSTANCE_IPS": "10.1.0.3,fd01::3"}),
        ),
        proxy(
            &format!("sidecar~10.1.0.4~vm-1.shop~{shop}"),
            "c2",
            json!({"INTERCEPTION_MODE": "NONE", "NODE_NAME": "node-1", "LABELS": {"app": "web"}}),
        ),
        proxy(
            "sidecar~fd01::5~web-5.shop~node.dc1.consul",
            "c1",
            json!({"LOCALITY": "eu/eu-1/a", "NODE_NAME": "node-2"}),
        ),
        proxy(
            "router~10.1.0.6~gw-1.shop~x",
            "c1",
            json!({"LOCALITY": "us/us-1", "ISTIO_VERSION": "1.29.0"}),
        ),
        proxy(
            &format!("sidecar~10.1.0.8~vm-8.shop~{shop}"),
            "c1",
            json!({"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true"}),
        ),
        proxy("router~10.1.0.7~gw-2.other~x", "c2", json!({"NETWORK": "n2"})),
        proxy(&format!("sidecar~10.1.0.10~app-1.shop~{shop}"), "c1", json!({"GENERATOR": "grpc"})),
        proxy(
            "sidecar~10.1.0.11~app-2.other~other.svc.cluster.local",
            "c2",
            json!({
                "GENERATOR": "grpc", "NETWORK": "n2", "LOCALITY": "eu/eu-1/a", "NODE_NAME": "node-2",
            }),
        ),
        proxy("sidecar~10.1.0.12~mainstem.other~x", "c2", json!({"GENERATOR": "api"})),
        proxy("sidecar~10.1.0.13~istiod.istio-system~x", "c2", json!({"GENERATOR": "api"})),
    ]
}

const HOSTS: [&str; 9] = [
    "web.shop.svc.cluster.local",
    "db.shop.svc.cluster.local",
    "web.other.svc.cluster.local",
    "api.other.svc.cluster.local",
    "web.shop",
    "web",
    "db.example.com",
    "*.wild.example.com",
    "ext.shop.svc.cluster.local",
];
const NAMESPACES: [&str; 2] = ["shop", "other"];
const CLUSTERS: [&str; 2] = ["c1", "c2"];
const NETWORKS: [&str; 2] = ["", "n2"];
const LOCALITIES: [&str; 4] = ["", "eu/eu-1/a", "eu/eu-2", "us/us-1"];
const NODES: [&str; 2] = ["node-1", "node-2"];
const VIPS: [&str; 6] = ["10.0.0.1", "10.0.0.2", "127.0.0.7", "127.0.0.1", "fd00::1", "0.0.0.0"];

fn key() -> impl Strategy<Value = ServiceKey> {
    (select(&HOSTS[..]), select(&NAMESPACES[..])).prop_map(|(h, n)| ServiceKey::new(h, n))
}

fn ports() -> impl Strategy<Value = Vec<mainstem_model::Port>> {
    let protocols = [
        Protocol::Http,
        Protocol::Http2,
        Protocol::GrpcWeb,
        Protocol::Https,
        Protocol::Tls,
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Unspecified,
    ];
    let one = (select(&[80_u16, 443, 5432, 15001][..]), select(protocols.to_vec()));
    prop::collection::btree_map(one.clone().prop_map(|(n, _)| n), one.prop_map(|(_, p)| p), 0..4)
        .prop_map(|ports| ports.into_iter().map(|(n, p)| port(n, p)).collect())
}

fn some_service() -> impl Strategy<Value = Service> {
    let resolutions = vec![
        Resolution::ClientSide,
        Resolution::ClientSide,
        Resolution::ClientSide,
        Resolution::Dns,
        Resolution::DnsRoundRobin,
        Resolution::Passthrough,
        Resolution::Alias,
    ];
    let addresses = prop::collection::btree_map(
        select(&CLUSTERS[..]).prop_map(Into::into),
        subsequence(VIPS.to_vec(), 0..3).prop_map(|ips| {
            let mut ips: Vec<std::net::IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            ips.sort();
            ips
        }),
        0..3,
    )
    .prop_map(|all: BTreeMap<ClusterId, Vec<std::net::IpAddr>>| all.into_iter().collect());
    let prefixes = subsequence(vec!["10.2.0.0/16", "10.3.0.0/16"], 0..2)
        .prop_map(|all| all.iter().map(|net| net.parse().unwrap()).collect::<Vec<ipnet::IpNet>>());
    let names = (
        prop::collection::btree_set(select(&HOSTS[..]).prop_map(Into::into), 0..2),
        prop::option::of(select(&HOSTS[..]).prop_map(Into::into)),
    );
    let visibility = prop_oneof![
        2 => Just(Visibility::Unset),
        1 => Just(Visibility::Public),
        1 => subsequence(NAMESPACES.to_vec(), 0..2).prop_map(|names| {
            Visibility::Namespaces(names.into_iter().map(Into::into).collect::<BTreeSet<_>>())
        }),
    ];
    let selector = prop_oneof![
        2 => Just(Labels::default()),
        1 => select(&["web", "api"][..]).prop_map(|app| Labels::from_iter([("app", app)])),
    ];
    let distribution = prop_oneof![
        4 => Just(TrafficDistribution::Unset),
        1 => Just(TrafficDistribution::PreferSameZone),
        1 => Just(TrafficDistribution::PreferSameNode),
    ];
    let place = (prop::array::uniform3(prop::bool::weighted(0.15)), distribution);
    let who = (key(), select(&["kubernetes", "consul"][..]));
    (who, ports(), select(resolutions), addresses, prefixes, names, visibility, selector, place)
        .prop_map(
            |(who, ports, resolution, addresses, prefixes, names, visibility, selector, place)| {
                let ((key, provider), (aliases, alias_of), (local, distribution)) =
                    (who, names, place);
                let [node_local, cluster_local, exact_shares] = local;
                Service {
                    ports,
                    resolution,
                    addresses,
                    prefixes,
                    aliases,
                    alias_of,
                    visibility,
                    selector,
                    node_local,
                    cluster_local,
                    exact_shares,
                    distribution,
                    ..service(key.hostname().as_str(), key.namespace().as_str(), provider)
                }
            },
        )
}

fn some_endpoint() -> impl Strategy<Value = mainstem_model::Endpoint> {
    let address = select(
        &["10.1.0.1", "10.1.0.4", "10.1.0.9", "fd01::9", "db.example.com", "unix:///run/s"][..],
    );
    let health = select(vec![
        Health::Healthy,
        Health::Healthy,
        Health::Degraded,
        Health::Draining,
        Health::Unhealthy,
    ]);
    let place = (
        select(&NETWORKS[..]),
        select(&CLUSTERS[..]),
        select(&LOCALITIES[..]),
        prop::option::of(select(&NODES[..])),
    );
    let rank = (any::<bool>(), 0_u8..3, prop_oneof![1_u32..4, Just(u32::MAX)]);
    let workload = prop::option::of(Just("web-1"));
    (select(&[80_u16, 443, 5432][..]), address, health, place, rank, workload).prop_map(
        |(port, address, health, (network, cluster, locality, node), rank, workload)| {
            let (held, tier, weight) = rank;
            mainstem_model::Endpoint {
                health,
                held,
                tier,
                weight,
                workload: workload
                    .map(|name| WorkloadKey::new(cluster.into(), "shop".into(), name)),
                place: Place {
                    network: network.into(),
                    cluster: cluster.into(),
                    locality: Locality::parse(locality),
                    node: node.map(Into::into),
                }
                .into(),
                ..endpoint(port, address)
            }
        },
    )
}

fn some_workload() -> impl Strategy<Value = mainstem_model::Workload> {
    let who = select(vec![
        ("c1", "shop", "web-1", "10.1.0.1"),
        ("c1", "other", "moved", "10.1.0.2"),
        ("c2", "other", "api-1", "10.1.0.3"),
        ("c2", "shop", "vm-1", "10.1.0.4"),
    ]);
    let more =
        (select(&NETWORKS[..]), select(&LOCALITIES[..]), prop::option::of(select(&NODES[..])));
    (who, select(&["web", "api"][..]), more).prop_map(|(who, app, (network, locality, node))| {
        let (cluster, namespace, name, address) = who;
        mainstem_model::Workload {
            addresses: vec![Address::parse(address)],
            network: network.into(),
            locality: Locality::parse(locality),
            node: node.map(Into::into),
            ..workload(cluster, namespace, name, app)
        }
    })
}

fn some_mesh() -> impl Strategy<Value = MeshSettings> {
    (any::<bool>(), any::<bool>(), 1_u64..3).prop_map(|(closed, logged, seconds)| MeshSettings {
        outbound_traffic_policy: OutboundTrafficPolicy {
            mode: if closed { OutboundPolicy::RegistryOnly } else { OutboundPolicy::AllowAny },
        },
        access_log_file: if logged { "/dev/stdout".to_owned() } else { String::new() },
        connect_timeout: TimeSpan::from_secs(seconds),
        ..MeshSettings::default()
    })
}

fn gateway() -> impl Strategy<Value = NetworkGatewayKey> {
    let address = select(&["1.1.1.1", "1.1.1.2", "gw.example.com"][..]);
    (select(&NETWORKS[..]), select(&CLUSTERS[..]), address).prop_map(
        |(network, cluster, address)| NetworkGatewayKey {
            network: network.into(),
            cluster: cluster.into(),
            address: Address::parse(address),
            port: 15443,
        },
    )
}

pub fn change() -> impl Strategy<Value = Change> {
    let workload_key = some_workload().prop_map(|workload| workload.key);
    prop_oneof![
        8 => some_service().prop_map(|service| Change::Service(Box::new(service))),
        2 => key().prop_map(Change::NoService),
        6 => (key(), prop::collection::vec(some_endpoint(), 0..5))
            .prop_map(|(key, all)| Change::Endpoints(key, all)),
        1 => key().prop_map(Change::NoEndpoints),
        2 => some_workload().prop_map(|workload| Change::Workload(Box::new(workload))),
        1 => workload_key.prop_map(Change::NoWorkload),
        1 => (gateway(), any::<bool>()).prop_map(|(key, there)| Change::Gateway(key, there)),
        1 => some_mesh().prop_map(|mesh| Change::Mesh(Box::new(mesh))),
    ]
}

/// A mesh to begin with.
pub fn mesh() -> impl Strategy<Value = Vec<Change>> {
    let services = prop::collection::vec(
        some_service().prop_map(|service| Change::Service(Box::new(service))),
        0..14,
    );
    (services, prop::collection::vec(change(), 0..20))
        .prop_map(|(services, more)| services.into_iter().chain(more).collect())
}
