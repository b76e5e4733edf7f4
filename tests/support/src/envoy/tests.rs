#![allow(clippy::unwrap_used)]

use super::*;
use crate::claim::free_port;
use crate::echo::EchoBackend;
use crate::http_client::HttpClient;

/// One listener that sends everything to one backend.
pub(crate) fn one_route(port: u16, backend: u16) -> String {
    format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 15000 }} }} }}
static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: backend
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {backend} }} }} }}
"#
    )
}

#[tokio::test]
async fn every_version_routes_to_a_backend_and_tells_its_state() {
    for version in EnvoyVersion::ALL {
        let backend = EchoBackend::start("blue");
        let port = free_port();
        let envoy = Envoy::start(&one_route(port, backend.port()), version).await;
        envoy.ready().await;

        let base = format!("http://127.0.0.1:{port}");
        let answer = HttpClient::new(&base).fetch("/path", &[]).await.unwrap();

        assert_eq!(answer.brief(), (200, "blue"));
        assert_eq!(answer.headers["x-path"], "/path");
        assert_eq!(backend.requests(), 1);
        let endpoint = backend.address().to_string();
        assert_eq!(envoy.endpoints("backend").await, [endpoint]);
        assert_eq!(envoy.stat("cluster.backend.upstream_cx_total").await, Some(1));
        assert_eq!(envoy.stat("no.such.stat").await, None);
        let info = envoy.admin_get("/server_info").await.unwrap();
        assert!(info.contains(&format!("/{}/", version.number())), "{info}");
        let dump = envoy.config_dump().await.to_string();
        assert!(dump.contains("EndpointsConfigDump"), "{dump}");
        assert_eq!(envoy.listeners().await["listener_statuses"][0]["name"], "in");
        envoy.quit().await;
    }
}

#[tokio::test]
async fn validation_accepts_what_is_right_and_says_what_is_wrong() {
    let good = one_route(1, 2);
    let bad = good.replace("cluster: backend", "cluster: [backend]");

    let verdict = Envoy::validate(&good, EnvoyVersion::DEFAULT).await;
    assert_eq!(verdict, Ok(()));

    let verdict = Envoy::validate(&bad, EnvoyVersion::DEFAULT).await;
    let error = verdict.unwrap_err();
    assert!(error.contains("cluster"), "{error}");
}

#[tokio::test]
#[should_panic(expected = "envoy writes its admin address: it ended with")]
async fn a_bootstrap_that_envoy_refuses_fails_the_start() {
    Envoy::start("no: bootstrap", EnvoyVersion::DEFAULT).await;
}
