//! What differs between two snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Generation;
use crate::{ConfigKey, NamespaceName, ServiceKey, WorkloadKey};

/// The keys whose content changed, appeared or went. Revisions do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Services by definition.
    pub services: BTreeSet<ServiceKey>,
    /// Services by their endpoints.
    pub endpoints: BTreeSet<ServiceKey>,
    /// Workloads.
    pub workloads: BTreeSet<WorkloadKey>,
    /// Namespaces.
    pub namespaces: BTreeSet<NamespaceName>,
    /// Configuration objects.
    pub configs: BTreeSet<ConfigKey>,
    /// Network gateways.
    pub gateways: bool,
    /// Mesh settings.
    pub mesh: bool,
}

impl ChangeSet {
    /// Whether nothing changed that a resource could depend on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many keys it names.
    pub fn len(&self) -> usize {
        let Self { services, endpoints, workloads, namespaces, configs, gateways, mesh } = self;
        let single = usize::from(*gateways) + usize::from(*mesh);
        [services.len(), endpoints.len(), workloads.len(), namespaces.len(), configs.len(), single]
            .into_iter()
            .sum()
    }

    /// Adds another's changes.
    pub fn merge(&mut self, other: &Self) {
        self.services.extend(other.services.iter().cloned());
        self.endpoints.extend(other.endpoints.iter().cloned());
        self.workloads.extend(other.workloads.iter().cloned());
        self.namespaces.extend(other.namespaces.iter().cloned());
        self.configs.extend(other.configs.iter().cloned());
        self.gateways |= other.gateways;
        self.mesh |= other.mesh;
    }
}

/// How many generations a chapter of the history has, how many older chapters are
/// remembered, and how many keys in all: who missed more than that has as good as
/// everything to look at again.
const CHAPTER: usize = 64;
const CHAPTERS: usize = 15;
const KEYS: usize = 200_000;

/// The changes of the last thousand generations. In chapters, so that a new
/// generation copies few pointers and a reader that lags behind a storm can still
/// be told what it missed.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    recent: Chapter,
    older: Arc<[Chapter]>,
}

/// Changes by generation, in order, and how many keys they name.
#[derive(Clone, Debug, Default)]
struct Chapter {
    changes: Arc<[(Generation, Arc<ChangeSet>)]>,
    keys: usize,
}

impl Chapter {
    fn with(&self, generation: Generation, changes: ChangeSet) -> Self {
        let keys = self.keys + changes.len();
        let newest = (generation, Arc::new(changes));
        Self { changes: self.changes.iter().cloned().chain([newest]).collect(), keys }
    }
}

impl History {
    /// The history with one generation more.
    pub(super) fn with(&self, generation: Generation, changes: ChangeSet) -> Self {
        if self.recent.changes.len() < CHAPTER && self.recent.keys < KEYS {
            let recent = self.recent.with(generation, changes);
            return Self { recent, older: self.older.clone() };
        }
        let mut left = KEYS;
        let remembered = [&self.recent].into_iter().chain(self.older.iter().rev());
        let mut older: Vec<_> = remembered
            .take(CHAPTERS)
            .take_while(|chapter| left.checked_sub(chapter.keys).inspect(|l| left = *l).is_some())
            .cloned()
            .collect();
        older.reverse();
        Self { recent: Chapter::default().with(generation, changes), older: older.into() }
    }

    /// What changed after `generation`; `None` when that is forgotten.
    pub(super) fn since(&self, generation: Generation) -> Option<ChangeSet> {
        let chapters = || self.older.iter().chain([&self.recent]);
        let all = || chapters().flat_map(|chapter| chapter.changes.iter());
        let (oldest, _) = all().next()?;
        if *oldest > generation + 1 {
            return None;
        }
        let mut changes = ChangeSet::default();
        let missed = all().filter(|(at, _)| *at > generation);
        missed.for_each(|(_, more)| changes.merge(more));
        Some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generation `i` changes the namespace `ni` and `more` others.
    fn history(generations: u64, more: usize) -> History {
        (1..=generations).fold(History::default(), |history, i| {
            let mut changes = ChangeSet::default();
            changes.namespaces.extend((0..more).map(|j| format!("{i}-{j}").into()));
            changes.namespaces.insert(format!("n{i}").into());
            history.with(i, changes)
        })
    }

    #[test]
    fn about_a_thousand_generations_are_remembered() {
        let history = history(3000, 0);
        let names = |after: u64| (after + 1..=3000).map(|i| format!("n{i}").into()).collect();
        for after in [2041, 2500, 2999] {
            assert_eq!(history.since(after).unwrap().namespaces, names(after));
        }
        assert_eq!(history.since(1900), None);
    }

    #[test]
    fn fewer_are_remembered_where_they_changed_very_much() {
        let history = history(200, 2000);
        assert!(history.since(199).is_some());
        assert_eq!(history.since(0), None);
        let kept = |chapter: &Chapter| chapter.keys;
        assert!(history.older.iter().map(kept).sum::<usize>() <= KEYS);
    }
}
