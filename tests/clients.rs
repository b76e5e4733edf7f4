//! Real clients as shipped: every promised Envoy over every transport, and gRPC's
//! own clients. All find the endpoints of all registries and follow each change.

mod common;

use std::collections::BTreeMap;

use common::{Mainstem, Sidecar, Workload, World};
use futures::future::join_all;
use mainstem_test_support::{
    Envoy, EnvoyOptions, EnvoyVersion, GrpcClient, GrpcLanguage, Kubernetes, TIMEOUT, eventually,
    full_matrix,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

/// A world where `orders` has one workload in each registry.
struct Orders {
    world: World,
    mainstem: Mainstem,
    host: String,
    kubernetes: Workload,
    consul: Workload,
    _file: Workload,
}

const ALL: [&str; 3] = ["kubernetes-1", "consul-1", "file-1"];

impl Orders {
    /// In this cluster; where nobody else's services may come and go, one of its own.
    async fn over(kubernetes: Kubernetes) -> Self {
        let world = World::new(kubernetes).await;
        let [kubernetes, consul, file] = ALL.map(|name| world.workload(name));
        world.put_service("orders").await;
        world.put_slice("orders", &[(&kubernetes, true)]).await;
        world.register("orders", &consul).await;
        world.put_file("orders", &[(&file, 1, "healthy")]);
        let mainstem = world.mainstem().await;
        let host = world.host("orders");
        Self { world, mainstem, host, kubernetes, consul, _file: file }
    }
}

/// How an Envoy asks for clusters and listeners. For load assignments and routes
/// it asks where those say, over the aggregated stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    /// Over the aggregated stream too.
    Aggregated,
    /// Over a stream for each type.
    PerType,
    /// By polling over REST.
    Rest,
}

/// One Envoy of the matrix.
#[derive(Clone, Copy, Debug)]
struct Kind {
    version: EnvoyVersion,
    transport: Transport,
    /// `--sotw` or `--delta`.
    protocol: &'static str,
}

/// All combinations; or so many that each pair of version and transport, version
/// and protocol, transport and protocol occurs.
fn kinds() -> Vec<Kind> {
    const PROTOCOLS: [&str; 2] = ["--sotw", "--delta"];
    let mut kinds = Vec::new();
    for (n, version) in EnvoyVersion::ALL.into_iter().enumerate() {
        let mut add = |transport, protocol| kinds.push(Kind { version, transport, protocol });
        let (one, other) = (PROTOCOLS[n % 2], PROTOCOLS[(n + 1) % 2]);
        add(Transport::Aggregated, one);
        add(Transport::PerType, other);
        add(Transport::Rest, one);
        if full_matrix() {
            add(Transport::Aggregated, other);
            add(Transport::PerType, one);
            add(Transport::Rest, other);
        }
    }
    kinds
}

impl Kind {
    /// Turns what `mainstem bootstrap` wrote into a bootstrap of this transport.
    fn adapt(self, bootstrap: &mut Value) {
        let grpc = if self.protocol == "--sotw" { "GRPC" } else { "DELTA_GRPC" };
        let services = json!([{ "envoy_grpc": { "cluster_name": "xds-grpc" } }]);
        let api = match self.transport {
            Transport::Aggregated => return,
            Transport::PerType => json!({ "api_type": grpc, "grpc_services": services }),
            Transport::Rest => json!({
                "api_type": "REST", "cluster_names": ["xds-grpc"], "refresh_delay": "0.2s",
            }),
        };
        for config in ["cds_config", "lds_config"] {
            let mut api = api.clone();
            api["transport_api_version"] = json!("V3");
            bootstrap["dynamic_resources"][config] =
                json!({ "resource_api_version": "V3", "api_config_source": api });
        }
    }

    async fn start(self, orders: &Orders) -> Sidecar {
        let host = orders.world.network.host();
        let text = orders.mainstem.bootstrap(&[
            "--name",
            "client",
            "--namespace",
            &orders.world.namespace,
            "--cluster",
            "home",
            "--ip",
            &host.ip().to_string(),
            "--interception",
            "none",
            self.protocol,
            "-o",
            "json",
        ]);
        let mut bootstrap: Value = serde_json::from_str(&text).expect("it was asked for JSON");
        self.adapt(&mut bootstrap);
        let options = EnvoyOptions {
            version: self.version,
            namespace: Some(&host),
            ..EnvoyOptions::default()
        };
        let envoy = Envoy::start_with(&bootstrap.to_string(), options).await;
        envoy.ready().await;
        Sidecar { envoy, host }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_envoy_by_every_transport_follows_all_registries_and_ends_with_the_same() {
    let orders = Orders::over(Kubernetes::start().await).await;
    let kinds = kinds();
    let envoys = join_all(kinds.iter().map(|kind| kind.start(&orders))).await;
    let until = async |names: &[&str]| {
        join_all(envoys.iter().map(|envoy| envoy.until_answered_by(&orders.host, names))).await;
    };

    until(&ALL).await;
    let second = orders.world.workload("kubernetes-2");
    orders.world.put_slice("orders", &[(&orders.kubernetes, true), (&second, true)]).await;
    until(&["kubernetes-1", "kubernetes-2", "consul-1", "file-1"]).await;
    orders.world.consul.deregister("consul-1").await;
    until(&["kubernetes-1", "kubernetes-2", "file-1"]).await;
    // A service that comes later: a cluster and routes, not only endpoints.
    orders.world.put_service("late").await;
    orders.world.put_slice("late", &[(&second, true)]).await;
    let late = orders.world.host("late");
    join_all(envoys.iter().map(|envoy| envoy.until_answered_by(&late, &["kubernetes-2"]))).await;

    let first = envoys[0].content().await;
    assert!(first.len() > 6, "{first:?}");
    for (kind, envoy) in kinds.iter().zip(&envoys) {
        assert_eq!(envoy.refused().await, [], "{kind:?}");
        assert_eq!(envoy.content().await, first, "{kind:?}");
    }
}

/// Who answers how often, over so many calls.
async fn counts(client: &GrpcClient, target: &str, calls: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in client.answers(target, calls).await {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

async fn until_answered_by(client: &GrpcClient, target: &str, names: &[&str]) {
    let what = format!("{target} is answered by {names:?}");
    eventually(&what, TIMEOUT, async || {
        let counts = counts(client, target, 20).await;
        let found: Vec<&str> = counts.keys().map(String::as_str).collect();
        let mut names = names.to_vec();
        names.sort_unstable();
        if found == names { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

/// One stream as `mainstem proxies` shows it.
#[derive(Debug)]
struct Stream {
    kind: String,
    /// Type and state.
    types: Vec<(String, String)>,
    nacks: usize,
}

fn streams(mainstem: &Mainstem) -> Vec<Stream> {
    let proxies = mainstem.cli(&["proxies"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let streams = proxies.as_array().into_iter().flatten().map(|proxy| {
        let types = proxy["types"].as_array().into_iter().flatten();
        Stream {
            kind: text(&proxy["type"]),
            nacks: types.clone().filter(|one| one.get("nacked").is_some()).count(),
            types: types.map(|one| (text(&one["type"]), text(&one["state"]))).collect(),
        }
    });
    streams.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_balance_over_all_registries_and_follow_additions_and_removals() {
    let orders = Orders::over(Kubernetes::shared().await).await;
    let bootstrap = orders.mainstem.bootstrap(&[
        "--grpc",
        "--name",
        "app",
        "--namespace",
        &orders.world.namespace,
        "--cluster",
        "home",
    ]);
    let mut clients = Vec::new();
    for language in GrpcLanguage::ALL {
        clients.push((language, GrpcClient::start(language, &bootstrap).await));
    }
    let (full, short) = (format!("xds:///{}:80", orders.host), "xds:///orders:80");
    let until = async |target: &str, names: &[&str]| {
        join_all(clients.iter().map(|(_, client)| until_answered_by(client, target, names))).await;
    };

    // Round robin over one locality is exact, by whatever name.
    for target in [&*full, short] {
        until(target, &ALL).await;
        for (language, client) in &clients {
            let what = format!("{language:?} calls all of {target} equally often");
            eventually(&what, TIMEOUT, async || {
                let counts = counts(client, target, 30).await;
                let even =
                    counts.len() == 3 && counts.values().all(|count| (9..=11).contains(count));
                if even { Ok(()) } else { Err(format!("{counts:?}")) }
            })
            .await;
        }
    }

    // An addition, a removal, and endpoints that are ill.
    let second = orders.world.workload("kubernetes-2");
    orders.world.put_slice("orders", &[(&orders.kubernetes, true), (&second, true)]).await;
    until(&full, &["kubernetes-1", "kubernetes-2", "consul-1", "file-1"]).await;
    orders.world.put_slice("orders", &[(&orders.kubernetes, true)]).await;
    until(&full, &ALL).await;
    orders.world.set_check(&orders.consul, "critical").await;
    until(&full, &["kubernetes-1", "file-1"]).await;
    // Degraded endpoints wait until nobody healthy is left.
    orders.world.set_check(&orders.consul, "warning").await;
    orders.world.put_slice("orders", &[(&second, true)]).await;
    until(&full, &["kubernetes-2", "file-1"]).await;
    orders.world.put_slice("orders", &[]).await;
    orders.world.remove_file("orders");
    until(&full, &["consul-1"]).await;

    // Weights hold, though gRPC balances without looking at those of endpoints.
    orders.world.put_slice("orders", &[(&orders.kubernetes, true)]).await;
    orders.world.register_weighted("orders", &orders.consul, 3).await;
    orders.world.set_check(&orders.consul, "passing").await;
    for (language, client) in &clients {
        eventually(
            &format!("{language:?} sends three of four calls to Consul"),
            TIMEOUT,
            async || {
                let counts = counts(client, &full, 40).await;
                let consul = counts.get("consul-1").copied().unwrap_or_default();
                if (26..=34).contains(&consul) { Ok(()) } else { Err(format!("{counts:?}")) }
            },
        )
        .await;
    }

    // Every stream (the C core has one per target) is synced, and refused nothing.
    let types = ["LDS", "RDS", "CDS", "EDS"];
    eventually("all are synced", TIMEOUT, async || {
        let streams = streams(&orders.mainstem);
        let synced = streams.iter().all(|stream| {
            let has = |name: &&str| stream.types.contains(&((*name).into(), "synced".into()));
            stream.kind == "grpc" && stream.nacks == 0 && types.iter().all(has)
        });
        if synced && streams.len() >= 2 { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_hears_that_a_name_is_unknown_and_when_it_comes_and_goes() {
    let orders = Orders::over(Kubernetes::shared().await).await;
    let bootstrap = orders.mainstem.bootstrap(&[
        "--grpc",
        "--name",
        "app",
        "--namespace",
        &orders.world.namespace,
        "--cluster",
        "home",
    ]);
    let late = format!("xds:///{}:80", orders.world.host("late"));
    for language in GrpcLanguage::ALL {
        let client = GrpcClient::start(language, &bootstrap).await;
        // A call has 5 seconds. Who does not read the server's errors (gRFC A88)
        // waits 15 for a name to appear.
        let answers = client.answers(&late, 1).await;
        let expected = match language {
            GrpcLanguage::Python => "is visible in",
            GrpcLanguage::Node => "DEADLINE_EXCEEDED",
        };
        assert!(answers[0].contains(expected), "{language:?}: {answers:?}");
        orders.world.put_service("late").await;
        orders.world.put_slice("late", &[(&orders.kubernetes, true)]).await;
        until_answered_by(&client, &late, &["kubernetes-1"]).await;

        orders.world.kubernetes.delete(&orders.world.slice("late", &[])).await;
        orders.world.kubernetes.delete(&orders.world.service("late")).await;
        eventually("the service is gone", TIMEOUT, async || {
            let answers = client.answers(&late, 1).await;
            if answers[0].starts_with("UNAVAILABLE") { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
    }
}
