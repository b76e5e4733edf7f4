//! The original protocol the other way round: `istio.mcp.v1alpha1.ResourceSink`, where the
//! source opens the stream and this side listens.
//!
//! ```text
//!  source ─ connection, token ─▶ Sink ─ the newest stream ─▶ Original
//! ```
//!
//! One stream is followed. A newer one takes its place: a source that lost its connection
//! may come back before that is noticed here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstem_proto::istio::{RequestResources, Resources};
use ring::digest::{SHA256, digest};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{LARGEST_ANSWER, McpError};
use crate::McpConfig;
use crate::credentials::Credentials;

/// How many streams a source may try on one connection.
const STREAMS: u32 = 4;

/// How long connections may take to end.
const CLOSING: Duration = Duration::from_secs(1);

/// A stream that a source opened.
pub(super) struct Incoming {
    pub(super) requests: mpsc::UnboundedSender<Result<RequestResources, Status>>,
    pub(super) answers: Streaming<Resources>,
}

/// Listens for the source.
pub(crate) struct Sink {
    credentials: Credentials,
    arrivals: mpsc::Receiver<Incoming>,
    next: Option<Incoming>,
    serving: JoinHandle<()>,
    /// Dropped, it tells connections to end.
    stop: oneshot::Sender<()>,
}

impl Sink {
    /// Listens at the configured address.
    pub(crate) async fn listen(
        config: &McpConfig,
        credentials: &Credentials,
    ) -> Result<Self, McpError> {
        let address = || config.address.clone();
        let at = config.sink_address()?;
        let wrong = |source| McpError::Connect { address: address(), source };
        let mut server = Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_keepalive_interval(Some(config.probe_interval.duration()))
            .http2_keepalive_timeout(Some(config.probe_timeout.duration()));
        if let Some((cert, key)) = &credentials.identity {
            let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(cert, key));
            if let Some(ca) = &credentials.ca {
                tls = tls.client_ca_root(Certificate::from_pem(ca));
            }
            server = server.tls_config(tls).map_err(wrong)?;
        }
        let bound = TcpListener::bind(at).await;
        let bound = bound.map_err(|source| McpError::Listen { address: address(), source })?;
        let (arrived, arrivals) = mpsc::channel(1);
        let door = Door { token: credentials.token.clone(), arrived };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let incoming = TcpListenerStream::new(bound);
        let serving = server.add_service(door).serve_with_incoming_shutdown(incoming, stopped);
        let serving = tokio::spawn(async move { drop(serving.await) });
        Ok(Self { credentials: credentials.clone(), arrivals, next: None, serving, stop })
    }

    /// Whether it listens with these.
    pub(crate) fn has(&self, credentials: &Credentials) -> bool {
        self.credentials == *credentials && !self.serving.is_finished()
    }

    /// Listens no more; its address is free afterwards.
    pub(crate) async fn close(self) {
        drop(self.stop);
        drop(self.next);
        let ended = tokio::time::timeout(CLOSING, self.serving).await;
        if ended.is_err() {
            tracing::warn!("a source keeps its connection to a sink that listens anew");
        }
    }

    /// Waits until a source opens a stream. Safe to cancel.
    pub(crate) async fn arrived(&mut self) {
        if self.next.is_none() {
            self.next = match self.arrivals.recv().await {
                Some(incoming) => Some(incoming),
                None => std::future::pending().await,
            };
        }
    }

    /// The stream that a source opened, if one did.
    pub(super) fn take(&mut self) -> Option<Incoming> {
        self.next.take()
    }
}

/// The service, which hands streams on.
#[derive(Clone)]
struct Door {
    token: Option<String>,
    arrived: mpsc::Sender<Incoming>,
}

impl Door {
    fn admit(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let shown = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Equal digests in place of equal texts: how long this takes tells nothing.
        match digest(&SHA256, shown.as_bytes()).as_ref()
            == digest(&SHA256, token.as_bytes()).as_ref()
        {
            true => Ok(()),
            false => Err(Status::unauthenticated("the token of this sink is needed")),
        }
    }

    fn open(
        &self,
        request: Request<Streaming<Resources>>,
    ) -> Result<Response<UnboundedReceiverStream<Result<RequestResources, Status>>>, Status> {
        self.admit(request.metadata())?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        let incoming = Incoming { requests, answers: request.into_inner() };
        match self.arrived.try_send(incoming) {
            Ok(()) => Ok(Response::new(UnboundedReceiverStream::new(outgoing))),
            Err(_) => Err(Status::unavailable("another stream is being taken")),
        }
    }
}

impl NamedService for Door {
    const NAME: &'static str = "istio.mcp.v1alpha1.ResourceSink";
}

type Ready<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::codegen::Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<RequestResources, Resources>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_ANSWER);
            Ok(match request.uri().path() {
                METHOD => grpc.streaming(door, request).await,
                _ => Status::unimplemented("a sink knows EstablishResourceStream").into_http(),
            })
        })
    }
}

/// What sources call.
const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream";

impl StreamingService<Resources> for Door {
    type Response = RequestResources;
    type ResponseStream = UnboundedReceiverStream<Result<RequestResources, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Resources>>) -> Self::Future {
        std::future::ready(self.open(request))
    }
}
