//! Who was let in, and what was asked to find out.

use std::time::Duration;

use mainstem_auth::{AuthObserver, Method, Outcome, Reviewed};
use mainstem_model::ClusterId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How a client was judged.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Decision {
    method: &'static str,
    result: &'static str,
}

/// What a cluster's API server said of a token. Clusters are those configured.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    cluster: String,
    result: &'static str,
}

/// Whether an issuer's keys could be read. Issuers are those configured.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Read {
    issuer: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Loaded {
    result: &'static str,
}

/// Counts who was let in, and what was asked to find out. Clones count together.
#[derive(Clone, Debug)]
pub struct AuthMetrics {
    decisions: Family<Decision, Counter>,
    reviews: Family<Asked, Counter>,
    review_times: Histogram,
    keys: Family<Read, Counter>,
    certificates: Family<Loaded, Counter>,
}

impl Default for AuthMetrics {
    fn default() -> Self {
        Self {
            decisions: Family::default(),
            reviews: Family::default(),
            review_times: Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            keys: Family::default(),
            certificates: Family::default(),
        }
    }
}

impl AuthMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "mainstem_xds_authentications",
            "Clients judged at the TLS listener",
            self.decisions.clone(),
        );
        registry.register(
            "mainstem_token_reviews",
            "Tokens judged by API servers",
            self.reviews.clone(),
        );
        registry.register(
            "mainstem_token_review_seconds",
            "Seconds that API servers took to judge a token",
            self.review_times.clone(),
        );
        registry.register(
            "mainstem_jwks_reads",
            "Attempts to read the keys of token issuers",
            self.keys.clone(),
        );
        registry.register(
            "mainstem_xds_certificate_loads",
            "Attempts to use the certificates of the TLS listener",
            self.certificates.clone(),
        );
    }

    /// The certificates of the TLS listener were read.
    pub fn certificates_read(&self, well: bool) {
        self.certificates.get_or_create(&Loaded { result: word(well) }).inc();
    }
}

fn word(well: bool) -> &'static str {
    if well { "ok" } else { "failed" }
}

impl AuthObserver for AuthMetrics {
    fn decided(&self, method: Method, outcome: Outcome) {
        let decision = Decision { method: method.name(), result: outcome.name() };
        self.decisions.get_or_create(&decision).inc();
    }

    fn reviewed(&self, cluster: &ClusterId, result: Reviewed, took: Duration) {
        let asked = Asked { cluster: cluster.to_string(), result: result.name() };
        self.reviews.get_or_create(&asked).inc();
        if result != Reviewed::Cached {
            self.review_times.observe(took.as_secs_f64());
        }
    }

    fn keys_read(&self, issuer: &str, well: bool) {
        let read = Read { issuer: issuer.to_owned(), result: word(well) };
        self.keys.get_or_create(&read).inc();
    }
}
