//! What proxies report to have sent where, as `/metrics` tells it: a real Envoy whose
//! bootstrap asks for load reports, with traffic.

mod common;

use std::net::Ipv4Addr;

use common::Mainstem;
use mainstem_test_support::{
    EchoBackend, Envoy, EnvoyVersion, HttpClient, Scratch, TIMEOUT, eventually, free_port,
};
use serde_json::{Value, json};

const HOST: &str = "web.shop.svc.cluster.local";

/// A service with HTTP on `port`, answered by the backend, which is in a zone.
fn service(port: u16, backend: &EchoBackend) -> String {
    json!({ "services": [{
        "hostname": HOST,
        "ports": [{ "number": port, "name": "http", "protocol": "http" }],
        "endpoints": [{
            "address": "127.0.0.1", "ports": { "http": backend.port() }, "locality": "eu/eu-1/a",
        }],
    }]})
    .to_string()
}

/// A sidecar that reports to the control plane.
async fn sidecar(mainstem: &Mainstem) -> Envoy {
    let text = mainstem.bootstrap(&[
        "--name",
        "client",
        "--namespace",
        "shop",
        "--interception",
        "none",
        "-o",
        "json",
    ]);
    let mut bootstrap: Value = serde_json::from_str(&text).expect("it was asked for JSON");
    bootstrap["cluster_manager"] = json!({ "load_stats_config": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
    }});
    let envoy = Envoy::start(&bootstrap.to_string(), EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    envoy
}

/// The value of a metric, if it is there.
fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_sent_to_a_zone_is_a_metric() {
    let files = Scratch::new("files");
    let (web, backend) = (free_port(), EchoBackend::start("blue"));
    files.write("web.yaml", service(web, &backend));
    let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
    let settings = json!({ "xds": { "loadReports": { "interval": "100ms" } } });
    let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &[registry], settings).await;
    mainstem.ready().await;
    let _envoy = sidecar(&mainstem).await;

    let client = HttpClient::new(&format!("http://127.0.0.1:{web}"));
    let place = format!("cluster=\"outbound|{web}||{HOST}\",region=\"eu\",zone=\"eu-1\"");
    let requests = |result| format!("mainstem_load_requests_total{{{place},result=\"{result}\"}}");
    eventually("the requests are counted", TIMEOUT, async || {
        client.fetch("/", &[("host", HOST)]).await?;
        let metrics = mainstem.metrics().await;
        let counted = value(&metrics, &requests("succeeded")).is_some_and(|count| count > 0.0);
        if counted { Ok(()) } else { Err(metrics) }
    })
    .await;
    // A report may have come while a request was under way.
    eventually("none is under way any more", TIMEOUT, async || {
        let metrics = mainstem.metrics().await;
        let failed = value(&metrics, &requests("failed"));
        let active = value(&metrics, &format!("mainstem_load_requests_active{{{place}}}"));
        if (failed, active) == (Some(0.0), Some(0.0)) { Ok(()) } else { Err(metrics) }
    })
    .await;
}
