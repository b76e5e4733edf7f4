//! One change of a service that all four registries share, under each policy.

use mainstem_aggregate::{AggregateConfig, Fields, Isolation, MergePolicy, Sharing};
use mainstem_model::RegistryId;

use crate::events::{Event, Mesh, quick, shared_health, shared_weight};
use crate::world::{ENDPOINTS, REGISTRIES};

pub const HEADER: &str = "\
| endpoints | policy of all services | event | p50 µs | p99 µs | max µs | all merged anew, s |
|---:|---|---|---:|---:|---:|---:|";

const EVENTS: [(&str, usize, Event); 2] =
    [("weight, Kubernetes", 0, shared_weight), ("health, Consul", 2, shared_health)];

pub fn measure(services: usize) {
    let mesh = Mesh::start(services, quick());
    for (name, sharing) in policies() {
        let anew = mesh.configure(under(sharing)).as_secs_f64();
        for (event, registry, make) in EVENTS {
            let [p50, p99, max] = mesh.measure(registry, make);
            let endpoints = services * ENDPOINTS;
            println!(
                "| {endpoints} | {name} | {event} | {p50:.0} | {p99:.0} | {max:.0} | {anew:.1} |"
            );
        }
    }
}

fn policies() -> [(&'static str, Sharing); 6] {
    let [home, far, consul, file] = REGISTRIES.map(RegistryId::from);
    let all = || [home.clone(), far.clone(), consul.clone(), file.clone()];
    [
        // What holds without a policy comes first, so that each is a change.
        ("`prefer`", Sharing::Prefer(all().to_vec())),
        ("`union`", Sharing::Union),
        ("`failover`", Sharing::Failover(all().into_iter().zip(0..).collect())),
        ("`weighted`", Sharing::Weighted(all().into_iter().zip([40, 30, 20, 10]).collect())),
        ("`isolate`, two registries", {
            Sharing::Isolate(Isolation::Registries(vec![home.clone(), consul.clone()]))
        }),
        ("`isolate: ownCluster`", Sharing::Isolate(Isolation::OwnCluster)),
    ]
}

fn under(sharing: Sharing) -> AggregateConfig {
    let policy = MergePolicy {
        name: "all".to_owned(),
        hosts: vec!["*.svc.cluster.local".into()],
        sharing,
        fields: Fields::default(),
    };
    AggregateConfig { policies: vec![policy], ..quick() }
}
