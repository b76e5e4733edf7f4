//! A client over a socket.

use std::fmt::Debug;
use std::net::SocketAddr;

use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// The longest that an answer may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

pub type Ads = AggregatedDiscoveryServiceClient<Channel>;

/// An open stream of requests `Q` and responses `A`.
pub struct Stream<Q, A> {
    requests: Option<mpsc::UnboundedSender<Q>>,
    responses: Streaming<A>,
}

pub async fn connect(address: SocketAddr) -> Ads {
    Ads::connect(format!("http://{address}")).await.unwrap().max_decoding_message_size(usize::MAX)
}

impl<Q: Debug, A> Stream<Q, A> {
    /// Opens a stream by a method of a client.
    pub async fn open<F>(
        method: impl FnOnce(Request<UnboundedReceiverStream<Q>>) -> F,
    ) -> Stream<Q, A>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let (requests, receiver) = mpsc::unbounded_channel();
        let responses = method(Request::new(UnboundedReceiverStream::new(receiver)))
            .await
            .unwrap()
            .into_inner();
        Stream { requests: Some(requests), responses }
    }

    /// A stream that was opened otherwise.
    pub fn of(requests: mpsc::UnboundedSender<Q>, responses: Streaming<A>) -> Stream<Q, A> {
        Stream { requests: Some(requests), responses }
    }

    /// Sends a request, unless the server has ended the stream already: that
    /// shows when it is read.
    pub fn send(&self, request: Q) {
        let _ = self.requests.as_ref().expect("the stream is open").send(request);
    }

    /// The next response.
    pub async fn next(&mut self) -> A {
        let answer = tokio::time::timeout(TIMEOUT, self.responses.message());
        let answer = answer.await.expect("the server answers");
        answer.unwrap().expect("the server keeps the stream open")
    }

    /// How the server ends the stream.
    pub async fn end(&mut self) -> Result<(), Status> {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    }

    /// Says that no requests follow.
    pub fn close(&mut self) {
        self.requests = None;
    }
}
