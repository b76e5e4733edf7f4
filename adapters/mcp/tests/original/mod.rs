//! A source of the original Mesh Configuration Protocol, and the battery against it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mainstem_proto::istio::{RequestResources, Resources};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, StreamingService};
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

/// The battery's registry.
struct OriginalSource {
    held: watch::Sender<Held>,
    proxy: FaultProxy,
    version: u64,
    _serving: DropGuard,
}

impl OriginalSource {
    async fn start(incremental: bool) -> Self {
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
        Self { held, proxy, version: 0, _serving: shutdown.drop_guard() }
    }

    fn set(&mut self, name: &str, entry: &ServiceEntry) {
        self.version += 1;
        let name = format!("shop/{name}");
        let body = Any {
            type_url: "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry".to_owned(),
            value: entry.encode_to_vec().into(),
        };
        let version = self.version.to_string();
        let metadata = Metadata { name: name.clone(), version, ..Metadata::default() };
        let resource = Resource { metadata: Some(metadata), body: Some(body) };
        self.held.send_modify(|held| drop(held.insert(name, resource)));
    }
}

impl Fixture for OriginalSource {
    fn registry(&self) -> RegistryId {
        RegistryId::new(mainstem_mcp::PROVIDER, "upstream")
    }

    fn adapter(&self) -> Box<dyn Adapter> {
        let protocol = Protocol::ResourceSource;
        let config = McpConfig { protocol, ..McpConfig::new("upstream", self.proxy.http_url()) };
        Box::new(McpAdapter::new(config))
    }

    fn key(&self, name: &str) -> ServiceKey {
        ServiceKey::new(hostname(name), "shop")
    }

    async fn put(&mut self, service: &TestService) {
        self.set(&service.name, &entry(service));
    }

    async fn remove(&mut self, name: &str) {
        self.held.send_modify(|held| drop(held.remove(&format!("shop/{name}"))));
    }

    async fn malform(&mut self, name: &str) {
        let broken = ServiceEntry { resolution: 99, ..entry(&TestService::new(name, &[])) };
        self.set(name, &broken);
    }

    fn malformed(&self, name: &str) -> ObjectRef {
        ObjectRef { kind: "ServiceEntry", name: format!("shop/{name}").into() }
    }

    async fn cut(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn begin_gap(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn end_gap(&mut self) {
        self.proxy.set(Fault::None).await;
    }

    async fn slow(&mut self, by: Duration) {
        self.proxy.set(Fault::Delay(by)).await;
    }

    async fn hang(&mut self) {
        self.proxy.set(Fault::BlackHole).await;
    }

    async fn hanging(&mut self) {
        assert!(self.proxy.connections() > 0, "the stream is open");
    }

    async fn restore(&mut self) {
        self.proxy.set(Fault::None).await;
    }
}

mod incremental {
    use super::*;
    mainstem_test_support::adapter_battery!(OriginalSource::start(true).await);
}

mod complete {
    use super::*;
    mainstem_test_support::adapter_battery!(OriginalSource::start(false).await);
}
