//! Sources that open streams to a sink: who is let in, and which stream is followed.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use mainstem_mcp::convert::Kind;
use mainstem_mcp::{McpAdapter, McpConfig, PROVIDER, Protocol};
use mainstem_model::RegistryId;
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::istio::{Metadata, RequestResources, Resource, Resources};
use mainstem_test_support::battery::{View, Watch};
use mainstem_test_support::{Ca, Scratch, TIMEOUT, eventually, free_port};
use pretty_assertions::assert_eq;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

const KIND: &str = "istio/networking/v1alpha3/gateways";

/// A sink over TLS that asks for a token, and how sources reach it.
struct Sink {
    watch: Watch,
    endpoint: Endpoint,
    _files: Scratch,
}

impl Sink {
    async fn start() -> Self {
        let (ca, files) = (Ca::new("sinks"), Scratch::new("sink"));
        let identity = ca.server(&["127.0.0.1"]);
        let address = format!("https://{}:{}", Ipv4Addr::LOCALHOST, free_port());
        let config = McpConfig {
            protocol: Protocol::ResourceSink,
            kinds: vec![Kind::Other(KIND.into())],
            token_file: Some(files.write("token", "let me in")),
            tls: mainstem_mcp::TlsConfig {
                cert: Some(files.write("tls.crt", &identity.cert_pem)),
                key: Some(files.write("tls.key", &identity.key_pem)),
                ..Default::default()
            },
            ..McpConfig::new("config", &address)
        };
        let registry = RegistryId::new(PROVIDER, "config");
        let watch = Watch::start(registry, Box::new(McpAdapter::new(config)));
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.pem()));
        let endpoint = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap();
        Self { watch, endpoint, _files: files }
    }

    async fn connect(&self) -> Channel {
        eventually("the sink listens", TIMEOUT, async || self.endpoint.connect().await).await
    }
}

/// A stream of a source.
struct Source {
    answers: mpsc::UnboundedSender<Resources>,
    requests: Streaming<RequestResources>,
}

impl Source {
    async fn open(channel: Channel, token: &str) -> Result<Self, Status> {
        let (answers, outgoing) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let method = "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream";
        let codec = ProstCodec::<Resources, RequestResources>::default();
        let requests = client.streaming(request, PathAndQuery::from_static(method), codec).await?;
        Ok(Self { answers, requests: requests.into_inner() })
    }

    async fn request(&mut self) -> Result<Option<RequestResources>, Status> {
        timeout(TIMEOUT, self.requests.message()).await.expect("the sink says something")
    }

    fn answer(&self, version: &str) {
        let metadata = Metadata {
            name: "shop/door".to_owned(),
            version: version.to_owned(),
            ..Metadata::default()
        };
        let body = Some(Any { type_url: "a/b".to_owned(), value: version.to_owned().into() });
        let _ = self.answers.send(Resources {
            collection: KIND.to_owned(),
            resources: vec![Resource { metadata: Some(metadata), body }],
            nonce: version.to_owned(),
            ..Resources::default()
        });
    }
}

fn live(view: &View) -> Result<(), String> {
    view.live()?;
    if view.values.len() == 1 { Ok(()) } else { Err(format!("{:?}", view.values)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_the_token_is_asked_and_the_newest_stream_is_followed() {
    let mut sink = Sink::start().await;
    let channel = sink.connect().await;
    let refused = Source::open(channel.clone(), "open sesame").await.err();
    assert_eq!(refused.map(|status| status.code()), Some(Code::Unauthenticated));

    let mut first = Source::open(channel, "let me in").await.unwrap();
    let asked = first.request().await.unwrap().unwrap();
    assert_eq!((&*asked.collection, asked.initial_resource_versions.len()), (KIND, 0));
    first.answer("v1");
    let ack = first.request().await.unwrap().unwrap();
    assert_eq!((&*ack.response_nonce, ack.error_detail), ("v1", None));
    sink.watch.until("what the source says", live).await;

    // It comes back before its first stream is known to be lost.
    let mut second = Source::open(sink.connect().await, "let me in").await.unwrap();
    let asked = second.request().await.unwrap().unwrap();
    let held = [("shop/door".to_owned(), "v1".to_owned())];
    assert_eq!(asked.initial_resource_versions, held.into());
    assert!(!matches!(first.request().await, Ok(Some(_))), "the first stream is over");
    second.answer("v2");
    let ack = second.request().await.unwrap().unwrap();
    assert_eq!((&*ack.response_nonce, ack.error_detail), ("v2", None));
    sink.watch.until_while("the second stream", live, live).await;
}
