//! The gRPC services.
//!
//! ```text
//! listener ─▶ service (path, authentication) ─▶ stream, in its seat
//! ```

mod alarm;
mod closing;
mod codec;
mod config;
mod csds;
mod frames;
mod listener;
mod lrs;
mod method;
mod rest;
mod seat;
mod service;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::closing::Closing;
pub use self::config::ServerConfig;
pub use self::listener::{Listener, Tls, TlsError, TlsMaterial};
use self::seat::Seats;
use self::service::XdsService;
use crate::auth::{Anonymous, Authenticator};
use crate::clients::Clients;
use crate::loads::Loads;
use crate::observe::{NoObserver, PushObserver};
use crate::protocol::FullSets;
use crate::source::ResourceSource;

/// At shutdown, how long a client may not read.
const PARTING: Duration = Duration::from_secs(1);
/// The shortest and the longest time between looks for streams that are overdue.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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
    streams: Semaphore,
    joining: Arc<Semaphore>,
    next_stream: AtomicU64,
    /// Makes nonces differ from those of other processes.
    salt: u32,
}

/// Serving ended by an error.
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
    /// The transport failed.
    #[error("serving xDS")]
    Transport(#[from] tonic::transport::Error),
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
        let streams = Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS));
        let joining = Arc::new(Semaphore::new(config.max_joining.clamp(1, Semaphore::MAX_PERMITS)));
        let salt = random_salt();
        let shared = Shared {
            config,
            source,
            observer,
            clients,
            loads: Loads::default(),
            sets: Arc::default(),
            streams,
            joining,
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
    pub async fn serve(
        &self,
        listener: Listener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        self.serve_authenticated(listener, Arc::new(Anonymous), shutdown).await
    }

    /// Serves those whom the authenticator lets in, until shutdown; then ends
    /// streams one after the other within the configured time, and returns
    /// when all have ended.
    pub async fn serve_authenticated(
        &self,
        listener: Listener,
        authenticator: Arc<dyn Authenticator>,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let tasks = TaskTracker::new();
        let closing = Closing::default();
        let seats = Seats::default();
        let service = XdsService::new(
            self.shared.clone(),
            authenticator,
            tasks.clone(),
            closing.clone(),
            seats.clone(),
        );
        let stall = self.shared.config.stall;
        let serving = listener.serve(&self.shared.config, service, shutdown.clone());
        let told = async {
            shutdown.cancelled().await;
            closing.begin();
            watch(&seats, stall.min(PARTING)).await
        };
        let served = tokio::select! {
            served = serving => served,
            never = watch(&seats, stall) => match never {},
            never = told => match never {},
        };
        closing.begin();
        tasks.close();
        tokio::select! {
            () = tasks.wait() => served,
            never = watch(&seats, stall.min(PARTING)) => match never {},
        }
    }
}

/// Ends streams that are overdue, for ever.
async fn watch(seats: &Seats, stall: Duration) -> Infallible {
    let mut ticks = tokio::time::interval((stall / 4).clamp(LOOKS.0, LOOKS.1));
    loop {
        seats.look(ticks.tick().await, stall);
    }
}

impl Shared {
    fn next_stream(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
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
