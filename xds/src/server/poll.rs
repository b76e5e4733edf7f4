//! One answer without a stream, as REST polling and the Fetch methods give it.
//!
//! What a client refused is told from the nonce of the answer, which follows from its
//! content: so a refusal can be believed after a restart and by another replica, and
//! only that there was one is remembered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tonic::Status;
use tracing::info;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::service::Serving;
use crate::auth::Credentials;
use crate::names::TypeUrl;
use crate::observe::RoundTrip;
use crate::protocol::{self, Fetched, Message, ProtocolError, Rejection, Response};
use crate::source::Client;
use crate::version::SetVersion;

/// What a poll comes to.
pub(super) struct Polled {
    client: Arc<Client>,
    version: SetVersion,
    response: Response,
    /// Whether the client has refused exactly this.
    pub(super) refused: bool,
}

impl Polled {
    /// Whether this is the version that the client has.
    pub(super) fn is(&self, held: &str) -> bool {
        !held.is_empty() && held == self.version.to_string()
    }

    /// The answer, which is sent.
    pub(super) fn send(self, serving: &Serving) -> Message {
        serving.shared.observer.pushed(&self.client, &self.response, Duration::ZERO);
        self.response.message
    }
}

/// What a request without a stream asks for, after hearing what it says of the answer before.
pub(super) async fn poll(
    serving: &Serving,
    type_url: &TypeUrl,
    mut request: DiscoveryRequest,
    credentials: &Credentials,
) -> Result<Polled, Status> {
    if !request.type_url.is_empty() && request.type_url != **type_url {
        return Err(ProtocolError::OtherType(request.type_url).into());
    }
    let shared = &serving.shared;
    let node = request.node.take().unwrap_or_default();
    shared.config.limits.check_node(&node)?;
    let client = Arc::new(serving.client(credentials, node).await?);
    let mut view = shared.source.connect(&client)?;
    view.advance();
    let fetched = protocol::fetch(&mut *view, type_url, &request);
    let fetched = fetched.map_err(|error| Status::unavailable(error.to_string()))?;
    let (refused, rejection) = shared.polls.hear(&client, type_url, &request, &fetched);
    if let Some(rejection) = rejection {
        note(serving, &client, type_url, &rejection);
    }
    let response = fetched.response(type_url, &shared.config.identifier);
    Ok(Polled { client, version: fetched.version, response, refused })
}

/// Says of a refusal what is said of one on a stream.
fn note(serving: &Serving, client: &Client, type_url: &TypeUrl, rejection: &Rejection) {
    info!(
        node = client.node.id,
        r#type = type_url.short(),
        code = rejection.code,
        message = rejection.message,
        culprits = ?rejection.culprits,
        "response refused"
    );
    // When it was sent is not known any more.
    let now = Instant::now();
    let trip = RoundTrip { sent: now, answered: now, change: None };
    serving.shared.observer.rejected(client, type_url, trip, rejection);
}

/// Which answer each client without a stream refused last, by type: hashes of nonces.
#[derive(Default)]
pub(super) struct Polls(Mutex<FxHashMap<u128, u64>>);

impl Polls {
    /// Refusals that are remembered. What is forgotten is counted anew when it is
    /// repeated, and sent to those who do not repeat it.
    const MOST: usize = 10_000;

    /// Whether a request refuses what would be its answer, and what it says that was
    /// not said before.
    fn hear(
        &self,
        client: &Client,
        type_url: &TypeUrl,
        request: &DiscoveryRequest,
        fetched: &Fetched,
    ) -> (bool, Option<Rejection>) {
        let who = who(client, type_url);
        let Some(error) = &request.error_detail else {
            // Whoever has nothing has begun anew, and may be of another mind.
            let has_some = !request.version_info.is_empty();
            return (has_some && self.has_refused(who, &fetched.nonce().to_string()), None);
        };
        let refused = fetched.is_answered_by(request);
        let is_new = self.remember(who, &request.response_nonce);
        // Of an answer that would be another now, nobody knows what was in it.
        let rejection = || match fetched.rejection(error) {
            rejection if refused => rejection,
            rejection => Rejection { culprits: Vec::new(), ..rejection },
        };
        (refused, is_new.then(rejection))
    }

    fn has_refused(&self, who: u128, nonce: &str) -> bool {
        self.0.lock().get(&who) == Some(&xxh3_64(nonce.as_bytes()))
    }

    /// Remembers a refusal; whether it was not known.
    fn remember(&self, who: u128, nonce: &str) -> bool {
        let nonce = xxh3_64(nonce.as_bytes());
        let mut refused = self.0.lock();
        if refused.len() >= Self::MOST && !refused.contains_key(&who) {
            refused.clear();
        }
        refused.insert(who, nonce) != Some(nonce)
    }
}

/// A client and a type, by what was proven and what is claimed.
fn who(client: &Client, type_url: &TypeUrl) -> u128 {
    let mut hash = Xxh3::new();
    let names = client.identity.names.iter().map(|name| &**name);
    for part in names.chain([&*client.node.id, &**type_url]) {
        hash.update(part.as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest128()
}
