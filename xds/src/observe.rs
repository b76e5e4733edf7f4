//! What happens on streams, for metrics.

use std::time::Duration;

use mainstem_proto::envoy::config::endpoint::v3::ClusterStats;

use crate::names::TypeUrl;
use crate::protocol::{Rejection, Response};
use crate::source::Client;

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

    /// A response was accepted, this long after it was sent.
    fn acked(&self, client: &Client, type_url: &TypeUrl, after: Duration) {
        let _ = (client, type_url, after);
    }

    /// A response was refused.
    fn rejected(&self, client: &Client, type_url: &TypeUrl, rejection: &Rejection) {
        let _ = (client, type_url, rejection);
    }

    /// A request answered a response that was no longer the latest.
    fn expired_nonce(&self, client: &Client, type_url: &TypeUrl) {
        let _ = (client, type_url);
    }

    /// A client reported loads, by cluster, since its last report.
    fn load_reported(&self, client: &Client, report: &[ClusterStats]) {
        let _ = (client, report);
    }

    /// A client has accepted all that followed from changes, the earliest of
    /// which became known this long ago.
    fn converged(&self, client: &Client, after: Duration) {
        let _ = (client, after);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl PushObserver for NoObserver {}
