//! Who a client of the xDS server is, and which node it may be.
//!
//! ```text
//!  certificate ─▶ SPIFFE ID ──────────────┐
//!  token ─┬─ known issuer ─▶ oidc (keys) ─┼─▶ Principal ─ fits? ─ Claim ◀─ node
//!         └─ else ─▶ reviews (TokenReview)┘        │
//!                    of the claimed cluster        ▼
//!                                               Identity, or Denied
//! ```
//!
//! The first proof that holds counts, in the order certificate, token. What it
//! proves (trust domain, namespace, service account, cluster) must fit what the
//! node claims; what the proxy may see follows from the claim.
//!
//! Invariants:
//! - A token goes to whoever may judge it and to nobody else: to its issuer's
//!   keys if the issuer is configured, else to the API server of the cluster that
//!   the node claims.
//! - Whoever cannot be asked proves nothing and refutes nothing: the client is
//!   told to try again.
//! - Keys that were read once stay in force while their issuer cannot be reached.
//! - What clients send costs a bounded amount: of memory (caches), of questions
//!   to an API server (at a time), of fetches of keys (in time).
//! - Where trust domains have authorities of their own, none can issue an identity of
//!   another's.
//! - Only the stream that is asked about waits.

mod authorities;
mod cache;
mod certificate;
mod chain;
mod observe;
mod oidc;
mod principal;
mod reviews;
mod token;

pub use authorities::{Authorities, AuthoritiesError, Certificates};
pub use chain::{Authentication, ReadClaim, Settings};
pub use observe::{AuthObserver, Method, NoObserver, Outcome, Reviewed};
pub use oidc::{IssuerSettings, KeySource, is_safe_key_url};
pub use principal::{Claim, Misfit, Principal, SpiffeError, TrustDomains, Vouched};
pub use reviews::{ClusterReviews, Review, ReviewError, ReviewSettings, TokenReviewer};

/// An error with its causes.
pub(crate) fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
