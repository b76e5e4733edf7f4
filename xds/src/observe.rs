//! What happens on streams, for metrics.

use std::time::{Duration, Instant};

use mainstem_proto::envoy::config::endpoint::v3::ClusterStats;

use crate::names::TypeUrl;
use crate::protocol::{Rejection, Response};
use crate::source::Client;

/// A response and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// When the response was sent.
    pub sent: Instant,
    /// When the answer came.
    pub answered: Instant,
    /// When the oldest change was said that the response carried; none for what the
    /// client was given only because it asked.
    pub change: Option<Instant>,
}

impl RoundTrip {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.answered.saturating_duration_since(self.sent)
    }
}

/// Hears what happens on every stream. Called from the streams themselves, so
/// it must be quick and must not block.
pub trait PushObserver: Send + Sync + 'static {
    /// A client's stream is being served.
    fn connected(&self, client: &Client) {
        let _ = client;
    }

    /// A client's stream ended.
    fn disconnected(&self, client: &Client) {
        let _ = client;
    }

    /// A stream was turned away or ended by an error of the client.
    fn refused(&self, status: &tonic::Status) {
        let _ = status;
    }

    /// A response was handed to the connection, after waiting this long for
    /// the client to take the one before.
    fn pushed(&self, client: &Client, response: &Response, waited: Duration) {
        let _ = (client, response, waited);
    }

    /// A response was accepted.
    fn acked(&self, client: &Client, type_url: &TypeUrl, trip: RoundTrip) {
        let _ = (client, type_url, trip);
    }

    /// A response was refused.
    fn rejected(
        &self,
        client: &Client,
        type_url: &TypeUrl,
        trip: RoundTrip,
        rejection: &Rejection,
    ) {
        let _ = (client, type_url, trip, rejection);
    }

    /// A request answered a response that was no longer the latest.
    fn expired_nonce(&self, client: &Client, type_url: &TypeUrl) {
        let _ = (client, type_url);
    }

    /// A client reported loads, by cluster, since its last report.
    fn load_reported(&self, client: &Client, report: &[ClusterStats]) {
        let _ = (client, report);
    }

    /// A client has accepted a change that was said this long ago: the oldest of a
    /// response, once all responses that carry it have their ACK.
    fn converged(&self, client: &Client, after: Duration) {
        let _ = (client, after);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl PushObserver for NoObserver {}

macro_rules! both {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        /// Both hear everything, the first first.
        impl<A: PushObserver, B: PushObserver> PushObserver for (A, B) {
            $(fn $name(&self, $($argument: $type),*) {
                self.0.$name($($argument),*);
                self.1.$name($($argument),*);
            })*
        }
    };
}

both! {
    connected(client: &Client);
    disconnected(client: &Client);
    refused(status: &tonic::Status);
    pushed(client: &Client, response: &Response, waited: Duration);
    acked(client: &Client, type_url: &TypeUrl, trip: RoundTrip);
    rejected(client: &Client, type_url: &TypeUrl, trip: RoundTrip, rejection: &Rejection);
    expired_nonce(client: &Client, type_url: &TypeUrl);
    load_reported(client: &Client, report: &[ClusterStats]);
    converged(client: &Client, after: Duration);
}
