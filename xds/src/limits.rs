//! Bounds on what one stream may cost.

use std::time::Duration;

use mainstem_proto::envoy::config::core::v3::Node;
use prost::Message as _;

use crate::names::Subscription;
use crate::protocol::ProtocolError;

/// Longer than any type URL that there is.
const TYPE_URL_BYTES: usize = 512;

/// Streams note by one bit each which types have something to do.
const MOST_TYPES: usize = u64::BITS as usize;

/// Bounds on what one stream may cost, whatever its client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Types that one stream may ask for, of which more than 64 are never let.
    pub types: usize,
    /// Names that one stream may ask for, per type.
    pub names: usize,
    /// Bytes of all these names together, per type.
    pub name_bytes: usize,
    /// Bytes of one request. gRPC's usual limit is 4 MiB.
    pub request_bytes: usize,
    /// Bytes of a client's node, which is kept as long as its stream.
    pub node_bytes: usize,
    /// Bytes of resources after which a delta answer is split. A single
    /// resource may be larger.
    pub response_bytes: usize,
    /// How long changed listeners and routes wait for the ACK of the clusters
    /// that they may refer to.
    pub hold_back: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            types: 32,
            names: 100_000,
            name_bytes: 4 << 20,
            request_bytes: 4 << 20,
            node_bytes: 1 << 20,
            response_bytes: 2 << 20,
            hold_back: Duration::from_secs(2),
        }
    }
}

impl Limits {
    /// Whether a client may have this node.
    pub(crate) fn check_node(&self, node: &Node) -> Result<(), ProtocolError> {
        let limit = self.node_bytes;
        if node.encoded_len() > limit {
            Err(ProtocolError::TooMany { what: "bytes of node", limit })
        } else {
            Ok(())
        }
    }

    /// Whether a client that asks for so many types may ask for this one too.
    pub(crate) fn check_type(&self, type_url: &str, types: usize) -> Result<(), ProtocolError> {
        let limit = self.types.min(MOST_TYPES);
        if types >= limit {
            return Err(ProtocolError::TooMany { what: "types", limit });
        }
        if type_url.len() > TYPE_URL_BYTES {
            let limit = TYPE_URL_BYTES;
            return Err(ProtocolError::TooMany { what: "bytes of a type URL", limit });
        }
        Ok(())
    }

    /// Whether a client may keep this subscription.
    pub(crate) fn check(&self, subscription: &Subscription) -> Result<(), ProtocolError> {
        if subscription.len() > self.names {
            return Err(ProtocolError::TooMany { what: "names", limit: self.names });
        }
        if subscription.bytes() > self.name_bytes {
            return Err(ProtocolError::TooMany { what: "bytes of names", limit: self.name_bytes });
        }
        Ok(())
    }
}
