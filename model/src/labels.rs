//! Labels and selectors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::shared;

/// What ends a key and what ends a value.
const END: char = '\0';

/// Key/value labels in key order; one pointer wide and cheap to clone.
///
/// Kept as one text, `key NUL value NUL …`, which equal labels share. A NUL within
/// a key or value becomes U+FFFD.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<Box<str>>);

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels(Arc::new(Box::from(""))));

impl Default for Labels {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// All labels in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator(END);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether every label of `selector` stands here with the same value. An
    /// empty selector selects everything; who means "nothing" must ask first.
    pub fn matches(&self, selector: &Labels) -> bool {
        // Both are in key order, so one walk along `self` finds them all.
        let mut own = self.iter();
        selector.iter().all(|wanted| own.any(|label| label == wanted))
    }

    /// These labels with `more` added; where both have a key, `more` wins.
    pub fn with<K: Into<Arc<str>>, V: Into<Arc<str>>>(
        &self,
        more: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let own = self.iter().map(|(key, value)| (Arc::from(key), Arc::from(value)));
        own.chain(more.into_iter().map(|(key, value)| (key.into(), value.into()))).collect()
    }
}

impl From<BTreeMap<Arc<str>, Arc<str>>> for Labels {
    fn from(labels: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        if labels.is_empty() {
            return Self::default();
        }
        let nul = |text: &str| text.contains(END);
        if labels.iter().any(|(key, value)| nul(key) || nul(value)) {
            // Again through a map, since replacing may change the order.
            let clean = |text: &str| Arc::from(text.replace(END, "\u{fffd}"));
            return labels.iter().map(|(key, value)| (clean(key), clean(value))).collect();
        }
        let mut text =
            String::with_capacity(labels.iter().map(|(k, v)| k.len() + v.len() + 2).sum());
        for part in labels.iter().flat_map(|(key, value)| [key, value]) {
            text.push_str(part);
            text.push(END);
        }
        Self(shared(text.into_boxed_str()))
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels: BTreeMap<Arc<str>, Arc<str>> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::from(labels)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<Arc<str>, Arc<str>>::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Labels {
    fn schema_name() -> Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
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

    #[test]
    fn labels_are_a_map_in_key_order() {
        let labels = Labels::from_iter([("b", "2"), ("a", ""), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", ""), ("b", "3")]);
        assert_eq!((labels.get("a"), labels.get("b"), labels.get("")), (Some(""), Some("3"), None));
        assert_eq!(labels.len(), 2);
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"{"a":"","b":"3"}"#);
        assert_eq!(serde_json::from_str::<Labels>(r#"{"b":"3","a":""}"#).unwrap(), labels);
        assert_eq!(labels.with([("c", "4")]).len(), 3);
    }

    #[test]
    fn a_label_cannot_smuggle_in_another() {
        let labels = Labels::from_iter([("a", "1\0app\0web")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1\u{fffd}app\u{fffd}web")]);
    }
}
