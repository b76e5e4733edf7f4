//! Connections: how long they last, and what one may cost before anybody knows who it is.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use common::Running;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mainstem_test_support::TIMEOUT;
use mainstem_xds::{Resource, ServerConfig, StaticSource, TypeUrl};
use pretty_assertions::assert_eq;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Where the client has nothing to do in it.
const SHORT: Duration = Duration::from_millis(50);
/// Where it has, on a machine that is busy.
const AMPLE: Duration = Duration::from_secs(1);
const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// HTTP/2's first bytes and empty SETTINGS.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, future).await.expect("this does not take so long")
}

async fn running(config: ServerConfig) -> Running {
    let source = StaticSource::new();
    source.set(Resource::new(&TypeUrl::CLUSTER, "a", "1".repeat(200_000)));
    Running::with(source, config).await
}

async fn tcp(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// Ready when the server has closed it.
async fn closed(mut tcp: TcpStream) {
    within(async move { while tcp.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {} })
        .await;
}

/// A client of HTTP/2 that sees all of it.
async fn http2(
    running: &Running,
    window: u32,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let greeting = builder.handshake(tcp(running).await);
    let (client, connection): (_, Connection<TcpStream>) = within(greeting).await.unwrap();
    (within(client.ready()).await.unwrap(), tokio::spawn(connection))
}

/// Asks for all clusters.
async fn ask(
    client: &mut SendRequest<Bytes>,
    running: &Running,
) -> (SendStream<Bytes>, RecvStream) {
    let request = http::Request::post(format!("http://{}{ADS}", running.address)).body(()).unwrap();
    let (response, mut requests) = client.send_request(request, false).unwrap();
    let ask = DeltaDiscoveryRequest {
        type_url: TypeUrl::CLUSTER.to_string(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(ask.encoded_len()).unwrap());
    ask.encode(&mut framed).unwrap();
    requests.send_data(framed.freeze(), false).unwrap();
    (requests, within(response).await.unwrap().into_body())
}

/// Reads until the end; the error, if it is one.
async fn read(body: &mut RecvStream) -> Option<h2::Error> {
    loop {
        match within(body.data()).await? {
            Ok(data) => body.flow_control().release_capacity(data.len()).unwrap(),
            Err(error) => return Some(error),
        }
    }
}

#[tokio::test]
async fn a_connection_of_great_age_is_told_to_go_and_its_streams_end() {
    let config = ServerConfig {
        max_connection_age: Some(AMPLE),
        max_connection_age_grace: SHORT,
        ..ServerConfig::default()
    };
    let running = running(config).await;
    let (mut client, connection) = http2(&running, 1 << 20).await;
    let (_requests, mut body) = ask(&mut client, &running).await;
    assert!(read(&mut body).await.is_none());
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "14");
    // GOAWAY without an error, and then the end.
    within(connection).await.unwrap().unwrap();
    assert!(within(client.ready()).await.is_err());
}

#[tokio::test]
async fn what_is_under_way_when_a_connection_is_old_has_its_grace_and_no_more() {
    let config = ServerConfig {
        max_connection_age: Some(SHORT),
        max_connection_age_grace: SHORT,
        ..ServerConfig::default()
    };
    let running = running(config).await;
    let mut silent = tcp(&running).await;
    silent.write_all(GREETING).await.unwrap();
    closed(silent).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let config = ServerConfig { handshake: SHORT, ..ServerConfig::default() };
    let running = running(config).await;
    closed(tcp(&running).await).await;
    let mut unfinished = tcp(&running).await;
    unfinished.write_all(&GREETING[..10]).await.unwrap();
    closed(unfinished).await;
}

#[tokio::test]
async fn a_connection_without_a_stream_is_told_to_go() {
    let config = ServerConfig { idle: AMPLE, ..ServerConfig::default() };
    let running = running(config).await;
    let (_client, connection) = http2(&running, 1 << 20).await;
    within(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_not_there() {
    let config = ServerConfig {
        keepalive_interval: SHORT,
        keepalive_timeout: AMPLE,
        ..ServerConfig::default()
    };
    let running = running(config).await;
    let (mut answering, _connection) = http2(&running, 1 << 20).await;
    let mut frozen = tcp(&running).await;
    frozen.write_all(GREETING).await.unwrap();
    closed(frozen).await;
    // Who answers is served on.
    let (_requests, mut body) = ask(&mut answering, &running).await;
    assert!(within(body.data()).await.unwrap().is_ok());
}

#[tokio::test]
async fn what_a_client_does_not_take_is_reset() {
    let config = ServerConfig { stall: SHORT, ..ServerConfig::default() };
    let running = running(config).await;
    let (mut client, connection) = http2(&running, 1_000).await;
    let (_requests, mut stuck) = ask(&mut client, &running).await;
    let mut read = 0;
    let ended = loop {
        match within(stuck.data()).await.expect("it is reset and not ended") {
            Ok(data) => read += data.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((ended.reason(), read), (Some(Reason::CANCEL), 1_000));
    // The connection goes on, and others on it.
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn a_client_may_have_so_many_connections_and_streams() {
    let config = ServerConfig {
        max_connections: 1,
        max_streams_per_connection: 3,
        ..ServerConfig::default()
    };
    let running = running(config).await;
    let (mut client, _connection) = http2(&running, 1 << 20).await;
    let (_requests, mut body) = ask(&mut client, &running).await;
    assert!(within(body.data()).await.unwrap().is_ok());
    assert_eq!(client.current_max_send_streams(), 3);
    closed(tcp(&running).await).await;
}

#[tokio::test]
async fn streams_need_http2() {
    let running = running(ServerConfig::default()).await;
    let mut tcp = tcp(&running).await;
    let request = format!("POST {ADS} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let count = within(tcp.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.contains("grpc-status: 12"), "{answer}");
}
