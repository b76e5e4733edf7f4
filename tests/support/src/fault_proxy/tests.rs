#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;
use crate::eventually::{TIMEOUT, eventually};

const PAUSE: Duration = Duration::from_millis(150);

/// Sends back what it receives.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn proxy() -> FaultProxy {
    FaultProxy::start(mirror().await)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn without_a_fault_everything_passes_both_ways() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;

    assert_eq!(ask(&mut stream, "hello").await, "hello");
    assert_eq!(proxy.connections(), 1);

    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    eventually("none is open", TIMEOUT, async || match proxy.connections() {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
}

#[tokio::test]
async fn a_large_transfer_arrives_whole() {
    let proxy = proxy().await;
    let stream = connect(&proxy).await;
    let sent = vec![7_u8; 5_000_000];

    let (mut from, mut to) = stream.into_split();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&copy).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    from.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();

    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

#[tokio::test]
async fn a_cut_ends_open_connections_and_not_later_ones() {
    let proxy = proxy().await;
    let mut before = connect(&proxy).await;
    ask(&mut before, "hello").await;

    proxy.cut().await;

    assert_eq!(rest(&mut before).await, "");
    let mut after = connect(&proxy).await;
    assert_eq!(ask(&mut after, "again").await, "again");
}

#[tokio::test]
async fn refusing_cuts_open_connections_and_refuses_new_ones_until_it_ends() {
    let proxy = proxy().await;
    let mut before = connect(&proxy).await;
    ask(&mut before, "hello").await;

    proxy.set(Fault::Refuse).await;

    assert_eq!(rest(&mut before).await, "");
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    proxy.set(Fault::None).await;
    assert_eq!(ask(&mut connect(&proxy).await, "again").await, "again");
}

#[tokio::test]
async fn a_black_hole_holds_everything_back_and_loses_nothing() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "hello").await;

    proxy.set(Fault::BlackHole).await;
    let mut newer = connect(&proxy).await;
    for stream in [&mut stream, &mut newer] {
        assert!(timeout(PAUSE, ask(stream, "a")).await.is_err());
    }

    proxy.set(Fault::None).await;
    for stream in [&mut stream, &mut newer] {
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
    }
}

#[tokio::test]
async fn a_delay_is_that_long() {
    let proxy = proxy().await;
    proxy.set(Fault::Delay(PAUSE)).await;
    let mut stream = connect(&proxy).await;

    let start = Instant::now();
    ask(&mut stream, "hello").await;

    assert!(start.elapsed() >= PAUSE);
}

#[tokio::test]
async fn an_answer_is_cut_after_so_many_bytes() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "long before").await;

    proxy.set(Fault::CutAfter(7)).await;

    assert_eq!(ask(&mut stream, "four").await, "four");
    stream.write_all(b"five and more").await.unwrap();
    assert_eq!(rest(&mut stream).await, "fiv");
    let mut next = connect(&proxy).await;
    next.write_all(b"each connection").await.unwrap();
    assert_eq!(rest(&mut next).await, "each co");
}
