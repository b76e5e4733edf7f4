//! An accepted connection of any kind, as bytes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How HTTP/2 begins (RFC 9113, section 3.4), and no request of HTTP/1.1.
const PREFACE: &[u8] = b"PRI ";
/// The most that is read before it is known which of both it is.
const BEGINNING: usize = 256;

/// An accepted connection of any kind, as bytes.
pub(in crate::server) struct Socket {
    io: Box<dyn Io>,
    /// What was read to find out what the client speaks, and not taken yet.
    begun: Bytes,
    heard: Arc<AtomicBool>,
}

/// What is known of a connection's client.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Peer {
    pub(in crate::server) address: Option<SocketAddr>,
    /// Verified, in DER.
    pub(in crate::server) certificates: Vec<Bytes>,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Socket {
    pub(in crate::server) fn tcp(tcp: TcpStream) -> (Socket, Peer) {
        let peer = Peer { address: tcp.peer_addr().ok(), certificates: Vec::new() };
        (Socket::new(tcp), peer)
    }

    pub(in crate::server) fn unix(unix: UnixStream) -> (Socket, Peer) {
        (Socket::new(unix), Peer::default())
    }

    pub(in crate::server) fn tls(tls: TlsStream<TcpStream>) -> (Socket, Peer) {
        let (tcp, session) = tls.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        let certificates =
            chain.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect();
        let peer = Peer { address: tcp.peer_addr().ok(), certificates };
        (Socket::new(tls), peer)
    }

    fn new(io: impl Io + 'static) -> Socket {
        Socket { io: Box::new(io), begun: Bytes::new(), heard: Arc::default() }
    }

    /// Waits for the first bytes; whether the client speaks HTTP/2.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        let mut begun = BytesMut::with_capacity(BEGINNING);
        while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
            if self.io.read_buf(&mut begun).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.begun = begun.freeze();
        Ok(self.begun.starts_with(PREFACE))
    }

    /// Set whenever the client is heard.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        self.heard.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let some = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun[..some]);
            self.begun.advance(some);
        }
        self.heard.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
