//! How long `explain` takes: a control plane with many services, asked over HTTP
//! about one after the other, while a proxy sees them all.
//!
//! `cargo bench --bench explain`
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::Ipv4Addr;
use std::time::Instant;

use common::Mainstem;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::type_url;
use mainstem_test_support::{HttpClient, Scratch};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How many services a file holds.
const OF_FILE: usize = 1_000;
/// How many questions are asked, about how many services.
const QUESTIONS: usize = 2_000;
const ASKED_ABOUT: usize = 100;
const NODE: &str = "sidecar~10.9.9.9~web.shop~shop.svc.cluster.local";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("| services | question | p50 ms | p99 ms | aim | holds |");
    println!("|---:|---|---:|---:|---|---|");
    for services in [1_000, 10_000, 100_000] {
        runtime.block_on(measure(services));
    }
}

async fn measure(services: usize) {
    let files = Scratch::new("services");
    for first in (0..services).step_by(OF_FILE) {
        let of_file: Vec<Value> = (first..first + OF_FILE).map(service).collect();
        files.write(&format!("{first}.json"), json!({ "services": of_file }).to_string());
    }
    let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
    let mainstem = Mainstem::launch(Ipv4Addr::LOCALHOST, &[registry]).await;
    mainstem.ready().await;
    let asked: Vec<usize> = (0..ASKED_ABOUT).map(|n| n * (services / ASKED_ABOUT)).collect();
    let proxy = Proxy::connect(&mainstem, &asked).await;
    let client = HttpClient::new(&format!("http://{}", mainstem.admin()));
    for (what, whole) in [("one endpoint", false), ("a service", true)] {
        let mut took = Vec::with_capacity(QUESTIONS);
        for n in asked.iter().cycle().take(QUESTIONS) {
            let endpoint = if whole { String::new() } else { format!("&endpoint={}", address(*n)) };
            let path = format!("/api/v1/explain?host={}{endpoint}&proxy={NODE}", host(*n));
            let begun = Instant::now();
            let answer = client.fetch(&path, &[]).await.unwrap();
            took.push(begun.elapsed());
            let told: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(told["outcome"]["verdict"], "passed", "{told}");
        }
        took.sort();
        let at = |share: usize| took[(QUESTIONS - 1) * share / 100].as_secs_f64() * 1e3;
        let holds = if at(99) <= 5.0 { "yes" } else { "NO" };
        println!("| {services} | {what} | {:.2} | {:.2} | ≤ 5 | {holds} |", at(50), at(99));
    }
    drop(proxy);
}

/// A proxy that sees all services, and has the endpoints of some.
struct Proxy(tokio::task::JoinHandle<()>);

impl Proxy {
    /// Returns when it has them.
    async fn connect(mainstem: &Mainstem, services: &[usize]) -> Self {
        let address = format!("http://{}", mainstem.xds());
        let mut client = AggregatedDiscoveryServiceClient::connect(address)
            .await
            .unwrap()
            .max_decoding_message_size(usize::MAX);
        let (requests, outgoing) = mpsc::unbounded_channel();
        let node = Node { id: NODE.to_owned(), ..Node::default() };
        let names = services.iter().map(|n| format!("outbound|80||{}", host(*n)));
        let first = [
            (type_url::CLUSTER, Vec::new()),
            (type_url::CLUSTER_LOAD_ASSIGNMENT, names.collect::<Vec<_>>()),
        ];
        for (type_url, resource_names_subscribe) in first {
            let request = DeltaDiscoveryRequest {
                node: Some(node.clone()),
                type_url: type_url.to_owned(),
                resource_names_subscribe,
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).unwrap();
        }
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let mut answers = client.delta_aggregated_resources(outgoing).await.unwrap().into_inner();
        let (has_all, waiting) = oneshot::channel();
        let mut missing = services.len();
        let mut has_all = Some(has_all);
        let task = tokio::spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                if answer.type_url == type_url::CLUSTER_LOAD_ASSIGNMENT {
                    missing -= answer.resources.len();
                }
                let ack = DeltaDiscoveryRequest {
                    type_url: answer.type_url,
                    response_nonce: answer.nonce,
                    ..DeltaDiscoveryRequest::default()
                };
                requests.send(ack).unwrap();
                if let Some(has_all) = has_all.take_if(|_| missing == 0) {
                    has_all.send(()).unwrap();
                }
            }
        });
        waiting.await.unwrap();
        // Its last words are on the way.
        let path = format!("/api/v1/explain?host={}&proxy={NODE}", host(services[0]));
        while mainstem.ask(&path).await["outcome"]["verdict"] != "passed" {}
        Self(task)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn host(n: usize) -> String {
    format!("service-{n}.shop.svc.cluster.local")
}

fn address(n: usize) -> String {
    Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap()).to_string()
}

fn service(n: usize) -> Value {
    json!({
        "hostname": host(n),
        "ports": [{ "number": 80, "name": "http" }],
        "endpoints": [{ "address": address(n), "port": 8080 }],
    })
}
