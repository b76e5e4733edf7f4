//! From an HTTP request to a stream's task.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::codec::XdsCodec;
use super::method::{Method, method};
use super::stream::{Opened, run};
use crate::auth::{Authenticator, Credentials};
use crate::clients::Protocol;
use crate::names::TypeUrl;
use crate::protocol::{self, Message};

/// Answers every discovery method.
#[derive(Clone)]
pub(super) struct XdsService {
    context: Arc<Serving>,
}

struct Serving {
    shared: Arc<Shared>,
    authenticator: Arc<dyn Authenticator>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl XdsService {
    pub(super) fn new(
        shared: Arc<Shared>,
        authenticator: Arc<dyn Authenticator>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> XdsService {
        XdsService { context: Arc::new(Serving { shared, authenticator, tasks, shutdown }) }
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
        let context = self.context.clone();
        Box::pin(async move {
            Ok(match method(request.uri().path()) {
                None => Status::unimplemented("no such xDS method").into_http(),
                Some(Method { protocol: Protocol::Sotw, implied }) => {
                    stream::<DiscoveryRequest>(context, implied, request).await
                }
                Some(Method { protocol: Protocol::Delta, implied }) => {
                    stream::<DeltaDiscoveryRequest>(context, implied, request).await
                }
            })
        })
    }
}

async fn stream<R: protocol::Request>(
    context: Arc<Serving>,
    implied: Option<TypeUrl>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let limit = context.shared.config.limits.request_bytes;
    let mut grpc = Grpc::new(XdsCodec::<R>::default()).max_decoding_message_size(limit);
    grpc.streaming(Open { context, implied }, request).await
}

/// Opens one stream.
struct Open {
    context: Arc<Serving>,
    implied: Option<TypeUrl>,
}

impl<R: protocol::Request> StreamingService<R> for Open {
    type Response = Message;
    type ResponseStream = ReceiverStream<Result<Message, Status>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<R>>) -> Self::Future {
        let (context, implied) = (self.context.clone(), self.implied.clone());
        Box::pin(async move {
            let opened = open(&context, implied, request).await;
            opened.inspect_err(|status| context.shared.observer.refused(status))
        })
    }
}

async fn open<R: protocol::Request>(
    context: &Serving,
    implied: Option<TypeUrl>,
    request: Request<Streaming<R>>,
) -> Result<Response<ReceiverStream<Result<Message, Status>>>, Status> {
    let credentials = credentials(&request);
    let peer = credentials.peer;
    let identity = context.authenticator.authenticate(credentials).await;
    let identity = identity.map_err(|denied| Status::unauthenticated(denied.to_string()))?;
    // One response may wait for the connection; the next is built when that one left.
    let (responses, receiver) = mpsc::channel(1);
    let opened = Opened {
        shared: context.shared.clone(),
        implied,
        peer,
        identity,
        requests: request.into_inner(),
        responses,
        shutdown: context.shutdown.clone(),
    };
    context.tasks.spawn(run(opened));
    Ok(Response::new(ReceiverStream::new(receiver)))
}

fn credentials<R>(request: &Request<R>) -> Credentials {
    let bearer = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().into());
    Credentials { peer: request.remote_addr(), certificates: Vec::new(), bearer }
}
