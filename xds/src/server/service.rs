//! From an HTTP request to a stream.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mainstem_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use mainstem_proto::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use super::closing::Closing;
use super::codec::XdsCodec;
use super::csds::ClientStatusService;
use super::frames::{Requests, Responses};
use super::listener::ConnectionInfo;
use super::lrs::LoadService;
use super::method::{Method, method};
use super::seat::{Seat, Seats};
use super::stream::Opened;
use super::{Shared, rest};
use crate::auth::{Authenticator, Credentials, Identity};
use crate::clients::Protocol;
use crate::names::TypeUrl;
use crate::protocol::{self, Fetched, Message, ProtocolError};
use crate::source::Client;

const STATUS_SERVICE: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/";
const LOAD_SERVICE: &str = "/envoy.service.load_stats.v3.LoadReportingService/";

/// Answers every method of the discovery, status and load services.
#[derive(Clone)]
pub(super) struct XdsService {
    serving: Arc<Serving>,
}

pub(super) struct Serving {
    pub(super) shared: Arc<Shared>,
    authenticator: Arc<dyn Authenticator>,
    pub(super) tasks: TaskTracker,
    pub(super) closing: Closing,
    pub(super) seats: Seats,
}

impl XdsService {
    pub(super) fn new(
        shared: Arc<Shared>,
        authenticator: Arc<dyn Authenticator>,
        tasks: TaskTracker,
        closing: Closing,
        seats: Seats,
    ) -> XdsService {
        XdsService { serving: Arc::new(Serving { shared, authenticator, tasks, closing, seats }) }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for XdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let serving = self.serving.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if path.starts_with(STATUS_SERVICE) {
                return ClientStatusDiscoveryServiceServer::new(ClientStatusService(serving))
                    .call(request)
                    .await;
            }
            if path.starts_with(LOAD_SERVICE) {
                return LoadReportingServiceServer::new(LoadService(serving)).call(request).await;
            }
            Ok(match method(path) {
                None => Status::unimplemented("no such xDS method").into_http(),
                Some(Method::Stream(Protocol::Sotw, implied)) => {
                    stream::<DiscoveryRequest>(serving, implied, request)
                }
                Some(Method::Stream(Protocol::Delta, implied)) => {
                    stream::<DeltaDiscoveryRequest>(serving, implied, request)
                }
                Some(Method::Fetch(type_url)) => fetch(serving, type_url, request).await,
                Some(Method::Rest(type_url)) => rest::answer(&serving, type_url, request).await,
            })
        })
    }
}

fn stream<R: protocol::Request>(
    serving: Arc<Serving>,
    implied: Option<TypeUrl>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let opened = open::<R>(&serving, implied, request);
    opened.unwrap_or_else(|status| {
        serving.shared.observer.refused(&status);
        status.into_http()
    })
}

fn open<R: protocol::Request>(
    serving: &Arc<Serving>,
    implied: Option<TypeUrl>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    if parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("compressed requests are not understood"));
    }
    let credentials = serving.screen(&parts.headers, &parts.extensions)?;
    let limit = serving.shared.config.limits.request_bytes;
    let requests = Requests::<R>::new(body, limit);
    let opened = Opened { serving: serving.clone(), implied, credentials, requests };
    Ok(Responses::response(Seat::new(opened)))
}

async fn fetch(
    serving: Arc<Serving>,
    type_url: TypeUrl,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let limit = serving.shared.config.limits.request_bytes;
    let mut grpc =
        Grpc::new(XdsCodec::<DiscoveryRequest>::default()).max_decoding_message_size(limit);
    grpc.unary(Fetch { serving, type_url }, request).await
}

/// Gives one answer.
struct Fetch {
    serving: Arc<Serving>,
    type_url: TypeUrl,
}

impl UnaryService<DiscoveryRequest> for Fetch {
    type Response = Message;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Message>, Status>> + Send>>;

    fn call(&mut self, request: Request<DiscoveryRequest>) -> Self::Future {
        let (serving, type_url) = (self.serving.clone(), self.type_url.clone());
        Box::pin(async move {
            let (headers, extensions, request) = request.into_parts();
            let credentials = serving.screen(headers.as_ref(), &extensions)?;
            let (_, message) = fetch_for(&serving, &type_url, request, &credentials).await?;
            Ok(Response::new(message))
        })
    }
}

/// What a request without a stream asks for.
pub(super) async fn fetch_for(
    serving: &Serving,
    type_url: &TypeUrl,
    mut request: DiscoveryRequest,
    credentials: &Credentials,
) -> Result<(Fetched, Message), Status> {
    if !request.type_url.is_empty() && request.type_url != **type_url {
        return Err(ProtocolError::OtherType(request.type_url).into());
    }
    let shared = &serving.shared;
    let node = request.node.take().unwrap_or_default();
    shared.config.limits.check_node(&node)?;
    let client = Arc::new(serving.client(credentials, node).await?);
    let mut view = shared.source.connect(&client)?;
    view.advance();
    let fetched = protocol::fetch(&mut *view, type_url, &request);
    let fetched = fetched.map_err(|error| Status::unavailable(error.to_string()))?;
    let message = fetched.message(type_url, &shared.config.identifier);
    Ok((fetched, message))
}

impl Serving {
    /// What the caller presents, unless that is plainly not enough.
    pub(super) fn screen(
        &self,
        headers: &http::HeaderMap,
        extensions: &http::Extensions,
    ) -> Result<Credentials, Status> {
        let ConnectionInfo { peer, certificates } = extensions.get().cloned().unwrap_or_default();
        let credentials = Credentials { peer, certificates, bearer: bearer(headers) };
        self.authenticator.screen(&credentials)?;
        Ok(credentials)
    }

    /// Finds out who is calling, and whether as this node.
    pub(super) async fn identify(
        &self,
        credentials: &Credentials,
        node: Option<&Node>,
    ) -> Result<Identity, Status> {
        let limit = self.shared.config.authentication;
        let identity = timeout(limit, self.authenticator.authenticate(credentials, node)).await;
        Ok(identity
            .map_err(|_| Status::unavailable("authenticating the client takes too long"))??)
    }

    /// The client that is calling as this node.
    pub(super) async fn client(
        &self,
        credentials: &Credentials,
        node: Node,
    ) -> Result<Client, Status> {
        let identity = self.identify(credentials, Some(&node)).await?;
        Ok(Client { stream: self.shared.next_stream(), node, peer: credentials.peer, identity })
    }
}

/// The token of an `authorization: Bearer` header.
fn bearer(headers: &http::HeaderMap) -> Option<Arc<str>> {
    let (scheme, token) =
        headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}
