//! Who may ask.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use mainstem_proto::envoy::config::core::v3::Node;

/// Decides who a client is, and whether it may act as the node that it claims to be.
///
/// What that node may see is for the [`ResourceSource`](crate::ResourceSource).
pub trait Authenticator: Send + Sync + 'static {
    /// Called when a stream opens, before anything of it is read: turns away
    /// those whom no node could help. Must be quick.
    ///
    /// # Errors
    /// Why not.
    fn screen(&self, credentials: &Credentials) -> Result<(), Denied> {
        let _ = credentials;
        Ok(())
    }

    /// Called once per stream or poll, with the node of its first request; with
    /// none for requests that carry none, such as for the status of clients.
    ///
    /// It may take its time: only the stream that is asked about waits, at most
    /// [`ServerConfig::authentication`](crate::ServerConfig::authentication).
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        node: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>>;
}

/// What a client presents.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Where it comes from, unless through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Its verified certificate chain in DER, its own certificate first; empty without mTLS.
    pub certificates: Vec<Bytes>,
    /// The token of an `authorization: Bearer` header.
    pub bearer: Option<Arc<str>>,
}

/// Without the token.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("peer", &self.peer)
            .field("certificates", &self.certificates.len())
            .field("bearer", &self.bearer.is_some())
            .finish()
    }
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

/// A client that is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The credentials prove nothing.
    #[error("authenticating the client: {0}")]
    Unproven(String),
    /// They prove an identity that may not act as this node.
    #[error("authorising the client: {0}")]
    Forbidden(String),
    /// The node does not say what has to be known.
    #[error("node: {0}")]
    InvalidNode(String),
    /// Who could tell cannot be asked; the client shall try again.
    #[error("authenticating the client: {0}")]
    Unavailable(String),
}

impl From<Denied> for tonic::Status {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::Unproven(_) => tonic::Status::unauthenticated(text),
            Denied::Forbidden(_) => tonic::Status::permission_denied(text),
            Denied::InvalidNode(_) => tonic::Status::invalid_argument(text),
            Denied::Unavailable(_) => tonic::Status::unavailable(text),
        }
    }
}

/// Lets everybody in as an operator: for listeners that nobody else reaches,
/// such as a Unix socket of root.
#[derive(Debug, Clone, Copy, Default)]
pub struct Operators;

impl Authenticator for Operators {
    fn authenticate<'a>(
        &'a self,
        _: &'a Credentials,
        _: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(ready(Ok(Identity { operator: true, ..Identity::default() })))
    }
}

/// Lets everybody in as nobody in particular: for listeners that only trusted
/// processes reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Authenticator for Anonymous {
    fn authenticate<'a>(
        &'a self,
        _: &'a Credentials,
        _: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(ready(Ok(Identity::anonymous())))
    }
}
