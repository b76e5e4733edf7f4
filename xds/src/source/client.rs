//! Who is on the other end of a stream.

use std::net::SocketAddr;

use mainstem_proto::envoy::config::core::v3::Node;
use prost::Message as _;

use crate::auth::Identity;

/// A client, as its first request and its connection present it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Distinguishes the streams of this process; never reused.
    pub stream: u64,
    /// The names of its node and of its software; [`node`](Self::node) has the rest.
    pub node: Node,
    /// Where it comes from, unless through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Who it was proven to be.
    pub identity: Identity,
    /// The whole node, encoded: as a message it would take more than the stream.
    packed: Box<[u8]>,
}

impl Client {
    /// A client that presents itself so. The extensions that its node lists are
    /// forgotten: an Envoy lists hundreds, for every stream the same, and nobody asks.
    pub fn new(stream: u64, mut node: Node, peer: Option<SocketAddr>, identity: Identity) -> Self {
        node.extensions = Vec::new();
        let packed = node.encode_to_vec().into();
        let node = Node {
            id: node.id,
            cluster: node.cluster,
            user_agent_name: node.user_agent_name,
            user_agent_version_type: node.user_agent_version_type,
            ..Node::default()
        };
        Self { stream, node, peer, identity, packed }
    }

    /// What the client says about itself, but for its extensions.
    pub fn node(&self) -> Node {
        Node::decode(&*self.packed).unwrap_or_else(|_| self.node.clone())
    }

    /// Whether the client declared a feature, such as `xds.config.supports-resource-ttl`.
    pub fn supports(&self, feature: &str) -> bool {
        self.node().client_features.iter().any(|held| held == feature)
    }
}

#[cfg(test)]
mod tests {
    use mainstem_proto::envoy::config::core::v3::{Extension, Locality};
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn a_client_says_what_it_said_but_for_its_extensions() {
        let node = Node {
            id: "a".to_owned(),
            locality: Some(Locality { zone: "eu-1".to_owned(), ..Locality::default() }),
            client_features: vec!["envoy.lrs.supports_send_all_clusters".to_owned()],
            ..Node::default()
        };
        let listing = Node { extensions: vec![Extension::default(); 100], ..node.clone() };
        let client = Client::new(1, listing, None, Identity::anonymous());
        assert_eq!(client.node(), node);
        assert_eq!(client.node, Node { id: "a".to_owned(), ..Node::default() });
        assert!(client.supports("envoy.lrs.supports_send_all_clusters") && !client.supports("b"));
    }
}
