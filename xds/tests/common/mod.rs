//! A server over loopback for tests, and the resources that it serves.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod client;
pub mod mesh;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mainstem_xds::{Clients, Listener, Server, ServerConfig, StaticSource};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running server; its end is the end of its value.
pub struct Running {
    pub source: StaticSource,
    pub address: SocketAddr,
    pub server: Server,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn start(source: StaticSource) -> Running {
        Running::with(source, ServerConfig::default()).await
    }

    pub async fn with(source: StaticSource, config: ServerConfig) -> Running {
        Running::serve(source.clone(), Server::new(config, Arc::new(source))).await
    }

    pub async fn serve(source: StaticSource, server: Server) -> Running {
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.address().unwrap();
        let shutdown = CancellationToken::new();
        let (serving, stop) = (server.clone(), shutdown.clone());
        let task = tokio::spawn(async move { serving.serve(listener, stop).await });
        Running { source, address, server, shutdown, task }
    }

    pub fn clients(&self) -> &Clients {
        self.server.clients()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
