//! What is decided, for metrics.

use std::time::Duration;

use mainstem_model::ClusterId;

/// How an identity is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// By a client certificate.
    Certificate,
    /// By a token that a Kubernetes API server reviewed.
    Kubernetes,
    /// By a token of a configured issuer.
    Oidc,
    /// Not at all.
    None,
}

impl Method {
    /// Its name, in identities and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Kubernetes => "kubernetes",
            Self::Oidc => "oidc",
            Self::None => "none",
        }
    }
}

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Let in.
    Accepted,
    /// Proved nothing.
    Unauthenticated,
    /// Proved an identity that may not act as its node.
    Denied,
    /// Its node could not be read.
    Invalid,
    /// Who could tell could not be asked.
    Unavailable,
}

impl Outcome {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What came of asking about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reviewed {
    /// The API server believes it.
    Accepted,
    /// The API server does not.
    Refused,
    /// The API server could not be asked.
    Failed,
    /// It was not asked: the answer was known from a moment ago.
    Cached,
}

impl Reviewed {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cached => "cached",
        }
    }
}

/// Hears what is decided. Must be quick and must not block.
pub trait AuthObserver: Send + Sync + 'static {
    /// A client was let in or not.
    fn decided(&self, method: Method, outcome: Outcome) {
        let _ = (method, outcome);
    }

    /// A token was reviewed by an API server, which took so long.
    fn reviewed(&self, cluster: &ClusterId, result: Reviewed, took: Duration) {
        let _ = (cluster, result, took);
    }

    /// An issuer's keys were read, or could not be.
    fn keys_read(&self, issuer: &str, well: bool) {
        let _ = (issuer, well);
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl AuthObserver for NoObserver {}
