//! Who is on the other end of a stream.

use std::net::SocketAddr;

use mainstem_proto::envoy::config::core::v3::Node;

use crate::auth::Identity;

/// A client, as its first request and its connection present it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Distinguishes the streams of this process; never reused.
    pub stream: u64,
    /// What the client says about itself.
    pub node: Node,
    /// Where it comes from, unless through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Who it was proven to be.
    pub identity: Identity,
}

impl Client {
    /// Whether the client declared a feature, such as `xds.config.supports-resource-ttl`.
    pub fn supports(&self, feature: &str) -> bool {
        self.node.client_features.iter().any(|held| held == feature)
    }
}
