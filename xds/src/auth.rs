//! Who may ask.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

/// Decides from a connection and its headers who the client is.
///
/// What that identity may see is for the
/// [`ResourceSource`](crate::ResourceSource) to decide, when it knows the node.
pub trait Authenticator: Send + Sync + 'static {
    /// Called once per stream, before its first request is read.
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'_, Result<Identity, Denied>>;
}

/// What a client presents.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Where it comes from, unless through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Its verified certificate chain in DER, its own certificate first; empty without mTLS.
    pub certificates: Vec<Bytes>,
    /// The token of an `authorization: Bearer` header.
    pub bearer: Option<Arc<str>>,
}

/// Who a client was proven to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Identity {
    /// How it was proven; empty for nobody in particular.
    pub method: &'static str,
    /// The names proven, such as a SPIFFE ID, the strongest first.
    pub names: Vec<Arc<str>>,
    /// Whether it may see what others are given.
    pub operator: bool,
}

impl Identity {
    /// Nobody in particular.
    pub fn anonymous() -> Identity {
        Identity::default()
    }

    /// Whether anything was proven.
    pub fn is_anonymous(&self) -> bool {
        self.names.is_empty()
    }
}

/// The credentials prove nothing, or not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("authenticating the client: {0}")]
pub struct Denied(pub String);

/// Lets everybody in as an operator: for listeners that nobody else reaches,
/// such as a Unix socket of root.
#[derive(Debug, Clone, Copy, Default)]
pub struct Operators;

impl Authenticator for Operators {
    fn authenticate(&self, _: Credentials) -> BoxFuture<'_, Result<Identity, Denied>> {
        Box::pin(ready(Ok(Identity { operator: true, ..Identity::default() })))
    }
}

/// Lets everybody in as nobody in particular: for listeners that only trusted
/// processes reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Authenticator for Anonymous {
    fn authenticate(&self, _: Credentials) -> BoxFuture<'_, Result<Identity, Denied>> {
        Box::pin(ready(Ok(Identity::anonymous())))
    }
}
