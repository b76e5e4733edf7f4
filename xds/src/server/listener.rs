//! Where a server listens.

mod connection;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use socket2::{Domain, SockAddr, Socket as Socket2, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::unconstrained;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::connection::Connection;
pub(super) use self::connection::ConnectionInfo;
pub use self::tls::{Tls, TlsError, TlsMaterial};
use super::service::XdsService;
use super::{ServeError, ServerConfig};

/// TLS handshakes at a time; more wait their turn.
const HANDSHAKES: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted, if `net.core.somaxconn` lets so many: a
/// fleet that reconnects at once shall not see its connections reset.
const BACKLOG: i32 = 65_535;
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound socket.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<Tls>),
    Unix(UnixListener, Unlink),
}

/// Removes the file of a Unix socket when it is no longer listened on.
#[derive(Debug)]
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on a TCP address, in plaintext.
    pub async fn tcp(address: SocketAddr) -> Result<Listener, ServeError> {
        Ok(Listener(Socket::Tcp(bind(address)?)))
    }

    /// Listens on a TCP address with TLS.
    pub async fn tls(address: SocketAddr, tls: Arc<Tls>) -> Result<Listener, ServeError> {
        Ok(Listener(Socket::Tls(bind(address)?, tls)))
    }

    /// Listens on a Unix socket that only this user may connect to. A socket file
    /// that an earlier process left is replaced.
    pub async fn unix(path: &Path) -> Result<Listener, ServeError> {
        Listener::unix_with_mode(path, 0o600).await
    }

    /// The same with the mode of the socket's file, by which others may connect.
    pub async fn unix_with_mode(path: &Path, mode: u32) -> Result<Listener, ServeError> {
        let failed = |source| ServeError::Listen { address: path.display().to_string(), source };
        if tokio::net::UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = bind_unix(path, mode).map_err(failed)?;
        Ok(Listener(Socket::Unix(listener, Unlink(path.to_owned()))))
    }

    /// The TCP address, with the port that was chosen if none was given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Socket::Tcp(tcp) | Socket::Tls(tcp, _) => tcp.local_addr(),
            Socket::Unix(..) => Err(io::Error::from(io::ErrorKind::AddrNotAvailable)),
        }
    }

    pub(super) async fn serve(
        self,
        config: &ServerConfig,
        service: XdsService,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let (incoming, _unlink) = self.incoming();
        let served = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .serve_with_incoming_shutdown(service, incoming, shutdown.cancelled_owned());
        Ok(served.await?)
    }

    fn incoming(self) -> (Incoming, Option<Unlink>) {
        match self.0 {
            Socket::Tcp(tcp) => {
                (Box::pin(accept_tcp(tcp).map(|tcp| Ok(Connection::tcp(tcp)))), None)
            }
            Socket::Tls(tcp, tls) => {
                let handshakes = accept_tcp(tcp).map(move |tcp| handshake(tls.clone(), tcp));
                (
                    Box::pin(
                        handshakes
                            .buffer_unordered(HANDSHAKES)
                            .filter_map(async |done| done.map(Ok)),
                    ),
                    None,
                )
            }
            Socket::Unix(unix, unlink) => {
                let accepted = accept(unix, async |unix| Ok(unix.accept().await?.0));
                (Box::pin(accepted.map(|unix| Ok(Connection::unix(unix)))), Some(unlink))
            }
        }
    }
}

type Incoming = Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>;

fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG.unsigned_abs())
    };
    listen().map_err(|source| ServeError::Listen { address: address.to_string(), source })
}

/// Nobody can connect before the mode is set, since nobody listens yet.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let socket = Socket2::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(
        socket,
    )))
}

fn accept_tcp(tcp: TcpListener) -> impl Stream<Item = TcpStream> + Send {
    accept(tcp, async |tcp| {
        let stream = tcp.accept().await?.0;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Accepts for ever: what fails is one connection, or passes.
fn accept<L, C>(listener: L, next: impl AsyncFn(&L) -> io::Result<C>) -> impl Stream<Item = C> {
    stream::unfold((listener, next), async |(listener, next)| {
        loop {
            // All that wait are taken at once: while there is no room for more, others
            // are reset, and what each may cost is bounded later.
            match unconstrained(next(&listener)).await {
                Ok(connection) => return Some((connection, (listener, next))),
                Err(error) => {
                    debug!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    })
}

async fn handshake(tls: Arc<Tls>, tcp: TcpStream) -> Option<Connection> {
    let peer = tcp.peer_addr().ok();
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(tcp)).await {
        Ok(Ok(stream)) => Some(Connection::tls(stream)),
        Ok(Err(error)) => {
            debug!(?peer, %error, "TLS handshake");
            None
        }
        Err(_) => {
            debug!(?peer, "TLS handshake takes too long");
            None
        }
    }
}
