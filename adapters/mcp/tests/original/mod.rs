//! A source of the original Mesh Configuration Protocol.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use mainstem_proto::istio::{RequestResources, Resources};
use mainstem_test_support::free_port;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// ServiceEntries by name.
type Held = BTreeMap<String, Resource>;

/// `ResourceSource`, as a source that tells changes where it is asked to, or never.
#[derive(Clone)]
struct Exchange {
    held: watch::Receiver<Held>,
    incremental: bool,
}

impl NamedService for Exchange {
    const NAME: &'static str = "istio.mcp.v1alpha1.ResourceSource";
}

impl tower::Service<http::Request<Body>> for Exchange {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let exchange = self.clone();
        Box::pin(
            async move { Ok(Grpc::new(ProstCodec::default()).streaming(exchange, request).await) },
        )
    }
}

impl StreamingService<RequestResources> for Exchange {
    type Response = Resources;
    type ResponseStream = UnboundedReceiverStream<Result<Resources, Status>>;
    type Future = Answer<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<RequestResources>>) -> Self::Future {
        let (answers, stream) = mpsc::unbounded_channel();
        let exchange = self.clone();
        tokio::spawn(async move { exchange.serve(request.into_inner(), answers).await });
        Box::pin(async move { Ok(Response::new(UnboundedReceiverStream::new(stream))) })
    }
}

impl Exchange {
    async fn serve(
        mut self,
        mut requests: Streaming<RequestResources>,
        answers: mpsc::UnboundedSender<Result<Resources, Status>>,
    ) {
        // What the sink has of each collection, by version.
        let mut told: HashMap<String, BTreeMap<String, String>> = HashMap::new();
        loop {
            tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else { return };
                    // Everything after the first is an answer to an answer.
                    if request.response_nonce.is_empty() {
                        let known = request.initial_resource_versions;
                        let first = self.answer(&request.collection, &known, known.is_empty());
                        told.insert(request.collection, self.versions(&first.collection));
                        let _ = answers.send(Ok(first));
                    }
                }
                changed = self.held.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    for (collection, known) in &mut told {
                        let answer = self.answer(collection, known, false);
                        if !answer.resources.is_empty() || !answer.removed_resources.is_empty() {
                            *known = self.versions(collection);
                            let _ = answers.send(Ok(answer));
                        }
                    }
                }
            }
        }
    }

    fn objects(&self, collection: &str) -> Held {
        match collection == Kind::ServiceEntry.collection() {
            true => self.held.borrow().clone(),
            false => Held::new(),
        }
    }

    fn versions(&self, collection: &str) -> BTreeMap<String, String> {
        let version = |one: Resource| one.metadata.unwrap_or_default().version;
        self.objects(collection).into_iter().map(|(name, one)| (name, version(one))).collect()
    }

    /// What differs from what is known, or everything.
    fn answer(&self, collection: &str, known: &BTreeMap<String, String>, whole: bool) -> Resources {
        let (objects, versions) = (self.objects(collection), self.versions(collection));
        let incremental = self.incremental && !whole;
        let new = |name: &String| known.get(name) != versions.get(name);
        let differs =
            objects.keys().any(new) || known.keys().any(|name| !objects.contains_key(name));
        let gone = known.keys().filter(|name| incremental && !objects.contains_key(*name));
        Resources {
            collection: collection.to_owned(),
            removed_resources: match incremental {
                true => gone.cloned().collect(),
                // Ignored by the sink: it only says that something differs.
                false => differs.then(|| "ignored".to_owned()).into_iter().collect(),
            },
            resources: objects
                .clone()
                .into_iter()
                .filter(|(name, _)| !incremental || new(name))
                .map(|(_, one)| one)
                .collect(),
            nonce: "1".to_owned(),
            incremental,
            ..Resources::default()
        }
    }
}

/// What an original source holds.
struct Collections(watch::Sender<Held>);

impl Upstream for Collections {
    fn set(&mut self, mut resource: Resource) {
        self.0.send_modify(|held| {
            let metadata = resource.metadata.get_or_insert_default();
            // Any that was not there before.
            metadata.version = format!("{:x}", rand::random::<u64>());
            held.insert(metadata.name.clone(), resource);
        });
    }

    fn remove(&mut self, name: &str) {
        self.0.send_modify(|held| drop(held.remove(name)));
    }
}

async fn source(incremental: bool) -> Source {
    let (held, reader) = watch::channel(Held::new());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tonic::transport::Server::builder()
        .add_service(Exchange { held: reader, incremental })
        .serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            shutdown.clone().cancelled_owned(),
        );
    tokio::spawn(serving);
    let protocol = Protocol::ResourceSource;
    let (upstream, address) = (Box::new(Collections(held)), proxy.http_url());
    Source { upstream, address, proxy, protocol, _serving: shutdown.drop_guard() }
}

mod incremental {
    use super::*;
    mainstem_test_support::adapter_battery!(source(true).await);
}

mod complete {
    use super::*;
    mainstem_test_support::adapter_battery!(source(false).await);
}

/// Opens streams to the sink at `address`, again and again.
async fn dial(address: String, exchange: Exchange) {
    loop {
        if let Ok(channel) = Endpoint::from_shared(address.clone()).unwrap().connect().await {
            let (answers, outgoing) = mpsc::unbounded_channel();
            let outgoing = UnboundedReceiverStream::new(outgoing).map(Result::unwrap);
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let method = PathAndQuery::from_static(
                "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream",
            );
            let codec = ProstCodec::<Resources, RequestResources>::default();
            let requests = client.streaming(Request::new(outgoing), method, codec).await;
            if let Ok(requests) = requests {
                exchange.clone().serve(requests.into_inner(), answers).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn dialling(incremental: bool) -> Source {
    let (held, reader) = watch::channel(Held::new());
    let sink = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let proxy = FaultProxy::start(sink);
    let shutdown = CancellationToken::new();
    let dialling = dial(proxy.http_url(), Exchange { held: reader, incremental });
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(dialling));
    Source {
        upstream: Box::new(Collections(held)),
        address: format!("http://{sink}"),
        proxy,
        protocol: Protocol::ResourceSink,
        _serving: shutdown.drop_guard(),
    }
}

mod to_a_sink {
    use super::*;
    mainstem_test_support::adapter_battery!(dialling(true).await);
}
