//! The gRPC services.
//!
//! ```text
//! listener ─▶ connection ─▶ service (path, authentication) ─▶ stream
//! ```

mod alarm;
mod closing;
mod codec;
mod config;
mod connection;
mod csds;
mod listener;
mod lrs;
mod method;
mod phase;
mod poll;
mod requests;
mod rest;
mod service;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::config::ServerConfig;
use self::connection::Times;
pub use self::listener::{Listener, Tls, TlsError, TlsMaterial};
use self::poll::Polls;
use self::service::Serving;
use crate::auth::{Anonymous, Authenticator};
use crate::clients::Clients;
use crate::loads::Loads;
use crate::observe::{NoObserver, PushObserver};
use crate::protocol::FullSets;
use crate::source::ResourceSource;

/// At shutdown, how long a client that does not read is waited for beyond all others.
const PARTING: Duration = Duration::from_secs(1);

/// Serves one source to many clients. Clones are the same server: it may
/// listen at several places.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What every stream of a server needs.
struct Shared {
    config: ServerConfig,
    source: Arc<dyn ResourceSource>,
    observer: Arc<dyn PushObserver>,
    clients: Clients,
    loads: Loads,
    sets: Arc<FullSets>,
    connections: Arc<Semaphore>,
    polls: Polls,
    streams: Semaphore,
    joining: Semaphore,
    next_connection: AtomicU64,
    next_stream: AtomicU64,
    /// Makes nonces differ from those of other processes.
    salt: u32,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listening for xDS on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl Server {
    /// A server without metrics.
    pub fn new(config: ServerConfig, source: Arc<dyn ResourceSource>) -> Server {
        Server::observed(config, source, Clients::default(), Arc::new(NoObserver))
    }

    /// A server that lists its clients there, and tells the observer what happens.
    pub fn observed(
        config: ServerConfig,
        source: Arc<dyn ResourceSource>,
        clients: Clients,
        observer: Arc<dyn PushObserver>,
    ) -> Server {
        let connections =
            Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        let streams = Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS));
        let joining = Semaphore::new(config.max_joining.clamp(1, Semaphore::MAX_PERMITS));
        let salt = random_salt();
        let shared = Shared {
            config,
            source,
            observer,
            clients,
            loads: Loads::default(),
            sets: Arc::default(),
            connections,
            polls: Polls::default(),
            streams,
            joining,
            next_connection: AtomicU64::new(1),
            next_stream: AtomicU64::new(1),
            salt,
        };
        Server { shared: Arc::new(shared) }
    }

    /// Everybody connected.
    pub fn clients(&self) -> &Clients {
        &self.shared.clients
    }

    /// What clients report to have sent where.
    pub fn loads(&self) -> &Loads {
        &self.shared.loads
    }

    /// The source that is served.
    pub fn source(&self) -> &Arc<dyn ResourceSource> {
        &self.shared.source
    }

    /// Serves everybody who reaches the listener, as nobody in particular.
    pub async fn serve(&self, listener: Listener, shutdown: CancellationToken) {
        self.serve_authenticated(listener, Arc::new(Anonymous), shutdown).await;
    }

    /// Serves those whom the authenticator lets in, until shutdown; then ends
    /// streams one after the other within the configured time, and returns
    /// when all have ended.
    pub async fn serve_authenticated(
        &self,
        listener: Listener,
        authenticator: Arc<dyn Authenticator>,
        shutdown: CancellationToken,
    ) {
        let serving = Arc::new(Serving::new(self.shared.clone(), authenticator));
        listener.serve(&serving, shutdown).await;
        serving.closing.begin();
        serving.tasks.close();
        serving.tasks.wait().await;
    }
}

impl Shared {
    fn next_stream(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    /// Until when a connection that begins now may last.
    fn times(&self) -> Times {
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let age = self.config.max_connection_age;
        let ends = age.map(|age| Instant::now() + age.mul_f64(0.9 + 0.2 * spread(number)));
        Times { ends }
    }

    /// A salt for the nonces of a stream.
    fn salt_of(&self, stream: u64) -> u32 {
        let mixed = xxhash_rust::xxh3::xxh3_64(&stream.to_le_bytes());
        self.salt ^ u32::try_from(mixed & u64::from(u32::MAX)).expect("masked to 32 bits")
    }
}

fn random_salt() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0u8);
    u32::try_from(random & u64::from(u32::MAX)).expect("masked to 32 bits")
}

/// A number in [0, 1) for a stream or a connection, spread evenly over all of them.
fn spread(number: u64) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes());
    f64::from(u32::try_from(hash >> 32).expect("the upper half has 32 bits"))
        / (f64::from(u32::MAX) + 1.0)
}
