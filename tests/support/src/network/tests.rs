#![allow(clippy::unwrap_used)]

use super::*;
use crate::echo::EchoBackend;
use crate::envoy::{Envoy, EnvoyOptions};
use crate::eventually::{TIMEOUT, eventually};
use crate::process::Process;
use crate::scratch::Scratch;

fn namespaces() -> Vec<String> {
    let list = ip(&["netns", "list"]);
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn hosts_reach_each_other_and_the_test_until_they_are_unplugged() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let in_host = EchoBackend::start_in(&server, "host", 8080);
    let in_test = EchoBackend::start_on("test", (network.gateway(), crate::free_port()).into());
    let to_host = format!("http://{}:{}/", server.ip(), in_host.port());
    let to_test = format!("http://{}/", in_test.address());

    assert_eq!(client.get(&to_host, &[]).await.unwrap().brief(), (200, "host"));
    let as_web = [("host", "web.example")];
    let answer = client.get(&to_test, &as_web).await.unwrap();
    assert_eq!(answer.brief(), (200, "test"));
    assert_eq!(answer.headers["x-host"], "web.example");

    server.disconnect();
    assert!(client.get(&to_host, &[]).await.is_err());

    server.connect();
    eventually("the server is back", TIMEOUT, async || client.get(&to_host, &[]).await).await;
}

#[tokio::test]
async fn namespaces_and_bridge_go_with_their_values() {
    let network = Network::new();
    let host = network.host();
    let name = host.name().to_owned();
    let bridge = network.bridge.name();
    assert!(namespaces().contains(&name));

    drop(network);
    assert!(ip(&["link", "show"]).contains(&bridge), "a host keeps its network");
    drop(host);

    assert!(!namespaces().contains(&name));
    assert!(!ip(&["link", "show"]).contains(&bridge));
}

#[tokio::test]
async fn a_program_runs_inside_and_dies_with_its_value() {
    let network = Network::new();
    let host = network.host();
    let scratch = Scratch::new("network");
    let program = host.program("sh").args(["-c", "ip -o -4 addr show eth0; id -u; exec sleep 60"]);

    let process = Process::spawn("inside", program.as_user(1337), scratch.path());

    process
        .wait_until("shows its address and user", TIMEOUT, async || {
            let log = process.log();
            let shown = log.contains(&host.ip().to_string()) && log.contains("\n1337\n");
            if shown { Ok(()) } else { Err(log) }
        })
        .await;
    let pid = process.pid();
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// Outbound and inbound listeners that send all to where it was going.
fn sidecar(transparent: bool, xds: u16) -> String {
    let chain = |cluster: &str| {
        format!(
            r#"
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {cluster}
          cluster: {cluster}"#
        )
    };
    let cluster = |name: &str| {
        format!("  - {{ name: {name}, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED }}\n")
    };
    // In a transparent sidecar the application sees its client's address.
    let filters = if transparent {
        r#"
    - name: envoy.filters.listener.original_src
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc
        mark: 1337"#
    } else {
        ""
    };
    format!(
        r#"
static_resources:
  listeners:
  - name: outbound
    address: {{ socket_address: {{ address: 0.0.0.0, port_value: 15001 }} }}
    use_original_dst: true{outbound}
  - name: inbound
    address: {{ socket_address: {{ address: 0.0.0.0, port_value: {xds} }} }}
    transparent: {transparent}
    listener_filters:
    - name: envoy.filters.listener.original_dst
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst{filters}{inbound}
  clusters:
{clusters}"#,
        outbound = chain("out").replace("filter_chains", "listener_filters:\n    - name: envoy.filters.listener.original_dst\n      typed_config:\n        \"@type\": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst\n    filter_chains"),
        inbound = chain("in"),
        clusters = cluster("out") + &cluster("in"),
    )
    .replace("    use_original_dst: true\n", "")
}

async fn connections(envoy: &Envoy, cluster: &str) -> u64 {
    let name = format!("cluster.{cluster}.upstream_cx_total");
    envoy.stat(&name).await.unwrap_or_default()
}

#[tokio::test]
async fn redirected_traffic_goes_through_the_sidecars_of_both_ends() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let backend = EchoBackend::start_in(&server, "app", 8080);
    let mut sidecars = Vec::new();
    for host in [&client, &server] {
        let options =
            EnvoyOptions { namespace: Some(host), uid: Some(1337), ..EnvoyOptions::default() };
        let envoy = Envoy::start_with(&sidecar(false, 15006), options).await;
        let admin: u16 = envoy.admin_url().rsplit(':').next().unwrap().parse().unwrap();
        host.redirect(&Interception { excluded_ports: vec![admin], ..Interception::default() });
        sidecars.push(envoy);
    }

    let url = format!("http://{}:{}/", server.ip(), backend.port());
    let answer = client.get(&url, &[]).await;

    assert_eq!(answer.unwrap().brief(), (200, "app"));
    assert_eq!(connections(&sidecars[0], "out").await, 1);
    assert_eq!(connections(&sidecars[1], "in").await, 1);
}

#[tokio::test]
async fn tproxied_traffic_keeps_the_clients_address() {
    let network = Network::new();
    let (client, server) = (network.host(), network.host());
    let backend = EchoBackend::start_in(&server, "app", 8080);
    let options =
        EnvoyOptions { namespace: Some(&server), gid: Some(1337), ..EnvoyOptions::default() };
    let envoy = Envoy::start_with(&sidecar(true, 15006), options).await;
    server.tproxy(&Interception::default());

    let url = format!("http://{}:{}/", server.ip(), backend.port());
    let answer = client.get(&url, &[]).await.unwrap();

    let seen = &answer.headers["x-peer"];
    assert!(seen.starts_with(&format!("{}:", client.ip())), "{seen}");
    assert_eq!(connections(&envoy, "in").await, 1);
}
