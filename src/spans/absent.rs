//! What there is without the feature `otel`: nothing.

use std::time::Instant;

use mainstem_model::{ChangeSet, Snapshot};
use mainstem_xds::PushObserver;
use tracing::warn;

/// Traces nothing.
#[derive(Clone, Debug, Default)]
pub struct Spans;

/// A change that is not traced.
#[derive(Debug)]
pub struct Change;

impl Spans {
    /// Says so if the environment asks for traces.
    ///
    /// # Errors
    /// None.
    pub fn from_environment() -> anyhow::Result<Self> {
        if super::wanted() {
            warn!(
                "{} is set, but this program was built without the feature `otel`",
                super::ENDPOINTS[1]
            );
        }
        Ok(Self)
    }

    /// Begins nothing.
    pub fn change(&self, _: Instant, _: &Snapshot, _: Option<&ChangeSet>) -> Change {
        Change
    }

    /// Nothing is under way.
    pub async fn flush(self) {}
}

impl Change {
    /// Ends nothing.
    pub fn told(self, _: usize) {}
}

impl PushObserver for Spans {}
