//! A change is one trace at a collector of OpenTelemetry, from a registry's word to the
//! answers of proxies.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use common::Mainstem;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::google::rpc;
use mainstem_test_support::{Scratch, TIMEOUT};
use mainstem_xds::TypeUrl;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

const NODE: &str = "sidecar~127.0.0.1~web-0.shop~shop.svc.cluster.local";
const CLUSTER: &str = "outbound|80||web.shop.svc.cluster.local";

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What was collected, and comes in.
struct Traces {
    incoming: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    spans: Vec<Span>,
    services: Vec<String>,
}

impl Traces {
    /// A collector, and where it listens.
    async fn collect() -> (Self, String) {
        let (sender, incoming) = mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(Collector(sender));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (Self { incoming, spans: Vec::new(), services: Vec::new() }, address)
    }

    /// The spans by name of the first trace for which it holds, once it does.
    async fn trace(
        &mut self,
        holds: impl Fn(&BTreeMap<&str, &Span>) -> bool,
    ) -> BTreeMap<String, Span> {
        loop {
            let mut traces: BTreeMap<&[u8], BTreeMap<&str, &Span>> = BTreeMap::new();
            for span in &self.spans {
                traces.entry(&span.trace_id).or_default().insert(&span.name, span);
            }
            if let Some(found) = traces.into_values().find(|trace| holds(trace)) {
                return found
                    .into_iter()
                    .map(|(name, span)| (name.to_owned(), span.clone()))
                    .collect();
            }
            let more = tokio::time::timeout(TIMEOUT, self.incoming.recv()).await;
            let names: Vec<_> = self.spans.iter().map(|span| &span.name).collect();
            let more = more.unwrap_or_else(|_| panic!("no such trace among {names:?}"));
            for resource in more.expect("the collector goes on").resource_spans {
                let attributes = resource.resource.unwrap().attributes;
                self.services.extend(attribute(&attributes, "service.name"));
                self.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::ArrayValue(list) => {
            let text = |one: &AnyValue| match &one.value {
                Some(any_value::Value::StringValue(text)) => text.clone(),
                other => format!("{other:?}"),
            };
            list.values.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    })
}

/// A proxy that asks for the endpoints of one cluster.
struct Client {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    async fn connect(mainstem: &Mainstem) -> Self {
        let address = format!("http://{}", mainstem.xds());
        let mut client = AggregatedDiscoveryServiceClient::connect(address).await.unwrap();
        let (requests, outgoing) = mpsc::unbounded_channel();
        let first = DeltaDiscoveryRequest {
            node: Some(Node { id: NODE.to_owned(), ..Node::default() }),
            resource_names_subscribe: vec![CLUSTER.to_owned()],
            type_url: TypeUrl::CLUSTER_LOAD_ASSIGNMENT.to_string(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(first).unwrap();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let responses = client.delta_aggregated_resources(outgoing).await.unwrap().into_inner();
        Self { requests, responses }
    }

    /// Takes the next response, or refuses it for this reason.
    async fn answer(&mut self, refusal: Option<&str>) {
        let next = tokio::time::timeout(TIMEOUT, self.responses.message()).await;
        let response = next.expect("a response comes").unwrap().expect("the stream goes on");
        let error_detail =
            refusal.map(|why| rpc::Status { code: 3, message: why.to_owned(), details: vec![] });
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(answer).unwrap();
    }
}

fn put(files: &Scratch, port: u16) {
    let document = json!({ "services": [{
        "hostname": "web.shop.svc.cluster.local",
        "namespace": "shop",
        "ports": [{ "number": 80, "name": "http", "protocol": "http" }],
        "endpoints": [{ "address": "127.0.0.1", "ports": { "http": port } }],
    }]});
    let file = files.write("web.tmp", document.to_string());
    std::fs::rename(&file, file.with_extension("yaml")).expect("a rename within a directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_one_trace_from_the_registry_to_the_answer_of_each_proxy() {
    let (mut traces, collector) = Traces::collect().await;
    let files = Scratch::new("files");
    put(&files, 1);
    let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let mainstem =
        Mainstem::launch_in(&environment, Ipv4Addr::LOCALHOST, &[registry], json!({})).await;
    mainstem.expect_refusals();
    mainstem.ready().await;
    let mut client = Client::connect(&mainstem).await;
    client.answer(None).await;

    put(&files, 2);
    client.answer(None).await;
    let accepted = traces.trace(|trace| trace.len() == 4).await;
    let names: Vec<_> = accepted.keys().map(String::as_str).collect();
    assert_eq!(names, ["change", "push", "snapshot", "translate"]);
    let (change, push) = (&accepted["change"], &accepted["push"]);
    assert_eq!(change.parent_span_id, b"");
    for part in ["push", "snapshot", "translate"] {
        assert_eq!(accepted[part].parent_span_id, change.span_id, "{part}");
        assert!(accepted[part].start_time_unix_nano >= change.start_time_unix_nano, "{part}");
        assert!(accepted[part].end_time_unix_nano >= accepted[part].start_time_unix_nano, "{part}");
    }
    assert_eq!(accepted["snapshot"].start_time_unix_nano, change.start_time_unix_nano);
    let said = |span: &Span, key: &str| attribute(&span.attributes, key).unwrap_or_default();
    assert_eq!(said(change, "mainstem.services"), "shop/web.shop.svc.cluster.local");
    assert_eq!(said(change, "mainstem.services.defined"), "0");
    assert_eq!(said(change, "mainstem.services.endpoints"), "1");
    assert_eq!(said(change, "mainstem.streams"), "1");
    assert_eq!(
        (said(push, "mainstem.node"), said(push, "mainstem.type")),
        (NODE.into(), "EDS".into())
    );
    assert_eq!(push.status.clone().unwrap_or_default().message, "");
    assert!(traces.services.iter().all(|service| service == "mainstem"));

    put(&files, 3);
    client.answer(Some("port 3 is taken")).await;
    let refused = |span: &Span| span.status.clone().unwrap_or_default().message;
    let trace =
        traces.trace(|trace| trace.get("push").is_some_and(|push| !refused(push).is_empty())).await;
    assert_eq!(refused(&trace["push"]), "port 3 is taken");
}
