//! Istio's ServiceEntries and WorkloadEntries.

use std::collections::BTreeMap;

use mainstem_model::Labels;
use serde::Deserialize;

use super::Metadata;

/// A ServiceEntry or WorkloadEntry, with its specification. The rules that it has
/// to keep are checked when it is converted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry<S> {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    /// When it was created (RFC 3339, UTC): of two that declare one host, the
    /// older one wins.
    pub(crate) created: String,
    pub(crate) spec: S,
}

#[derive(Debug, Deserialize)]
pub(super) struct Raw<S> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: S,
}

impl<S> Entry<S> {
    pub(super) fn read(raw: Raw<S>) -> Self {
        let annotations: BTreeMap<_, _> = raw.metadata.annotations;
        // What `kubectl apply` leaves is a copy of the whole object.
        let kept = annotations.into_iter().filter(|(name, _)| !name.starts_with("kubectl."));
        Self {
            labels: raw.metadata.labels,
            annotations: kept.collect(),
            created: raw.metadata.creation_timestamp,
            spec: raw.spec,
        }
    }
}
