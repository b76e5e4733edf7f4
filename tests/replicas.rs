//! Replicas are equal: a proxy that goes from one to the other is sent nothing
//! that it has, and drops no request. And a proxy that refuses something gets
//! everything else.

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::Mainstem;
use mainstem_test_support::{
    EchoBackend, Envoy, EnvoyVersion, HttpClient, Scratch, TIMEOUT, eventually, free_port,
};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

/// Files that several control planes follow.
struct Files(Scratch);

impl Files {
    fn new() -> Self {
        Self(Scratch::new("files"))
    }

    fn registry(&self) -> Value {
        json!({ "type": "file", "cluster": "static", "path": self.0.path() })
    }

    /// A service with HTTP on this port, answered by these.
    fn put(&self, name: &str, port: u16, backends: &[&EchoBackend]) {
        let endpoints: Vec<Value> = backends
            .iter()
            .map(|backend| json!({ "address": "127.0.0.1", "ports": { "http": backend.port() } }))
            .collect();
        let document = json!({ "services": [{
            "hostname": host(name),
            "ports": [{ "number": port, "name": "http", "protocol": "http" }],
            "endpoints": endpoints,
        }]});
        // Written beside and renamed: a reader sees the old file or the new one.
        let file = self.0.write(&format!("{name}.tmp"), document.to_string());
        std::fs::rename(&file, file.with_extension("yaml")).expect("a rename within a directory");
    }
}

fn host(name: &str) -> String {
    format!("{name}.shop.svc.cluster.local")
}

fn cluster(name: &str, port: u16) -> String {
    format!("outbound|{port}||{}", host(name))
}

/// A bootstrap for these control planes, in this order; the static listeners
/// are the user's own.
fn bootstrap(replicas: &[&Mainstem], protocol: &str, listeners: &[Value]) -> String {
    let addresses: Vec<String> = replicas.iter().map(|one| one.xds().to_string()).collect();
    let text = replicas[0].bootstrap(&[
        "--xds-address",
        &addresses.join(","),
        "--name",
        "client",
        "--namespace",
        "shop",
        "--interception",
        "none",
        protocol,
        "-o",
        "json",
    ]);
    let mut bootstrap: Value = serde_json::from_str(&text).expect("it was asked for JSON");
    bootstrap["static_resources"]["listeners"] = json!(listeners);
    bootstrap.to_string()
}

async fn start(replicas: &[&Mainstem], protocol: &str) -> Envoy {
    let bootstrap = bootstrap(replicas, protocol, &[]);
    let envoy = Envoy::start(&bootstrap, EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    envoy
}

async fn until_endpoints(envoy: &Envoy, cluster: &str, backends: &[&EchoBackend]) {
    let mut expected: Vec<String> = backends.iter().map(|one| one.address().to_string()).collect();
    expected.sort();
    eventually(&format!("{cluster} leads to {expected:?}"), TIMEOUT, async || {
        let found = envoy.endpoints(cluster).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Who answers one request to a service's port of the sidecar, or what went wrong.
async fn ask(name: &str, port: u16) -> Result<String, String> {
    let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
    let answer = client.fetch("/", &[("host", &host(name))]).await?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
}

/// What Envoy has received from control planes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Received {
    bytes: u64,
    clusters: u64,
    listeners: u64,
    assignments: u64,
}

impl Received {
    async fn by(envoy: &Envoy) -> Self {
        let sum = async |filter: &str| envoy.stats(filter).await.values().sum::<u64>();
        Self {
            bytes: sum("^cluster.xds-grpc.upstream_cx_rx_bytes_total$").await,
            clusters: sum("^cluster_manager.cds.update_success$").await,
            listeners: sum("^listener_manager.lds.update_success$").await,
            assignments: sum("^cluster\\.outbound.*update_success$").await,
        }
    }
}

/// How many services the mesh has whose resources would be sent again.
const SERVICES: u64 = 200;

#[rstest]
#[case::delta("--delta")]
#[case::sotw("--sotw")]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_sends_again_only_what_the_protocol_demands(#[case] protocol: &str) {
    let files = Files::new();
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let port = free_port();
    for n in 0..SERVICES {
        files.put(&format!("s{n}"), port, &[&blue]);
    }
    let one = Mainstem::start(Ipv4Addr::LOCALHOST, &[files.registry()]).await;
    // It listens before Envoy knows it, but has not been asked anything yet.
    let two = Mainstem::start(Ipv4Addr::LOCALHOST, &[files.registry()]).await;
    two.stop().await;
    let envoy = start(&[&one, &two], protocol).await;
    until_endpoints(&envoy, &cluster("s0", port), &[&blue]).await;
    eventually("everything is there", TIMEOUT, async || {
        let proxies = one.cli(&["proxies"]);
        let types = proxies[0]["types"].as_array().cloned().unwrap_or_default();
        let synced = types.len() == 4 && types.iter().all(|one| one["state"] == "synced");
        if synced { Ok(()) } else { Err(proxies.to_string()) }
    })
    .await;
    let cold = Received::by(&envoy).await;

    two.start_again().await;
    one.stop().await;
    // What changes meanwhile comes from the second, and nothing before it.
    eventually("Envoy has gone to the second", TIMEOUT, async || {
        let proxies = two.cli(&["proxies"]);
        if proxies[0]["types"][0]["state"].is_string() { Ok(()) } else { Err(proxies.to_string()) }
    })
    .await;
    files.put("s0", port, &[&blue, &green]);
    until_endpoints(&envoy, &cluster("s0", port), &[&blue, &green]).await;

    let warm = Received::by(&envoy).await;
    assert_eq!((warm.clusters, warm.listeners), (cold.clusters, cold.listeners));
    let bytes = warm.bytes - cold.bytes;
    let assignments = warm.assignments - cold.assignments;
    println!("{protocol}: cold {} bytes, on reconnection {bytes}", cold.bytes);
    if protocol == "--delta" {
        // One changed load assignment, and what HTTP/2 says of itself.
        assert_eq!(assignments, 1);
        assert!(bytes * 100 < cold.bytes, "{bytes} of {}", cold.bytes);
    } else {
        // SotW names its load assignments and routes again and has to be answered;
        // of clusters and listeners it shows the version that it has.
        assert!(assignments > SERVICES, "{assignments}");
        assert!(bytes * 3 < cold.bytes * 2, "{bytes} of {}", cold.bytes);
    }
}

/// Requests without end, and how many of them went wrong.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(name: &'static str, port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..4).map(|_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match client.fetch("/", &[("host", &host(name))]).await {
                        Ok(answer) if answer.status == 200 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => failed.push(format!("{answer:?}")),
                        Err(error) => failed.push(error),
                    }
                }
                failed
            })
        });
        Self { tasks: tasks.collect(), stop, answered }
    }

    /// How many requests were answered, and what went wrong.
    async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.expect("the load does not panic"));
        }
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

#[rstest]
#[case::delta("--delta")]
#[case::sotw("--sotw")]
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_drops_no_request_and_envoy_follows_the_survivor(#[case] protocol: &str) {
    let files = Files::new();
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let port = free_port();
    files.put("web", port, &[&blue]);
    let one = Mainstem::start(Ipv4Addr::LOCALHOST, &[files.registry()]).await;
    let two = Mainstem::start(Ipv4Addr::LOCALHOST, &[files.registry()]).await;
    let envoy = start(&[&one, &two], protocol).await;
    let web = cluster("web", port);
    until_endpoints(&envoy, &web, &[&blue]).await;
    eventually("the listener answers", TIMEOUT, async || ask("web", port).await).await;

    let load = Load::start("web", port);
    for (restarted, backends) in [(&one, [&blue, &green].as_slice()), (&two, &[&green])] {
        restarted.stop().await;
        files.put("web", port, backends);
        until_endpoints(&envoy, &web, backends).await;
        restarted.start_again().await;
    }
    files.put("web", port, &[&green, &blue]);
    until_endpoints(&envoy, &web, &[&green, &blue]).await;

    let (answered, failed) = load.end().await;
    println!("{protocol}: {answered} requests, {} failed", failed.len());
    assert_eq!(failed, Vec::<String>::new());
    assert!(answered > 100, "{answered}");
    assert_eq!(refusals(&envoy).await, 0);
}

/// How often Envoy refused anything.
async fn refusals(envoy: &Envoy) -> u64 {
    envoy.stats("update_rejected$").await.values().sum()
}

/// A listener of the user's own, on a port that a service of the mesh has too.
fn own_listener(port: u16) -> Value {
    json!({
        "name": "own",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.echo",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo",
            },
        }] }],
    })
}

#[rstest]
#[case::delta("--delta")]
#[case::sotw("--sotw")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_refuses_holds_up_nothing_else_and_is_seen(#[case] protocol: &str) {
    let files = Files::new();
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let (web, taken, late) = (free_port(), free_port(), free_port());
    files.put("web", web, &[&blue]);
    let mainstem = Mainstem::start(Ipv4Addr::LOCALHOST, &[files.registry()]).await;
    mainstem.expect_refusals();
    let bootstrap = bootstrap(&[&mainstem], protocol, &[own_listener(taken)]);
    let envoy = Envoy::start(&bootstrap, EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    eventually("the first service answers", TIMEOUT, async || ask("web", web).await).await;
    assert_eq!(refusals(&envoy).await, 0);

    // The proxy cannot have a listener there: only it knows that the port is taken.
    files.put("bad", taken, &[&blue]);
    let bad = format!("0.0.0.0_{taken}");
    let nack = eventually("the refusal is listed", TIMEOUT, async || {
        let proxies = mainstem.cli(&["proxies"]);
        let types = proxies[0]["types"].as_array().cloned().unwrap_or_default();
        let listeners = types.into_iter().find(|of| of["type"] == "LDS");
        let nack = listeners.as_ref().map(|of| of["nacked"].clone()).unwrap_or_default();
        if nack["culprits"] == json!([bad]) { Ok(nack) } else { Err(proxies.to_string()) }
    })
    .await;
    let message = nack["message"].as_str().expect("a message").to_owned();
    assert!(message.contains(&bad) && message.contains("duplicate address"), "{message}");

    // Everything else flows: a later service, and endpoints of the first.
    files.put("late", late, &[&green]);
    eventually("the late service answers", TIMEOUT, async || ask("late", late).await).await;
    files.put("web", web, &[&green]);
    until_endpoints(&envoy, &cluster("web", web), &[&green]).await;
    assert_eq!(ask("web", web).await.as_deref(), Ok("green"));

    // It was refused once, and not sent again with any of that.
    assert_eq!((refusals(&envoy).await, mainstem.refusals().len()), (1, 1));
    let metrics = mainstem.metrics().await;
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("pilot_total_xds_rejects{") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(counted, ["pilot_total_xds_rejects{type=\"lds\"} 1"]);

    // Another proxy, whose port is free, gets it.
    let listeners: BTreeSet<String> = names(&mainstem);
    assert!(listeners.contains(&bad), "{listeners:?}");
}

/// The listeners that the control plane has for its client.
fn names(mainstem: &Mainstem) -> BTreeSet<String> {
    let dump = mainstem.cli(&["config", "dump", "client", "--type", "lds"]);
    let text = dump.to_string();
    text.split('"').filter(|part| part.starts_with("0.0.0.0_")).map(ToOwned::to_owned).collect()
}
