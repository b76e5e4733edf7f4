//! An issuer's keys, read when they are needed and old or unknown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::fetch::fetch;
use super::keys::Key;
use super::{IssuerSettings, KeySource};
use crate::described;
use crate::observe::AuthObserver;

/// The least time between two attempts to read keys, whatever clients present.
const SPACING: Duration = Duration::from_secs(5);

/// There are no keys to verify with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KeysError(String);

/// An issuer's keys.
#[derive(Debug)]
pub(super) struct KeySet {
    settings: IssuerSettings,
    held: ArcSwap<Held>,
    /// Held by whoever reads the keys.
    reading: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    keys: Vec<Key>,
    /// When they were last tried to be read.
    tried: Option<Instant>,
    /// Why that failed.
    error: Option<String>,
}

impl KeySet {
    pub(super) fn new(settings: IssuerSettings) -> Self {
        Self { settings, held: ArcSwap::default(), reading: Mutex::default() }
    }

    /// The keys that may have signed a token with this header.
    ///
    /// Known keys are given at once, but for whoever finds them old, who reads
    /// them again first. For an unknown key they are read again, unless they just were.
    pub(super) async fn matching(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        observer: &dyn AuthObserver,
    ) -> Result<Vec<DecodingKey>, KeysError> {
        let held = self.held.load_full();
        let found = held.matching(id, algorithm);
        if !found.is_empty() {
            if held.age() >= self.longest(&held)
                && let Ok(_reading) = self.reading.try_lock()
            {
                self.read(observer).await;
                return self.held.load().answer(id, algorithm);
            }
            return Ok(found);
        }
        let _reading = self.reading.lock().await;
        if self.held.load().age() >= SPACING.min(self.settings.refresh) {
            self.read(observer).await;
        }
        self.held.load().answer(id, algorithm)
    }

    /// How old keys may get: where reading costs little, or failed, not very.
    fn longest(&self, held: &Held) -> Duration {
        let cheap = matches!(self.settings.keys, KeySource::File(_));
        let refresh = self.settings.refresh;
        if cheap || held.error.is_some() { refresh.min(SPACING) } else { refresh }
    }

    /// Reads the keys; those held stay where that fails.
    async fn read(&self, observer: &dyn AuthObserver) {
        let tried = Some(Instant::now());
        let issuer = &self.settings.issuer;
        let fetched = fetch(&self.settings).await;
        observer.keys_read(issuer, fetched.is_ok());
        let held = match fetched {
            Ok(keys) => {
                info!(issuer, keys = keys.len(), "keys read");
                Held { keys, tried, error: None }
            }
            Err(error) => {
                let error = described(&error);
                warn!(issuer, error, "the issuer's keys cannot be read");
                Held { tried, error: Some(error), ..Held::clone(&self.held.load()) }
            }
        };
        self.held.store(Arc::new(held));
    }
}

impl Held {
    fn age(&self) -> Duration {
        self.tried.map_or(Duration::MAX, |tried| tried.elapsed())
    }

    fn matching(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let fitting = self.keys.iter().filter(|key| key.fits(id, algorithm));
        fitting.map(|key| key.key.clone()).collect()
    }

    /// An unknown key is a refusal only if the keys are those of now.
    fn answer(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<DecodingKey>, KeysError> {
        let found = self.matching(id, algorithm);
        match &self.error {
            Some(error) if found.is_empty() => Err(KeysError(error.clone())),
            _ => Ok(found),
        }
    }
}
