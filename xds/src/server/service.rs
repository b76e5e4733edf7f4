//! From an HTTP request to a stream.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mainstem_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use mainstem_proto::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tower::Service as _;

use super::closing::Closing;
use super::codec::XdsCodec;
use super::connection::{Answer, ConnectionInfo, Incoming, Peer};
use super::csds::ClientStatusService;
use super::lrs::LoadService;
use super::method::{Method, method};
use super::phase::Phased;
use super::poll::poll;
use super::requests::Requests;
use super::stream::Opened;
use super::{Shared, rest};
use crate::auth::{Authenticator, Credentials, Identity};
use crate::clients::Protocol;
use crate::names::TypeUrl;
use crate::protocol::{self, Message};
use crate::source::Client;

const STATUS_SERVICE: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/";
const LOAD_SERVICE: &str = "/envoy.service.load_stats.v3.LoadReportingService/";

/// What all connections of a listener need.
pub(super) struct Serving {
    pub(super) shared: Arc<Shared>,
    authenticator: Arc<dyn Authenticator>,
    pub(super) tasks: TaskTracker,
    pub(super) closing: Closing,
}

impl Serving {
    pub(super) fn new(shared: Arc<Shared>, authenticator: Arc<dyn Authenticator>) -> Serving {
        Serving { shared, authenticator, tasks: TaskTracker::new(), closing: Closing::default() }
    }

    /// Answers every method of the discovery, status and load services.
    pub(super) fn answer(self: &Arc<Self>, request: http::Request<Incoming>) -> Answer {
        match method(request.uri().path()) {
            Some(Method::Stream(Protocol::Sotw, implied)) => {
                stream::<DiscoveryRequest>(self, implied, request)
            }
            Some(Method::Stream(Protocol::Delta, implied)) => {
                stream::<DeltaDiscoveryRequest>(self, implied, request)
            }
            other => Answer::Whole(Box::pin(whole(self.clone(), other, request.map(Body::new)))),
        }
    }
}

async fn whole(
    serving: Arc<Serving>,
    method: Option<Method>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let path = request.uri().path();
    match method {
        Some(Method::Fetch(type_url)) => fetch(serving, type_url, request).await,
        Some(Method::Rest(type_url)) => rest::answer(&serving, type_url, request).await,
        _ if path.starts_with(STATUS_SERVICE) => {
            let service = ClientStatusService(serving);
            infallible(ClientStatusDiscoveryServiceServer::new(service).call(request).await)
        }
        _ if path.starts_with(LOAD_SERVICE) => {
            infallible(LoadReportingServiceServer::new(LoadService(serving)).call(request).await)
        }
        _ => Status::unimplemented("no such xDS method").into_http(),
    }
}

fn infallible<T>(answered: Result<T, Infallible>) -> T {
    answered.unwrap_or_else(|never| match never {})
}

fn stream<R: protocol::Request>(
    serving: &Arc<Serving>,
    implied: Option<TypeUrl>,
    request: http::Request<Incoming>,
) -> Answer {
    match open::<R>(serving, implied, request) {
        Ok(opened) => Answer::Stream(Box::new(Phased::new(opened))),
        Err(status) => {
            serving.shared.observer.refused(&status);
            Answer::Whole(Box::pin(ready(status.into_http())))
        }
    }
}

fn open<R: protocol::Request>(
    serving: &Arc<Serving>,
    implied: Option<TypeUrl>,
    request: http::Request<Incoming>,
) -> Result<Opened<R>, Status> {
    let (parts, body) = request.into_parts();
    if parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("compressed requests are not understood"));
    }
    let credentials = serving.screen(&parts.headers, &parts.extensions)?;
    let ends = parts.extensions.get().and_then(|info: &ConnectionInfo| info.times.ends);
    let ends = ends.map(|ends| ends + serving.shared.config.max_connection_age_grace);
    let limit = serving.shared.config.limits.request_bytes;
    let requests = Requests::<R>::new(body, limit);
    Ok(Opened { serving: serving.clone(), implied, credentials, requests, ends })
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
            let polled = poll(&serving, &type_url, request, &credentials).await?;
            if polled.refused {
                return Err(Status::aborted("what was refused has not changed"));
            }
            Ok(Response::new(polled.send(&serving)))
        })
    }
}

impl Serving {
    /// What the caller presents, unless that is plainly not enough.
    pub(super) fn screen(
        &self,
        headers: &http::HeaderMap,
        extensions: &http::Extensions,
    ) -> Result<Credentials, Status> {
        let Peer { address, certificates } =
            extensions.get().map(|info: &ConnectionInfo| info.peer.clone()).unwrap_or_default();
        let credentials = Credentials { peer: address, certificates, bearer: bearer(headers) };
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
        Ok(Client::new(self.shared.next_stream(), node, credentials.peer, identity))
    }
}

/// The token of an `authorization: Bearer` header.
fn bearer(headers: &http::HeaderMap) -> Option<Arc<str>> {
    let (scheme, token) =
        headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}
