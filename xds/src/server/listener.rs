//! Where a server listens.

mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket as Socket2, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::unconstrained;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use self::tls::{Tls, TlsError, TlsMaterial};
use super::ServeError;
use super::connection::{self, ConnectionInfo, Peer, Socket};
use super::service::Serving;

/// Connections that may wait to be accepted, if `net.core.somaxconn` lets so many: a
/// fleet that reconnects at once shall not see its connections reset.
const BACKLOG: i32 = 65_535;
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound socket.
#[derive(Debug)]
pub struct Listener(Bound);

#[derive(Debug)]
enum Bound {
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
        Ok(Listener(Bound::Tcp(bind(address)?)))
    }

    /// Listens on a TCP address with TLS.
    pub async fn tls(address: SocketAddr, tls: Arc<Tls>) -> Result<Listener, ServeError> {
        Ok(Listener(Bound::Tls(bind(address)?, tls)))
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
        Ok(Listener(Bound::Unix(listener, Unlink(path.to_owned()))))
    }

    /// The TCP address, with the port that was chosen if none was given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Bound::Tcp(tcp) | Bound::Tls(tcp, _) => tcp.local_addr(),
            Bound::Unix(..) => Err(io::Error::from(io::ErrorKind::AddrNotAvailable)),
        }
    }

    /// Lets everybody in until the shutdown. Connections are tasks of `serving`.
    pub(super) async fn serve(self, serving: &Arc<Serving>, shutdown: CancellationToken) {
        tokio::select! {
            never = self.accept(serving) => match never {},
            () = shutdown.cancelled() => {}
        }
    }

    async fn accept(self, serving: &Arc<Serving>) -> Infallible {
        match self.0 {
            Bound::Tcp(tcp) => {
                let admit = |tcp| admit(serving, async { Some(Socket::tcp(tcp)) });
                accept_all(tcp, accept_tcp, admit).await
            }
            Bound::Tls(tcp, tls) => {
                let time = serving.shared.config.handshake;
                let admit = |tcp| admit(serving, Box::pin(handshake(tls.clone(), tcp, time)));
                accept_all(tcp, accept_tcp, admit).await
            }
            Bound::Unix(unix, _unlink) => {
                let next = async |unix: &UnixListener| Ok(unix.accept().await?.0);
                let admit = |unix| admit(serving, async { Some(Socket::unix(unix)) });
                accept_all(unix, next, admit).await
            }
        }
    }
}

/// Serves a connection once it is open, if there is room for it.
fn admit(
    serving: &Arc<Serving>,
    opening: impl Future<Output = Option<(Socket, Peer)>> + Send + 'static,
) {
    let Ok(permit) = serving.shared.connections.clone().try_acquire_owned() else {
        return debug!("too many connections");
    };
    let times = serving.shared.times();
    let serving = serving.clone();
    serving.tasks.clone().spawn(async move {
        let _permit = permit;
        if let Some((socket, peer)) = opening.await {
            connection::serve(socket, ConnectionInfo { peer, times }, serving).await;
        }
    });
}

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

async fn accept_tcp(tcp: &TcpListener) -> io::Result<TcpStream> {
    let stream = tcp.accept().await?.0;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Accepts for ever: what fails is one connection, or passes.
async fn accept_all<L, C>(
    listener: L,
    next: impl AsyncFn(&L) -> io::Result<C>,
    admit: impl Fn(C),
) -> Infallible {
    loop {
        // All that wait are taken at once: while there is no room for more, others
        // are reset, and what each may cost is bounded later.
        match unconstrained(next(&listener)).await {
            Ok(connection) => admit(connection),
            Err(error) => {
                debug!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn handshake(tls: Arc<Tls>, tcp: TcpStream, time: Duration) -> Option<(Socket, Peer)> {
    let peer = tcp.peer_addr().ok();
    match timeout(time, tls.accept(tcp)).await {
        Ok(Ok(stream)) => Some(Socket::tls(stream)),
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
