//! Labels from tags and metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::Labels;

use crate::api::Service;

/// A tag `key|value` or `key=value` is a label, split at the first separator;
/// a tag without one, or without a key, is none. Metadata is labels, and wins
/// over tags; of several tags with one key the first counts.
pub(super) fn labels(service: &Service, separators: &[char]) -> Labels {
    let mut labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let tags = service.tags.iter().filter_map(|tag| tag.split_once(separators));
    for (key, value) in tags.filter(|(key, _)| !key.is_empty()) {
        labels.entry(Arc::from(key)).or_insert_with(|| Arc::from(value));
    }
    let metadata = service.meta.iter().filter(|(key, _)| !key.is_empty());
    labels.extend(metadata.map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))));
    Labels::from(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_metadata_become_labels_and_metadata_wins() {
        let service = Service {
            tags: ["version|v1", "env=prod|eu", "env=dev", "plain", "=x", "zone=a"]
                .map(str::to_owned)
                .to_vec(),
            meta: BTreeMap::from([("zone".to_owned(), "b".to_owned())]),
            ..Service::default()
        };
        assert_eq!(
            labels(&service, &['|', '=']),
            Labels::from_iter([("env", "prod|eu"), ("version", "v1"), ("zone", "b")])
        );
        assert_eq!(labels(&service, &[]), Labels::from_iter([("zone", "b")]));
    }
}
