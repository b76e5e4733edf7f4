//! What can go wrong with a query.

use std::path::PathBuf;

use reqwest::StatusCode;

/// A query that gave no answer to be believed, or a client that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The configured address is no URL.
    #[error("the address {address:?} is no HTTP URL; write http://HOST:PORT or https://HOST:PORT")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong with it.
        #[source]
        source: Option<url::ParseError>,
    },
    /// A token or certificate file cannot be read.
    #[error("reading {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A token that cannot stand in an HTTP header.
    #[error("the ACL token holds characters that no HTTP header may hold")]
    Token,
    /// The certificates do not make a client.
    #[error("setting up a client for {address}")]
    Client {
        /// The agent's address.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The request did not arrive, or its answer did not come back whole.
    #[error("asking Consul for {path}")]
    Transport {
        /// The query.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("Consul is silent: no answer to {path} within {seconds} s")]
    Silent {
        /// The query.
        path: String,
        /// How long was waited.
        seconds: f64,
    },
    /// An answer other than 200.
    #[error("Consul answered {path} with {status}: {body}")]
    Status {
        /// The query.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// How its body begins.
        body: String,
    },
    /// An answer without `X-Consul-Index`, or with index 0.
    #[error("Consul's answer to {path} has no index: is {address} a Consul agent?")]
    MissingIndex {
        /// The query.
        path: String,
        /// The agent's address.
        address: String,
    },
    /// The servers have no leader, so that nobody vouches for the answer.
    #[error("Consul's servers know no leader, so its answer to {path} counts for nothing")]
    NoLeader {
        /// The query.
        path: String,
    },
    /// Rights are missing: what is not in the answer may well exist.
    #[error("the ACL token may not see all of {path}: give it {rights}")]
    Filtered {
        /// The query.
        path: String,
        /// The rule that is missing.
        rights: String,
    },
    /// The service that is always there is not there.
    #[error(
        "Consul's answer to {path} lacks the service {canary:?}, which a complete catalog holds: \
         give the token service:read on it and node:read, or wait for the servers to start"
    )]
    NoCanary {
        /// The query.
        path: String,
        /// The service.
        canary: String,
    },
    /// The peer is not connected: what Consul holds of it may be old, or nothing at all.
    #[error(
        "the peering with {peer:?} is {state}: see `consul peering read -name {peer}`, here and \
         at the peer"
    )]
    Peering {
        /// The peer's name.
        peer: String,
        /// The peering's state.
        state: String,
    },
    /// More bytes than an answer may have.
    #[error("Consul's answer to {path} is longer than {limit} bytes")]
    Oversized {
        /// The query.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Not the JSON that was expected.
    #[error("Consul's answer to {path} is malformed")]
    Malformed {
        /// The query.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ApiError {
    /// Whether the answer itself is at fault, not the way to it: asking another
    /// service could well work.
    pub fn is_about_the_answer(&self) -> bool {
        matches!(self, Self::Oversized { .. } | Self::Malformed { .. })
    }

    /// Whether nobody answered at all.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::Silent { .. })
    }

    /// The message with its causes.
    pub(crate) fn full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
