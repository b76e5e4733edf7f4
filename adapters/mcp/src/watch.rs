//! When to connect, when answers are complete, and when to begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstem_model::{Condition, Locality, RegistryUpdate};
use mainstem_registry::serviceentry::Surroundings;
use mainstem_registry::{Backoff, UpdateSender};
use tokio::time::{Instant, sleep_until};

use crate::McpConfig;
use crate::api::{Held, McpError, Sink, Stream};
use crate::config::Protocol;
use crate::convert::Kind;
use crate::credentials::Credentials;
use crate::handed_on::Excluded;
use crate::store::Store;

/// How long a source may take to answer for every kind on a new stream.
const FIRST_ANSWERS: Duration = Duration::from_secs(60);

/// Follows the source for ever.
pub(crate) async fn run(config: McpConfig, updates: UpdateSender) {
    let around = Surroundings {
        registry: updates.registry().clone(),
        cluster: config.cluster.clone(),
        network: config.network.clone(),
        locality: Locality::parse(&config.locality),
        trust_domain: config.trust_domain.as_str().into(),
    };
    let excluded = Excluded::new(config.exclude.iter().chain([&config.home]));
    let store = Store::new(around, excluded);
    let sets = BTreeMap::new();
    let mut course = Course { store, synced: false, sets, sink: None, config, updates };
    let mut backoff = Backoff::default();
    loop {
        match course.follow(&mut backoff).await {
            Ok(anew) => {
                tracing::info!(registry = %course.updates.registry(), "following anew: {anew:?}")
            }
            Err(error) => {
                course.updates.failed(&error);
                backoff.wait().await;
            }
        }
    }
}

/// Why a good stream is left for another one.
#[derive(Debug)]
enum Anew {
    /// Credentials have changed; the stream was opened with the old ones.
    Credentials,
    /// The source has opened another one.
    Stream,
}

struct Course {
    config: McpConfig,
    updates: UpdateSender,
    store: Store,
    /// Whether a complete state was ever said.
    synced: bool,
    /// The versions of the complete sets that were taken.
    sets: BTreeMap<Kind, String>,
    /// Where sources open streams, if that is how they come.
    sink: Option<Sink>,
}

impl Course {
    /// Follows one stream to its end.
    async fn follow(&mut self, backoff: &mut Backoff) -> Result<Anew, McpError> {
        let credentials = Credentials::read(&self.config).await?;
        self.listen(&credentials).await?;
        let held = |kind: &Kind| Held {
            versions: self.store.versions(kind),
            version: self.sets.get(kind).cloned().unwrap_or_default(),
        };
        let sink = self.sink.as_mut();
        let mut stream = Stream::open(&self.config, &credentials, sink, held).await?;
        // A source is silent about a kind of which everything held is current.
        let held = |kind: &Kind| {
            !self.store.versions(kind).is_empty()
                || self.sets.get(kind).is_some_and(|version| !version.is_empty())
        };
        let mut missing: BTreeSet<Kind> =
            self.config.kinds.iter().filter(|kind| !held(kind)).cloned().collect();
        let mut live = false;
        let opened = Instant::now();
        let mut quiet_at = opened + self.config.settle.duration();
        let every = self.config.probe_interval.duration();
        let mut look = tokio::time::interval_at(opened + every, every);
        loop {
            let complete_at = if missing.is_empty() { quiet_at } else { opened + FIRST_ANSWERS };
            tokio::select! {
                answer = stream.next() => {
                    let answer = answer?;
                    quiet_at = Instant::now() + self.config.settle.duration();
                    let kind = Kind::of(&answer.type_url);
                    if !self.config.kinds.contains(&kind) {
                        continue;
                    }
                    let refusal = self.store.take(&kind, &answer);
                    stream.reply(&answer, refusal);
                    missing.remove(&kind);
                    self.sets.insert(kind.clone(), stream.version(&kind));
                    self.say_changes();
                }
                () = sleep_until(complete_at), if !live => {
                    if !missing.is_empty() {
                        let address = self.config.address.clone();
                        return Err(McpError::Incomplete { address });
                    }
                    live = true;
                    backoff.reset();
                    self.say_live();
                }
                _ = look.tick() => {
                    // A file that is being replaced is no reason to end a good stream.
                    let now = Credentials::read(&self.config).await;
                    if now.is_ok_and(|now| now != credentials) {
                        return Ok(Anew::Credentials);
                    }
                }
                () = arrived(&mut self.sink) => return Ok(Anew::Stream),
            }
        }
    }

    /// Listens where sources come to a sink, with these credentials.
    async fn listen(&mut self, credentials: &Credentials) -> Result<(), McpError> {
        let good = self.sink.as_ref().is_some_and(|sink| sink.has(credentials));
        if self.config.protocol != Protocol::ResourceSink || good {
            return Ok(());
        }
        if let Some(old) = self.sink.take() {
            old.close().await;
        }
        self.sink = Some(Sink::listen(&self.config, credentials).await?);
        Ok(())
    }

    fn say_changes(&mut self) {
        if self.synced {
            self.updates.send_all(self.store.changes());
        }
    }

    fn say_live(&mut self) {
        if self.synced {
            self.updates.send(RegistryUpdate::Condition(Condition::Live));
        } else {
            let (values, rejected) = self.store.whole();
            self.updates.replace(values, rejected);
            self.updates.send_all(self.store.withheld());
            self.synced = true;
        }
    }
}

async fn arrived(sink: &mut Option<Sink>) {
    match sink {
        Some(sink) => sink.arrived().await,
        None => std::future::pending().await,
    }
}
