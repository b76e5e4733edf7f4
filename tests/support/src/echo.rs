//! A workload: an HTTP and gRPC server that answers with its name.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::vec::IntoIter;

use bytes::Bytes;
use futures::stream::{self, Iter};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use crate::background::Background;
use crate::claim::free_port;
use crate::network::NetNs;

/// Answers every request, HTTP/1.1 or HTTP/2 without TLS, with its name as the
/// body. Runs on a thread of its own, so a test may pause tokio's clock.
///
/// A gRPC call of any unary method is answered with one message of which the
/// name is all bytes, whatever status is set.
///
/// The answer's headers tell what arrived: `x-backend` (its name), `x-path`,
/// `x-host` (the authority), `x-version` and `x-peer` (the caller's address).
#[derive(Debug)]
pub struct EchoBackend {
    name: String,
    address: SocketAddr,
    state: Arc<State>,
    _background: Background,
}

#[derive(Debug)]
struct State {
    name: String,
    status: AtomicU16,
    requests: AtomicU64,
}

impl EchoBackend {
    /// On a free port of loopback.
    pub fn start(name: &str) -> Self {
        Self::start_on(name, SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    /// On the given address.
    pub fn start_on(name: &str, address: SocketAddr) -> Self {
        Self::launch(name, address, None)
    }

    /// In a network namespace, on all its addresses.
    pub fn start_in(namespace: &NetNs, name: &str, port: u16) -> Self {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        Self::launch(name, address, Some(namespace))
    }

    fn launch(name: &str, address: SocketAddr, namespace: Option<&NetNs>) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            status: AtomicU16::new(200),
            requests: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let background = Background::start(namespace, async move || {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| format!("listening on {address}: {error}"))?;
            Ok(serve(listener, shared))
        });
        Self { name: name.to_owned(), address, state, _background: background }
    }

    /// Its name, which is what it answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Answers with that status from now on.
    pub fn set_status(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let response = answer(&state, peer, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no error here.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A whole body, with trailers if need be.
type Body = StreamBody<Iter<IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn body(frames: Vec<Frame<Bytes>>) -> Body {
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    StreamBody::new(stream::iter(frames))
}

/// One gRPC message, uncompressed, and success.
fn grpc_body(message: &str) -> Body {
    let length = u32::try_from(message.len()).expect("names are short");
    let mut data = vec![0];
    data.extend(length.to_be_bytes());
    data.extend(message.as_bytes());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body(vec![Frame::data(data.into()), Frame::trailers(trailers)])
}

fn answer(state: &State, peer: SocketAddr, request: &Request<Incoming>) -> Response<Body> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let header_host = request.headers().get(http::header::HOST);
    let host = match (request.uri().authority(), header_host) {
        (Some(authority), _) => authority.to_string(),
        (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, None) => String::new(),
    };
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return Response::builder()
            .header(CONTENT_TYPE, "application/grpc")
            .body(grpc_body(&state.name))
            .expect("these headers are well-formed");
    }
    Response::builder()
        .status(state.status.load(Ordering::SeqCst))
        .header("x-backend", &state.name)
        .header("x-path", request.uri().path())
        .header("x-host", host)
        .header("x-version", format!("{:?}", request.version()))
        .header("x-peer", peer.to_string())
        .body(body(vec![Frame::data(state.name.clone().into())]))
        .expect("what arrived as a header may leave as one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use reqwest::Client;

    use super::*;
    use crate::http_client::HttpClient;

    #[tokio::test]
    async fn it_answers_over_http_1_with_its_name_and_what_arrived() {
        let backend = EchoBackend::start("blue");
        let base = format!("http://{}", backend.address());

        let answer = HttpClient::new(&base).fetch("/some/path", &[]).await.unwrap();

        assert_eq!(answer.brief(), (200, "blue"));
        assert_eq!(answer.headers["x-backend"], "blue");
        assert_eq!(answer.headers["x-path"], "/some/path");
        assert_eq!(answer.headers["x-host"], backend.address().to_string());
        assert_eq!(answer.headers["x-version"], "HTTP/1.1");
        assert_eq!(backend.requests(), 1);
    }

    #[tokio::test]
    async fn it_answers_over_http_2_without_tls_and_with_the_status_asked_for() {
        // reqwest wants a provider even for a client without TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let backend = EchoBackend::start("green");
        backend.set_status(503);
        let client = Client::builder().http2_prior_knowledge().build().unwrap();

        let url = format!("http://{}/", backend.address());
        let answer = client.get(url).send().await.unwrap();

        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["x-version"], "HTTP/2.0");
    }

    #[tokio::test]
    async fn it_answers_a_grpc_call_with_its_name_as_the_message() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let backend = EchoBackend::start("red");
        let client = Client::builder().http2_prior_knowledge().build().unwrap();

        let url = format!("http://{}/any.Service/Method", backend.address());
        let request = client.post(url).header("content-type", "application/grpc+proto");
        let answer = request.body(vec![0; 5]).send().await.unwrap();

        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert_eq!(answer.bytes().await.unwrap(), "\0\0\0\0\x03red");
        assert_eq!(backend.requests(), 1);
    }

    #[tokio::test]
    async fn its_port_is_free_again_when_it_is_dropped() {
        let backend = EchoBackend::start("blue");
        let address = backend.address();

        drop(backend);

        let next = EchoBackend::start_on("green", address);
        assert_eq!(next.address(), address);
    }
}
