//! An accepted connection of any kind.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// An accepted connection of any kind.
pub(in crate::server) struct Connection {
    io: Box<dyn Io>,
    info: ConnectionInfo,
}

/// What is known of a connection; an extension of each of its requests.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct ConnectionInfo {
    pub(in crate::server) peer: Option<SocketAddr>,
    /// Verified, in DER.
    pub(in crate::server) certificates: Vec<Bytes>,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Connection {
    pub(super) fn tcp(tcp: TcpStream) -> Connection {
        let info = ConnectionInfo { peer: tcp.peer_addr().ok(), certificates: Vec::new() };
        Connection { io: Box::new(tcp), info }
    }

    pub(super) fn unix(unix: UnixStream) -> Connection {
        Connection { io: Box::new(unix), info: ConnectionInfo::default() }
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Connection {
        let (tcp, session) = tls.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        let certificates =
            chain.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect();
        let info = ConnectionInfo { peer: tcp.peer_addr().ok(), certificates };
        Connection { io: Box::new(tls), info }
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
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
