//! What happened on streams.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstem_xds::protocol::{Rejection, Response};
use mainstem_xds::{Client, PushObserver, RoundTrip, TypeUrl};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::debug;

use super::total::Total;

/// A type of resource.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Type {
    r#type: &'static str,
}

/// The types that every proxy asks for.
pub(super) const SHOWN: [&str; 4] = ["cds", "eds", "lds", "rds"];

/// The labels of types. What a client asks for beyond is not trusted to be one.
const LABELS: [&str; 10] =
    ["cds", "eds", "lds", "rds", "sds", "ecds", "srds", "vhds", "rtds", "other"];

fn place(type_url: &TypeUrl) -> usize {
    match *type_url {
        TypeUrl::CLUSTER => 0,
        TypeUrl::CLUSTER_LOAD_ASSIGNMENT => 1,
        TypeUrl::LISTENER => 2,
        TypeUrl::ROUTE_CONFIGURATION => 3,
        TypeUrl::SECRET => 4,
        TypeUrl::EXTENSION_CONFIG => 5,
        TypeUrl::SCOPED_ROUTE_CONFIGURATION => 6,
        TypeUrl::VIRTUAL_HOST => 7,
        TypeUrl::RUNTIME => 8,
        _ => 9,
    }
}

/// The label of a type.
pub(super) fn label(type_url: &TypeUrl) -> &'static str {
    LABELS[place(type_url)]
}

/// Counts what happens on streams. Clones count together.
#[derive(Clone, Debug)]
pub struct Pushes {
    pushes: Family<Type, Total>,
    rejects: Family<Type, Total>,
    expired: Family<Type, Total>,
    sizes: Family<Type, Histogram, fn() -> Histogram>,
    acks: Family<Type, Histogram, fn() -> Histogram>,
    waits: Histogram,
    convergence: Histogram,
    refused: Counter,
    at_hand: Arc<[OnceLock<AtHand>; LABELS.len()]>,
}

/// What each message and its ACK count into, so that neither has to look for it.
#[derive(Debug)]
struct AtHand {
    pushes: Total,
    sizes: Histogram,
    acks: Histogram,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
}

fn bytes() -> Histogram {
    Histogram::new([1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 4e7])
}

impl Default for Pushes {
    fn default() -> Self {
        Self {
            pushes: Family::default(),
            rejects: Family::default(),
            expired: Family::default(),
            sizes: Family::new_with_constructor(bytes),
            acks: Family::new_with_constructor(seconds),
            waits: seconds(),
            convergence: seconds(),
            refused: Counter::default(),
            at_hand: Arc::default(),
        }
    }
}

impl Pushes {
    fn at_hand(&self, type_url: &TypeUrl) -> &AtHand {
        let place = place(type_url);
        self.at_hand[place].get_or_init(|| {
            let label = Type { r#type: LABELS[place] };
            AtHand {
                pushes: self.pushes.get_or_create(&label).clone(),
                sizes: self.sizes.get_or_create(&label).clone(),
                acks: self.acks.get_or_create(&label).clone(),
            }
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        // Zero is there to be seen before the first of each happens.
        for r#type in SHOWN {
            drop(self.pushes.get_or_create(&Type { r#type }));
            drop(self.rejects.get_or_create(&Type { r#type }));
        }
        registry.register("pilot_xds_pushes", "Responses sent", self.pushes.clone());
        registry.register(
            "pilot_total_xds_rejects",
            "Responses that clients refused",
            self.rejects.clone(),
        );
        registry.register(
            "pilot_xds_expired_nonce",
            "Requests that answered a response that was no longer the latest",
            self.expired.clone(),
        );
        registry.register("pilot_xds_config_size_bytes", "Bytes of responses", self.sizes.clone());
        registry.register(
            "pilot_proxy_convergence_time",
            "Seconds from a registry's word to a client's last ACK of the responses that carry it",
            self.convergence.clone(),
        );
        registry.register(
            "mainstem_xds_ack_seconds",
            "Seconds from a response to its ACK",
            self.acks.clone(),
        );
        registry.register(
            "mainstem_xds_send_wait_seconds",
            "Seconds that responses waited for their client to take the one before",
            self.waits.clone(),
        );
        registry.register(
            "mainstem_xds_refused_streams",
            "Streams that were turned away or ended by an error of the client",
            self.refused.clone(),
        );
    }
}

impl PushObserver for Pushes {
    // Streams are logged by the server itself; here they are only counted.
    fn refused(&self, status: &tonic::Status) {
        debug!(code = ?status.code(), reason = status.message(), "stream ended by its client");
        self.refused.inc();
    }

    #[allow(clippy::cast_precision_loss)]
    fn pushed(&self, client: &Client, response: &Response, waited: Duration) {
        debug!(
            proxy = client.node.id,
            r#type = response.type_url.short(),
            resources = response.resources,
            removed = response.removed,
            "pushed"
        );
        let at_hand = self.at_hand(&response.type_url);
        at_hand.pushes.inc();
        at_hand.sizes.observe(response.message.len() as f64);
        self.waits.observe(waited.as_secs_f64());
    }

    fn acked(&self, _: &Client, type_url: &TypeUrl, trip: RoundTrip) {
        self.at_hand(type_url).acks.observe(trip.took().as_secs_f64());
    }

    fn rejected(&self, _: &Client, type_url: &TypeUrl, _: RoundTrip, _: &Rejection) {
        self.rejects.get_or_create(&Type { r#type: label(type_url) }).inc();
    }

    fn expired_nonce(&self, _: &Client, type_url: &TypeUrl) {
        self.expired.get_or_create(&Type { r#type: label(type_url) }).inc();
    }

    fn converged(&self, _: &Client, after: Duration) {
        self.convergence.observe(after.as_secs_f64());
    }
}
