//! A federation as users have it: two Kubernetes clusters, one Consul datacenter
//! and a file.
//!
//! Of ten services with ten endpoints each, five live in the home cluster alone,
//! one in both clusters and one in all four registries; one is joined by two VMs
//! of Consul, one by two of the file, and one is Consul's own. Kubernetes' endpoints have pods behind
//! them; an endpoint of Consul or the file carries all that is known of its VM.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mainstem_aggregate::{AggregateConfig, RegistrySettings};
use mainstem_model::{
    Address, Endpoint, EndpointSet, Labels, Locality, Origins, Place, Port, Protocol, RegistryId,
    Service, ServiceKey, Sourced, TargetPort, Value, Workload, WorkloadKey,
};

/// Endpoints of each service.
pub const ENDPOINTS: usize = 10;
/// The registries, in order.
pub const REGISTRIES: [&str; 4] = ["kubernetes/home", "kubernetes/far", "consul/dc1", "file/vms"];

/// The kind of service that all registries have a part in.
pub const OF_ALL: usize = 6;

const NODES: usize = 1000;

pub fn config() -> AggregateConfig {
    let registries = REGISTRIES.map(|id| {
        let mut settings = RegistrySettings::new(id.into());
        settings.joins = vec!["*.svc.cluster.local".into()];
        settings
    });
    AggregateConfig {
        cluster: "home".into(),
        registries: registries.to_vec(),
        ..AggregateConfig::default()
    }
}

/// How many endpoints each registry has of service `n`, in their order.
fn shares(n: usize) -> [usize; 4] {
    match n % 10 {
        0..5 => [10, 0, 0, 0],
        5 => [5, 5, 0, 0],
        OF_ALL => [4, 2, 2, 2],
        7 => [8, 0, 2, 0],
        8 => [8, 0, 0, 2],
        _ => [0, 0, 10, 0],
    }
}

fn namespace(n: usize) -> String {
    format!("team-{}", n / 10 % 100)
}

/// The key as each adapter makes it, anew for each value.
pub fn key(n: usize) -> ServiceKey {
    match n % 10 {
        9 => ServiceKey::new(format!("service-{n}.service.dc1.consul"), "default"),
        _ => {
            let namespace = namespace(n);
            ServiceKey::new(format!("service-{n}.{namespace}.svc.cluster.local"), namespace)
        }
    }
}

fn ip(n: usize, registry: usize, at: usize) -> IpAddr {
    let host = u32::try_from(n * ENDPOINTS + at).expect("fewer than four billion endpoints");
    let network = u32::try_from(registry).expect("four registries") << 28;
    IpAddr::V4(Ipv4Addr::from_bits(network | (host + 1)))
}

fn origins(registry: usize, kind: &'static str, name: &str, revision: usize) -> Origins {
    let id = RegistryId::from(REGISTRIES[registry]);
    Sourced::only(&id, kind, name, &(1_000_000 + revision).to_string())
}

/// What registry `registry` defines as service `n`.
pub fn service(n: usize, registry: usize) -> Option<Value> {
    let own = shares(n)[registry] > 0 && (registry < 2 || n % 10 == 9);
    own.then(|| {
        let name = format!("{}/service-{n}", namespace(n));
        let mut service = Service::new(key(n), origins(registry, "Service", &name, n));
        let (name, target) = ("http".into(), TargetPort::Number(8080));
        service.ports = vec![Port { number: 80, name, protocol: Protocol::Http, target }];
        if registry < 2 {
            let cluster = REGISTRIES[registry].rsplit('/').next().expect("a provider/cluster");
            service.addresses.insert(cluster.into(), [ip(n, 8 + registry, 0)]);
            service.selector = Labels::from_iter([("app", format!("service-{n}"))]);
            service.labels = service.selector.with([("team", namespace(n))]);
        }
        Value::Service(Arc::new(service))
    })
}

/// The pod behind an endpoint of Kubernetes.
pub fn pod(n: usize, registry: usize, at: usize) -> Workload {
    let cluster = REGISTRIES[registry].rsplit('/').next().expect("a provider/cluster");
    let namespace = namespace(n);
    let name = format!("service-{n}-5d4f7b9c6-x{at:04}");
    let key = WorkloadKey::new(cluster.into(), namespace.as_str().into(), &name);
    let object = format!("{namespace}/{name}");
    let mut pod = Workload::new(key, origins(registry, "Pod", &object, n * 10 + at));
    let node = format!("node-{}", (n + at) % NODES);
    pod.addresses = vec![Address::Ip(ip(n, registry, at))];
    pod.locality = Locality::new("eu", &format!("eu-{}", at % 3), "");
    pod.identity = Some(format!("spiffe://cluster.local/ns/{namespace}/sa/service-{n}").into());
    pod.labels = Labels::from_iter([
        ("app", format!("service-{n}")),
        ("version", "v1".to_owned()),
        ("pod-template-hash", "5d4f7b9c6".to_owned()),
        ("topology.istio.io/cluster", cluster.to_owned()),
        ("topology.kubernetes.io/region", "eu".to_owned()),
        ("topology.kubernetes.io/zone", format!("eu-{}", at % 3)),
        ("kubernetes.io/hostname", node.clone()),
    ]);
    pod.node = Some(node.into());
    pod
}

fn of_pod(pod: &Workload, origins: &Origins) -> Endpoint {
    Endpoint {
        port_name: "http".into(),
        workload: Some(pod.key.clone()),
        identity: pod.identity.clone(),
        labels: pod.labels.clone(),
        place: Place {
            locality: pod.locality.clone(),
            network: pod.network.clone(),
            cluster: pod.key.cluster().clone(),
            node: pod.node.clone(),
        }
        .into(),
        ..Endpoint::new(80, pod.addresses[0].clone(), 8080, origins.clone())
    }
}

fn of_vm(n: usize, registry: usize, at: usize) -> Endpoint {
    let node = format!("vm-{}", (n + at) % NODES);
    let object = format!("service-{n}/service-{n}-{at}@{node}");
    let origins = origins(registry, "instance", &object, n * 10 + at);
    Endpoint {
        port_name: "http".into(),
        labels: Labels::from_iter([("version", "v1"), ("env", "production"), ("dc", "dc1")]),
        place: Place {
            locality: Locality::new("eu", &format!("eu-{}", at % 3), ""),
            cluster: REGISTRIES[registry].rsplit('/').next().expect("a provider/cluster").into(),
            node: Some(node.into()),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(80, Address::Ip(ip(n, registry, at)), 8080, origins)
    }
}

/// What registry `registry` has as endpoints of service `n`; `pods` are those of
/// the service there, in order.
pub fn endpoints(n: usize, registry: usize, weight: u32, pods: &[Arc<Workload>]) -> Option<Value> {
    let share = shares(n)[registry];
    if share == 0 {
        return None;
    }
    let slice =
        origins(registry, "EndpointSlice", &format!("{}/service-{n}-abcde", namespace(n)), n);
    let all = (0..share).map(|at| {
        let endpoint = match registry {
            0 | 1 => of_pod(&pods[at], &slice),
            _ => of_vm(n, registry, at),
        };
        let weight = if at == 0 { weight } else { 1 };
        Arc::new(Endpoint { weight, ..endpoint })
    });
    Some(Value::Endpoints(Arc::new(EndpointSet::new(key(n), all.collect()))))
}

/// The pods of service `n` in registry `registry`.
pub fn pods(n: usize, registry: usize) -> Vec<Arc<Workload>> {
    let count = if registry < 2 { shares(n)[registry] } else { 0 };
    (0..count).map(|at| Arc::new(pod(n, registry, at))).collect()
}
