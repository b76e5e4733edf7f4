//! Connections to one agent.
//!
//! ```text
//! HTTP/1.1  one client; a connection carries one query, the client keeps as many as it needs
//! HTTP/2    lanes: a client each, which keeps one connection and carries at most 240 queries
//! ```
//!
//! An agent answers 250 HTTP/2 streams of a connection at once. A blocking query
//! beyond that would wait unseen in the client until another ends, which may be
//! minutes; a usual client's pool never opens the second connection. Here a lane
//! that is full gets a neighbour at once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Queries that a connection carries at once: 250 less a reserve.
pub const QUERIES_PER_CONNECTION: usize = 240;

/// Hands out clients whose connection has room.
#[derive(Debug)]
pub enum Pool {
    /// HTTP/1.1.
    Plain(reqwest::Client),
    /// HTTP/2.
    Lanes(Lanes),
}

/// Makes the client of a lane.
type MakeClient = Box<dyn Fn() -> Result<reqwest::Client, reqwest::Error> + Send + Sync>;

/// Lanes in the order of their opening. How many there may be follows from how
/// many queries the caller opens at once.
pub struct Lanes {
    make: MakeClient,
    open: Mutex<Vec<Lane>>,
}

#[derive(Debug)]
struct Lane {
    client: reqwest::Client,
    free: Arc<Semaphore>,
}

/// A client, and the room for one query on its connection.
#[derive(Debug)]
pub struct Lease {
    /// The client.
    pub client: reqwest::Client,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pool {
    /// A pool of HTTP/2 connections.
    pub fn lanes(
        make: impl Fn() -> Result<reqwest::Client, reqwest::Error> + Send + Sync + 'static,
    ) -> Self {
        Self::Lanes(Lanes { make: Box::new(make), open: Mutex::new(Vec::new()) })
    }

    /// Room for one query; returned when the lease is dropped.
    ///
    /// # Errors
    /// When a further client cannot be made.
    pub fn lease(&self) -> Result<Lease, reqwest::Error> {
        match self {
            Self::Plain(client) => Ok(Lease { client: client.clone(), _room: None }),
            Self::Lanes(lanes) => lanes.lease(),
        }
    }

    /// How many lanes are open.
    pub fn connections(&self) -> Option<usize> {
        match self {
            Self::Plain(_) => None,
            Self::Lanes(lanes) => Some(lanes.open.lock().len()),
        }
    }
}

impl Lanes {
    fn lease(&self) -> Result<Lease, reqwest::Error> {
        let mut open = self.open.lock();
        // The first lane with room, so that the last ones run empty.
        for lane in open.iter() {
            if let Ok(room) = lane.free.clone().try_acquire_owned() {
                return Ok(Lease { client: lane.client.clone(), _room: Some(room) });
            }
        }
        let free = Arc::new(Semaphore::new(QUERIES_PER_CONNECTION));
        let lane = Lane { client: (self.make)()?, free };
        let room = lane.free.clone().try_acquire_owned().expect("a new lane has room");
        let lease = Lease { client: lane.client.clone(), _room: Some(room) };
        open.push(lane);
        Ok(lease)
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("open", &self.open.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_connection_gets_a_neighbour_and_room_comes_back() {
        crate::api::install_crypto();
        let pool = Pool::lanes(|| reqwest::Client::builder().build());
        let mut leases: Vec<Lease> =
            (0..QUERIES_PER_CONNECTION).map(|_| pool.lease().unwrap()).collect();
        assert_eq!(pool.connections(), Some(1));

        leases.push(pool.lease().unwrap());
        assert_eq!(pool.connections(), Some(2));

        leases.remove(0);
        leases.push(pool.lease().unwrap());
        assert_eq!(pool.connections(), Some(2));
    }
}
