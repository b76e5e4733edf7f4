//! Where a server listens.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use super::service::XdsService;
use super::{ServeError, ServerConfig};

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Listens on a TCP address, in plaintext.
    pub async fn tcp(address: SocketAddr) -> Result<Listener, ServeError> {
        let listen = |source| ServeError::Listen { address: address.to_string(), source };
        Ok(Listener { tcp: TcpListener::bind(address).await.map_err(listen)? })
    }

    /// The TCP address, with the port that was chosen if none was given.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(super) async fn serve(
        self,
        config: &ServerConfig,
        service: XdsService,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let incoming = TcpIncoming::from(self.tcp).with_nodelay(Some(true));
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .serve_with_incoming_shutdown(service, incoming, shutdown.cancelled_owned());
        Ok(served.await?)
    }
}
