//! Labels and selectors.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key/value labels in key order; cheap to clone.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Labels(Arc<BTreeMap<Arc<str>, Arc<str>>>);

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels(Arc::default()));

impl Default for Labels {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }

    /// All labels in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every label of `selector` stands here with the same value. An
    /// empty selector selects everything; who means "nothing" must ask first.
    pub fn matches(&self, selector: &Labels) -> bool {
        selector.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    /// These labels with `more` added; where both have a key, `more` wins.
    pub fn with<K: Into<Arc<str>>, V: Into<Arc<str>>>(
        &self,
        more: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut all = (*self.0).clone();
        all.extend(more.into_iter().map(|(key, value)| (key.into(), value.into())));
        Self::from(all)
    }
}

impl From<BTreeMap<Arc<str>, Arc<str>>> for Labels {
    fn from(labels: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        if labels.is_empty() { Self::default() } else { Self(Arc::new(labels)) }
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels: BTreeMap<Arc<str>, Arc<str>> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::from(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_needs_every_label() {
        let labels = Labels::from_iter([("app", "web"), ("version", "v1")]);
        assert!(labels.matches(&Labels::from_iter([("app", "web")])));
        assert!(!labels.matches(&Labels::from_iter([("app", "web"), ("version", "v2")])));
        assert!(labels.matches(&Labels::default()));
    }
}
