//! One connection through the proxy.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Fault, Order};

/// Chunks on their way back to the client; a full line stops reading.
const IN_FLIGHT: usize = 64;
const CHUNK: usize = 16 * 1024;

/// Passes bytes until an end closes or a cut is ordered.
pub(super) async fn relay(
    client: TcpStream,
    upstream: SocketAddr,
    mut orders: watch::Receiver<Order>,
) {
    let cut = orders.borrow_and_update().cut;
    let mut on_cut = orders.clone();
    tokio::select! {
        _ = on_cut.wait_for(|order| order.cut != cut) => {}
        () = pass(client, upstream, orders) => {}
    }
}

async fn pass(client: TcpStream, upstream: SocketAddr, mut orders: watch::Receiver<Order>) {
    if may_pass(&mut orders).await.is_none() {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    // Small writes are what is tested here.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (chunks, line) = mpsc::channel(IN_FLIGHT);
    tokio::select! {
        _ = forward(from_client, to_server, orders.clone()) => {}
        _ = take_answers(from_server, chunks, orders.clone()) => {}
        _ = give_answers(line, to_client, orders) => {}
    }
}

/// Requests: passed at once, held back in a black hole. An end of the client's
/// writing is passed on and is not an end of the connection.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut orders: watch::Receiver<Order>,
) -> Option<()> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    while from.read_buf(&mut buffer).await.ok()? > 0 {
        may_pass(&mut orders).await?;
        to.write_all_buf(&mut buffer).await.ok()?;
    }
    to.shutdown().await.ok()?;
    std::future::pending().await
}

/// Answers as they come, each with the moment from which it may go on. At their
/// end it closes the line and waits for the rest of it to be given.
async fn take_answers(
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    orders: watch::Receiver<Order>,
) -> Infallible {
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let read = from.read_buf(&mut buffer).await;
        if !read.is_ok_and(|read| read > 0) {
            break;
        }
        let due = match orders.borrow().fault {
            Fault::Delay(delay) => Instant::now() + delay,
            _ => Instant::now(),
        };
        if chunks.send((due, buffer.freeze())).await.is_err() {
            break;
        }
    }
    drop(chunks);
    std::future::pending().await
}

/// Answers on to the client, until the line ends or the order's bytes are spent.
async fn give_answers(
    mut line: mpsc::Receiver<(Instant, Bytes)>,
    mut to: impl AsyncWrite + Unpin,
    mut orders: watch::Receiver<Order>,
) -> Option<()> {
    let mut counted = (u64::MAX, 0);
    while let Some((due, mut chunk)) = line.recv().await {
        sleep_until(due).await;
        let order = may_pass(&mut orders).await?;
        if counted.0 != order.number {
            counted = (order.number, 0);
        }
        if let Fault::CutAfter(limit) = order.fault {
            let left = usize::try_from(limit - counted.1).unwrap_or(usize::MAX);
            if chunk.len() >= left {
                to.write_all_buf(&mut chunk.split_to(left)).await.ok()?;
                return None;
            }
        }
        counted.1 += chunk.len() as u64;
        to.write_all_buf(&mut chunk).await.ok()?;
    }
    Some(())
}

/// Waits while nothing may pass, and returns the order in force.
async fn may_pass(orders: &mut watch::Receiver<Order>) -> Option<Order> {
    let order = orders.wait_for(|order| order.fault != Fault::BlackHole).await;
    order.ok().map(|order| *order)
}
