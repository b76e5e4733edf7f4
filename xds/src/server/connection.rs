//! One connection: HTTP/2 with few streams that live long, or HTTP/1.1 for polls.
//!
//! ```text
//!  bytes ─ Socket ─┬─ HTTP/2   ─▶ h2 ─▶ request ─▶ Answer ─▶ Exchange ─▶ h2 ─▶ bytes
//!                  └─ HTTP/1.1 ─▶ hyper ─▶ request ─▶ Answer
//! ```
//!
//! Written on top of `h2` instead of a general server, since thousands of connections
//! with one stream each are what a control plane has: connection and streams are one
//! task, a message goes out as the parts that all streams share, a connection ends by
//! its age, and a client that does not read is cut off.
//!
//! Invariant: whatever a client does or omits, its connection ends after a bounded time.

mod bell;
mod exchange;
mod incoming;
mod payload;
mod socket;
mod upkeep;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::server::{Builder, SendResponse};
use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tracing::debug;

use self::bell::{Bell, Door};
use self::exchange::Exchange;
pub(super) use self::exchange::{Answer, Messages};
pub(super) use self::incoming::Incoming;
pub(super) use self::payload::PREFIX;
use self::payload::Payload;
pub(super) use self::socket::{Peer, Socket};
use self::upkeep::{Due, Upkeep};
use super::PARTING;
use super::closing::Listening;
use super::config::ServerConfig;
use super::service::Serving;

/// What may be on its way from a client, in bytes, of one stream and of all.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The most that headers of a request may take, in bytes.
const HEADERS: u32 = 16 << 10;
/// Streams that a client may reset before they are looked at.
const RESETS: usize = 20;

/// What every request of a connection carries.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionInfo {
    pub(super) peer: Peer,
    pub(super) times: Times,
}

/// Until when a connection may last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// When its client is told to open further streams elsewhere. Its streams end after
    /// [`ServerConfig::max_connection_age_grace`].
    pub(super) ends: Option<Instant>,
}

/// Serves a connection until it ends. Its requests carry `info`.
pub(super) async fn serve(mut socket: Socket, info: ConnectionInfo, serving: Arc<Serving>) {
    let handshake = serving.shared.config.handshake;
    match timeout(handshake, socket.speaks_http2()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return serve_http1(socket, info, serving).await,
        Ok(Err(error)) => return debug!(%error, "reading the beginning of a connection"),
        Err(_) => return debug!("a connection says nothing"),
    }
    let heard = socket.heard();
    // Boxed, so that the task keeps room for what lasts alone.
    let greeting = Box::pin(builder(&serving.shared.config).handshake(socket));
    let http2 = match timeout(handshake, greeting).await {
        Ok(Ok(http2)) => http2,
        Ok(Err(error)) => return debug!(%error, "beginning HTTP/2"),
        Err(_) => return debug!("beginning HTTP/2 takes too long"),
    };
    Http2::new(http2, heard, info, serving).await;
}

fn builder(config: &ServerConfig) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(HEADERS)
        // A stream has headers once: what would be remembered of them is never used.
        .header_table_size(0)
        .max_pending_accept_reset_streams(RESETS)
        // What waits to be sent are mostly references to what all streams share.
        .max_send_buffer_size(u32::MAX as usize);
    builder
}

async fn serve_http1(socket: Socket, info: ConnectionInfo, serving: Arc<Serving>) {
    let closing = serving.closing.clone();
    let drain = serving.shared.config.drain;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(serving.shared.config.idle)
        .max_headers(100);
    let ends = info.times.ends;
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(info.clone());
        let answer = serving.answer(request.map(Incoming::Http1));
        async move {
            Ok::<_, Infallible>(match answer {
                Answer::Whole(response) => response.await,
                Answer::Stream(_) => Status::unimplemented("streams need HTTP/2").into_http(),
            })
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    let aged = async {
        match ends {
            Some(ends) => sleep_until(ends).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = &mut connection => return,
        () = closing.begun() => {}
        () = aged => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(drain + PARTING, connection).await;
}

/// A connection of HTTP/2 and its streams.
struct Http2 {
    connection: Box<h2::server::Connection<Socket, Payload>>,
    bell: Bell,
    exchanges: Vec<(Bell, Exchange)>,
    upkeep: Upkeep,
    upkeep_bell: Bell,
    door: Arc<Door>,
    /// None once it is heard.
    closing: Option<Listening>,
    info: ConnectionInfo,
    serving: Arc<Serving>,
}

impl Future for Http2 {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let door = self.door.clone();
        door.answer(context, || self.look())
    }
}

impl Http2 {
    fn new(
        mut connection: h2::server::Connection<Socket, Payload>,
        heard: Arc<std::sync::atomic::AtomicBool>,
        info: ConnectionInfo,
        serving: Arc<Serving>,
    ) -> Http2 {
        let door = Arc::<Door>::default();
        let [bell, upkeep_bell] = [(); 2].map(|()| Bell::new(&door));
        let config = &serving.shared.config;
        let upkeep =
            Upkeep::new(connection.ping_pong(), heard, &info.times, config, Instant::now());
        Http2 {
            connection: Box::new(connection),
            bell,
            exchanges: Vec::new(),
            upkeep,
            upkeep_bell,
            door,
            closing: Some(serving.closing.listen()),
            info,
            serving,
        }
    }

    /// Streams first: what they say goes out with what the connection writes next.
    fn look(&mut self) -> Poll<()> {
        self.poll_exchanges();
        if self.bell.has_rung() && self.poll_connection().is_ready() {
            return Poll::Ready(());
        }
        if self.upkeep_bell.has_rung() {
            return self.poll_upkeep(Instant::now());
        }
        Poll::Pending
    }

    fn poll_exchanges(&mut self) {
        let before = self.exchanges.len();
        self.exchanges.retain_mut(|(bell, exchange)| {
            !bell.has_rung() || exchange.poll(&mut bell.context()).is_pending()
        });
        if self.exchanges.len() < before {
            self.upkeep_bell.ring();
        }
    }

    /// Reads and writes; ready when there is no connection any more.
    fn poll_connection(&mut self) -> Poll<()> {
        loop {
            match self.connection.poll_accept(&mut self.bell.context()) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    debug!(peer = ?self.info.peer.address, %error, "connection failed");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn begin(&mut self, request: Request<h2::RecvStream>, respond: SendResponse<Payload>) {
        let mut request = request.map(Incoming::Http2);
        request.extensions_mut().insert(self.info.clone());
        if let Some(exchange) = Exchange::begin(self.serving.answer(request), respond) {
            self.exchanges.push((Bell::new(&self.door), exchange));
            self.upkeep_bell.ring();
        }
    }

    /// Does what is due by now; ready when the connection is to be closed.
    fn poll_upkeep(&mut self, now: Instant) -> Poll<()> {
        let serving = self.serving.clone();
        let config = &serving.shared.config;
        if self.upkeep.is_to_look(config, now) {
            self.cut_stuck(now, config);
        }
        self.upkeep.note_streams(!self.exchanges.is_empty(), now);
        let mut context = self.upkeep_bell.context();
        let told = self.closing.as_mut().is_some_and(|told| told.poll(&mut context).is_ready());
        if told {
            self.closing = None;
            self.upkeep.leave_by(now + config.drain + PARTING);
        }
        let due = self.upkeep.due(config, now, &mut context);
        if due == Due::Close {
            return Poll::Ready(());
        }
        if told || due == Due::GoAway {
            self.connection.graceful_shutdown();
            self.bell.ring();
        }
        self.upkeep.wait(config, now, &mut context);
        Poll::Pending
    }

    /// Ends streams whose clients have taken nothing for too long.
    fn cut_stuck(&mut self, now: Instant, config: &ServerConfig) {
        let observer = &self.serving.shared.observer;
        let before = self.exchanges.len();
        self.exchanges.retain_mut(|(_, exchange)| {
            let stuck = exchange.is_stuck(now, config.stall);
            if stuck {
                exchange.cut();
                observer
                    .refused(&Status::resource_exhausted("the client does not read its responses"));
            }
            !stuck
        });
        if self.exchanges.len() < before {
            self.bell.ring();
        }
    }
}
