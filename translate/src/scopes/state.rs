//! What a scope has at one moment, and what changed before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::Generation;
use smallvec::SmallVec;

use super::ordered::Ordered;
use crate::Resource;

/// How many generations of changes a scope remembers, and how many names in all.
const LOG_GENERATIONS: usize = 64;
const LOG_NAMES: usize = 4096;
/// How many resources of the latest change are at hand.
const LATEST: usize = 4;

/// A resource put, or a name gone.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Put(Arc<Resource>),
    Remove(Arc<str>),
}

impl Edit {
    fn name(&self) -> &Arc<str> {
        match self {
            Self::Put(resource) => &resource.name,
            Self::Remove(name) => name,
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    generation: Generation,
    /// In order.
    names: Arc<[Arc<str>]>,
}

/// One scope's resources at one moment. Immutable; successors share what did
/// not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    scope: u64,
    /// When its content changed last.
    generation: Generation,
    resources: Ordered,
    /// What the latest change put. Whoever is told of it asks for it by the very name
    /// that is in it, and need not search.
    latest: SmallVec<[Arc<Resource>; 1]>,
    /// The wrapping sum of the resources' weights.
    version: u128,
    log: Arc<[Entry]>,
    /// The log knows every change after this generation.
    logged_since: Generation,
}

impl State {
    /// The first state of scope number `scope`.
    pub(crate) fn new(scope: u64, generation: Generation, all: Vec<Arc<Resource>>) -> Self {
        let resources: Ordered = all.into_iter().collect();
        let version = resources.iter().fold(0u128, |sum, r| sum.wrapping_add(r.weight()));
        Self {
            scope,
            generation,
            resources,
            latest: SmallVec::new(),
            version,
            log: Arc::default(),
            logged_since: generation,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.latest(name).or_else(|| self.resources.get(name))
    }

    /// The resource of this name if it was put by the latest change, and the name is the
    /// one that was told of it.
    pub(crate) fn latest(&self, name: &str) -> Option<&Arc<Resource>> {
        self.latest.iter().find(|resource| std::ptr::eq(&*resource.name, name))
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    pub(crate) fn version(&self) -> u128 {
        self.version
    }

    /// The state after `edits`, of which the last of a name counts; none if they
    /// change nothing.
    pub(crate) fn edited(&self, generation: Generation, edits: Vec<Edit>) -> Option<Self> {
        let edits: BTreeMap<Arc<str>, Edit> =
            edits.into_iter().map(|edit| (edit.name().clone(), edit)).collect();
        let mut next = self.clone();
        next.latest.clear();
        let names = edits.into_values().filter_map(|edit| next.apply(edit)).collect();
        self.with_changes(next, generation, names)
    }

    /// The state with exactly these resources; none if that changes nothing.
    pub(crate) fn replaced(&self, generation: Generation, all: Vec<Arc<Resource>>) -> Option<Self> {
        let resources: Ordered = all.into_iter().collect();
        let edits = self.resources.differences(&resources).into_iter().map(|name| {
            resources.get(&name).map_or(Edit::Remove(name), |found| Edit::Put(found.clone()))
        });
        self.edited(generation, edits.collect())
    }

    /// The names that differ from an `older` state, of this scope or of the one
    /// that a client was in before; in order. Everybody who follows each change is
    /// given the same ones.
    pub(crate) fn changes_since(&self, older: &Self) -> Arc<[Arc<str>]> {
        if self.scope != older.scope || older.generation < self.logged_since {
            return self.resources.differences(&older.resources).into();
        }
        let newer = self.log.partition_point(|entry| entry.generation <= older.generation);
        let mut names: Vec<Arc<str>> = match &self.log[newer..] {
            [] => return Arc::default(),
            [entry] => return entry.names.clone(),
            entries => entries.iter().flat_map(|entry| entry.names.iter().cloned()).collect(),
        };
        names.sort();
        names.dedup();
        // A name may have come back to what it was.
        let version = |state: &Self, name: &str| state.get(name).map(|r| r.version);
        names.retain(|name| version(self, name) != version(older, name));
        names.into()
    }

    /// Applies one edit; returns the name if it changed something.
    fn apply(&mut self, edit: Edit) -> Option<Arc<str>> {
        match edit {
            Edit::Put(resource) => {
                if self.get(&resource.name).is_some_and(|held| held.version == resource.version) {
                    return None;
                }
                let name = resource.name.clone();
                if self.latest.len() < LATEST {
                    self.latest.push(resource.clone());
                }
                self.version = self.version.wrapping_add(resource.weight());
                if let Some(before) = self.resources.insert(resource) {
                    self.version = self.version.wrapping_sub(before.weight());
                }
                Some(name)
            }
            Edit::Remove(name) => {
                let before = self.resources.remove(&name)?;
                self.version = self.version.wrapping_sub(before.weight());
                Some(name)
            }
        }
    }

    fn with_changes(
        &self,
        mut next: Self,
        generation: Generation,
        names: Vec<Arc<str>>,
    ) -> Option<Self> {
        if names.is_empty() {
            return None;
        }
        let newest = Entry { generation, names: names.into() };
        let mut log: Vec<Entry> = self.log.iter().cloned().chain([newest]).collect();
        let mut total: usize = log.iter().map(|entry| entry.names.len()).sum();
        let mut dropped = 0;
        while log.len() - dropped > LOG_GENERATIONS || total > LOG_NAMES {
            total -= log[dropped].names.len();
            next.logged_since = log[dropped].generation;
            dropped += 1;
        }
        next.log = log.drain(dropped..).collect();
        next.generation = generation;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use pretty_assertions::assert_eq;

    fn resource(name: &str, body: &str) -> Arc<Resource> {
        Arc::new(Resource::new(Kind::Cluster, name, body.as_bytes().to_vec()))
    }

    fn put(name: &str, body: &str) -> Edit {
        Edit::Put(resource(name, body))
    }

    fn names(names: &[Arc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn a_state_knows_what_changed_since_an_older_one() {
        let first = State::new(1, 1, vec![resource("a", "1"), resource("b", "1")]);
        let second = first.edited(2, vec![put("a", "2"), put("c", "1")]).unwrap();
        let third = second.edited(5, vec![put("a", "1"), Edit::Remove("b".into())]).unwrap();
        assert_eq!(names(&second.changes_since(&first)), ["a", "c"]);
        assert_eq!(names(&third.changes_since(&second)), ["a", "b"]);
        assert_eq!(names(&third.changes_since(&first)), ["b", "c"]);
        assert_eq!(names(&third.changes_since(&third)), [""; 0]);
    }

    #[test]
    fn edits_that_change_nothing_make_no_state() {
        let state = State::new(1, 1, vec![resource("a", "1")]);
        assert!(state.edited(2, vec![put("a", "1"), Edit::Remove("b".into())]).is_none());
        assert!(state.edited(2, vec![Edit::Remove("a".into()), put("a", "1")]).is_none());
        assert!(state.replaced(2, vec![resource("a", "1")]).is_none());
    }

    #[test]
    fn a_version_is_of_the_content_and_not_of_its_history() {
        let all = || vec![resource("a", "1"), resource("b", "2")];
        let fresh = State::new(1, 1, all());
        let edited = State::new(2, 1, vec![resource("b", "1"), resource("c", "1")]);
        let edited = edited.replaced(2, all()).unwrap();
        assert_eq!(edited.version(), fresh.version());
    }

    #[test]
    fn changes_beyond_the_log_and_across_scopes_are_found_by_comparing() {
        let first = State::new(1, 1, vec![resource("a", "1"), resource("b", "1")]);
        let mut state = first.clone();
        for generation in 2..100 {
            state = state.edited(generation, vec![put("a", &generation.to_string())]).unwrap();
        }
        assert_eq!(state.log.len(), LOG_GENERATIONS);
        assert_eq!(names(&state.changes_since(&first)), ["a"]);
        let elsewhere = State::new(2, 1, vec![resource("b", "1"), resource("c", "1")]);
        assert_eq!(names(&elsewhere.changes_since(&first)), ["a", "c"]);
    }

    #[test]
    fn a_huge_change_is_not_logged() {
        let first = State::new(1, 1, vec![]);
        let all = (0..LOG_NAMES + 1).map(|n| resource(&n.to_string(), "1")).collect();
        let second = first.replaced(2, all).unwrap();
        assert_eq!((second.log.len(), second.logged_since), (0, 2));
        assert_eq!(second.changes_since(&first).len(), LOG_NAMES + 1);
    }
}
