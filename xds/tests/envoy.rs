//! A real Envoy as the client.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Running, mesh};
use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::core::v3::api_config_source::ApiType;
use mainstem_proto::reflect;
use mainstem_test_support::{
    EchoBackend, Envoy, EnvoyVersion, HttpClient, TIMEOUT, eventually, free_port,
};
use mainstem_xds::clients::{Protocol, SyncState};
use mainstem_xds::{Name, ServerConfig, StaticSource, TypeUrl};
use pretty_assertions::assert_eq;
use serde_json::Value;

/// How Envoy reaches the server, as a fragment of its bootstrap.
const XDS_CLUSTER: &str = r#"
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: PORT } } }
"#;

fn xds_cluster(server: SocketAddr) -> String {
    XDS_CLUSTER.replace("PORT", &server.port().to_string())
}

/// An Envoy that asks for everything over one aggregated stream.
fn bootstrap(server: SocketAddr, protocol: Protocol) -> String {
    let api_type = match protocol {
        Protocol::Sotw => "GRPC",
        Protocol::Delta => "DELTA_GRPC",
    };
    format!(
        r#"
node: {{ id: "sidecar~127.0.0.1~envoy.test~test", cluster: test }}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{ envoy_grpc: {{ cluster_name: xds }} }}]
  cds_config: {{ resource_api_version: V3, ads: {{}} }}
  lds_config: {{ resource_api_version: V3, ads: {{}} }}
{}"#,
        xds_cluster(server)
    )
}

/// An Envoy that asks for each type by itself.
fn bootstrap_per_type(server: SocketAddr, api_type: ApiType) -> String {
    let source = reflect::to_json(&mesh::per_type(api_type)).unwrap();
    format!(
        r#"
node: {{ id: "sidecar~127.0.0.1~envoy.test~test", cluster: test }}
dynamic_resources: {{ cds_config: {source}, lds_config: {source} }}
{}"#,
        xds_cluster(server)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_29_envoy_reports_its_loads() {
    let blue = EchoBackend::start("blue");
    let port = free_port();
    let config =
        ServerConfig { load_reports: Some(Duration::from_millis(50)), ..ServerConfig::default() };
    let running = Running::with(mesh(port, &blue), config).await;
    let bootstrap = bootstrap(running.address, Protocol::Delta)
        + r#"
cluster_manager:
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{ envoy_grpc: { cluster_name: xds } }]
"#;
    let envoy = Envoy::start(&bootstrap, EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
    eventually("loads of the cluster are counted", TIMEOUT, async || {
        client.fetch("/", &[]).await?;
        let loads = running.server.loads().list();
        let of_blue =
            loads.iter().find(|(key, totals)| key.cluster == "blue" && totals.succeeded > 0);
        of_blue.map(|_| ()).ok_or(format!("{loads:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_served_type_by_type() {
    for api_type in [ApiType::Grpc, ApiType::DeltaGrpc, ApiType::Rest] {
        let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
        let port = free_port();
        let source = StaticSource::new();
        let cluster = |name: &str| mesh::cluster_from(name, mesh::per_type(api_type));
        source.update(|batch| {
            batch
                .set(mesh::resource_of_cluster(&cluster("blue")))
                .set(mesh::resource_of_endpoints(&mesh::load_assignment("blue", &[blue.address()])))
                .set(mesh::resource_of_listener(&mesh::listener_from(
                    "in",
                    port,
                    "routes",
                    mesh::per_type(api_type),
                )))
                .set(mesh::resource_of_routes(&mesh::routes("routes", "blue")));
        });
        let running = Running::start(source).await;
        let envoy =
            Envoy::start(&bootstrap_per_type(running.address, api_type), EnvoyVersion::DEFAULT)
                .await;
        envoy.ready().await;
        let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
        answers(&client, &blue).await;
        running
            .source
            .set(mesh::resource_of_endpoints(&mesh::load_assignment("blue", &[green.address()])));
        answers(&client, &green).await;
        running.source.set(mesh::resource_of_cluster(&cluster("new")));
        running
            .source
            .set(mesh::resource_of_endpoints(&mesh::load_assignment("new", &[blue.address()])));
        eventually("the new cluster is there", TIMEOUT, async || {
            match envoy.stat("cluster.new.membership_total").await {
                Some(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        running.source.set(mesh::resource_of_routes(&mesh::routes("routes", "new")));
        answers(&client, &blue).await;
        assert_eq!(rejected(&envoy).await, 0);
    }
}

/// One listener and its route to a cluster with one backend.
fn mesh(port: u16, backend: &EchoBackend) -> StaticSource {
    let source = StaticSource::new();
    source.update(|batch| {
        batch
            .set(mesh::resource_of_cluster(&mesh::cluster("blue")))
            .set(mesh::resource_of_endpoints(&mesh::load_assignment("blue", &[backend.address()])))
            .set(mesh::resource_of_listener(&mesh::listener("in", port, "routes")))
            .set(mesh::resource_of_routes(&mesh::routes("routes", "blue")));
    });
    source
}

async fn answers(client: &HttpClient, backend: &EchoBackend) {
    let name = backend.name().to_owned();
    let what = format!("traffic reaches {name}");
    eventually(&what, TIMEOUT, async || match client.fetch("/", &[]).await {
        Ok(answer) if answer.brief() == (200, name.as_str()) => Ok(()),
        Ok(answer) => Err(format!("{:?}", answer.brief())),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

/// What the server knows of its only client: type and state, in order of types.
fn states(running: &Running) -> Vec<(String, SyncState)> {
    let clients = running.clients().list();
    let [client] = clients.as_slice() else { panic!("one client, not {clients:?}") };
    let mut states: Vec<_> = client
        .types
        .iter()
        .map(|of_type| {
            (TypeUrl::from(of_type.type_url.as_str()).short().to_owned(), of_type.state())
        })
        .collect();
    states.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    states
}

async fn synced(running: &Running) {
    let all = ["CDS", "EDS", "LDS", "RDS"].map(|short| (short.to_owned(), SyncState::Synced));
    eventually("Envoy has accepted everything", TIMEOUT, async || {
        let states = states(running);
        if states == all { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

async fn rejected(envoy: &Envoy) -> u64 {
    envoy.stats("update_rejected").await.values().sum()
}

/// The dynamic part of a dump, without versions and times.
async fn dump(envoy: &Envoy) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| key != "version_info" && key != "last_updated");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut dump = envoy.config_dump().await;
    let configs = dump["configs"].as_array_mut().unwrap();
    configs.retain(|config| !config["@type"].as_str().unwrap().ends_with("BootstrapConfigDump"));
    strip(&mut dump);
    dump
}

async fn lives_through_changes(protocol: Protocol, version: EnvoyVersion) -> String {
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let port = free_port();
    let running = Running::start(mesh(port, &blue)).await;
    let envoy = Envoy::start(&bootstrap(running.address, protocol), version).await;
    envoy.ready().await;
    let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
    answers(&client, &blue).await;
    synced(&running).await;

    // Endpoints alone.
    running
        .source
        .set(mesh::resource_of_endpoints(&mesh::load_assignment("blue", &[green.address()])));
    answers(&client, &green).await;

    // A changed cluster warms with endpoints that did not change.
    let mut changed = mesh::cluster("blue");
    changed.alt_stat_name = "changed".into();
    running.source.set(mesh::resource_of_cluster(&changed));
    synced(&running).await;
    eventually("the changed cluster is warm", TIMEOUT, async || {
        match envoy.stat("cluster.changed.membership_total").await {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    // Traffic moves to a new cluster and the old one goes, all at once: no request fails.
    running.source.update(|batch| {
        batch
            .set(mesh::resource_of_cluster(&mesh::cluster("new")))
            .set(mesh::resource_of_endpoints(&mesh::load_assignment("new", &[blue.address()])))
            .set(mesh::resource_of_routes(&mesh::routes("routes", "new")))
            .remove(&TypeUrl::CLUSTER, "blue")
            .remove(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, "blue");
    });
    loop {
        let answer = client.fetch("/", &[]).await.unwrap();
        assert_eq!(answer.status, 200);
        if answer.brief() == (200, "blue") {
            break;
        }
    }
    eventually("the old cluster is gone", TIMEOUT, async || {
        let clusters = envoy.clusters().await.to_string();
        if clusters.contains("\"name\":\"blue\"") { Err("it is there") } else { Ok(()) }
    })
    .await;
    synced(&running).await;
    assert_eq!(rejected(&envoy).await, 0);

    // A changed listener gets its routes again.
    let mut listener = mesh::listener("in", port, "routes");
    listener.traffic_direction = 1;
    running.source.set(mesh::resource_of_listener(&listener));
    eventually("the changed listener is active", TIMEOUT, async || {
        match envoy.stat("listener_manager.lds.update_success").await {
            Some(2..)
                if envoy.stat("listener_manager.total_listeners_warming").await == Some(0) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    answers(&client, &blue).await;
    synced(&running).await;
    assert_eq!(rejected(&envoy).await, 0);
    let ports = [
        (port, "PORT"),
        (blue.port(), "BLUE"),
        (green.port(), "GREEN"),
        (running.address.port(), "XDS"),
    ];
    let dumped = serde_json::to_string_pretty(&dump(&envoy).await).unwrap();
    ports.iter().fold(dumped, |text, (port, name)| text.replace(&port.to_string(), name))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_ends_with_the_same_configuration_by_either_protocol() {
    for version in EnvoyVersion::matrix() {
        let sotw = lives_through_changes(Protocol::Sotw, version).await;
        let delta = lives_through_changes(Protocol::Delta, version).await;
        assert_eq!(sotw, delta);
    }
}

/// Serves a cluster that Envoy refuses together with one that it takes and
/// the route to that; how often Envoy refused, and whom it was found to mean.
async fn refuses(protocol: Protocol, bad: &Cluster) -> (u64, Vec<Name>) {
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let port = free_port();
    let running = Running::start(mesh(port, &blue)).await;
    let envoy = Envoy::start(&bootstrap(running.address, protocol), EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    let client = HttpClient::new(&format!("http://127.0.0.1:{port}"));
    answers(&client, &blue).await;
    running.source.update(|batch| {
        batch
            .set(mesh::resource_of_cluster(bad))
            .set(mesh::resource_of_cluster(&mesh::cluster("new")))
            .set(mesh::resource_of_endpoints(&mesh::load_assignment("new", &[green.address()])))
            .set(mesh::resource_of_routes(&mesh::routes("routes", "new")));
    });
    answers(&client, &green).await;
    eventually("the rest is settled", TIMEOUT, async || {
        let types = running.clients().list().remove(0).types;
        let rest = types.iter().map(|of_type| (of_type.pending, of_type.state_of("the rest")));
        let rest: Vec<_> = rest.collect();
        if rest.iter().all(|state| *state == (0, SyncState::Synced)) {
            Ok(())
        } else {
            Err(format!("{rest:?}"))
        }
    })
    .await;
    assert_eq!(running.clients().refused(), [(TypeUrl::CLUSTER, 1)].into());
    let refused = rejected(&envoy).await;
    let status = running.clients().list().remove(0);
    let nack = status.types.into_iter().find_map(|of_type| of_type.nacked).unwrap();

    // It is taken when it has become good.
    running.source.set(mesh::resource_of_cluster(&mesh::cluster(&bad.name)));
    eventually("the cluster is there", TIMEOUT, async || {
        envoy.stat(&format!("cluster.{}.membership_total", bad.name)).await.ok_or("it is not")
    })
    .await;
    assert_eq!(rejected(&envoy).await, refused);
    (refused, nack.rejection.culprits)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refuses_by_name_is_left_out() {
    let bad = Cluster { eds_cluster_config: None, ..mesh::cluster("bad") };
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        assert_eq!(refuses(protocol, &bad).await, (1, vec!["bad".into()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refuses_without_a_name_is_found_by_halves() {
    let negative = mainstem_proto::google::protobuf::Duration { seconds: -1, nanos: 0 };
    let bad = Cluster { connect_timeout: Some(negative), ..mesh::cluster("bad") };
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        assert_eq!(refuses(protocol, &bad).await, (2, vec!["bad".into()]));
    }
}
