//! Which services have a blocking query of their own: pure.
//!
//! Where there are more services than queries allowed, those that changed last
//! are *hot* and have one; the rest are *cold*, and are asked when a detector or
//! a sweep says so. A cold service that changed takes the place of the hot one
//! that has been quiet longest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::index::CatalogIndex;

/// The services that are followed.
#[derive(Debug)]
pub(super) struct Roster {
    places: usize,
    services: BTreeMap<Arc<str>, Entry>,
    /// Hot services by their last change.
    hot: BTreeSet<(u64, Arc<str>)>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// The last change, by `clock`; `None` is cold.
    hot: Option<u64>,
    index: CatalogIndex,
    nodes: BTreeSet<Box<str>>,
}

/// A place that changes hands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Swap {
    /// Gets a query of its own, from this index on.
    pub promote: (Arc<str>, CatalogIndex),
    /// Loses it.
    pub demote: Option<Arc<str>>,
}

impl Roster {
    /// With room for so many hot services.
    pub(super) fn new(places: usize) -> Self {
        Self { places, services: BTreeMap::new(), hot: BTreeSet::new(), clock: 0 }
    }

    /// Whether the service is followed.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    /// All services.
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        self.services.keys().cloned().collect()
    }

    /// Adds a service; whether it is hot.
    pub(super) fn insert(&mut self, name: Arc<str>) -> bool {
        let hot = (self.hot.len() < self.places).then_some(self.clock);
        if hot.is_some() {
            self.hot.insert((self.clock, name.clone()));
        }
        let entry = Entry { hot, index: CatalogIndex::START, nodes: BTreeSet::new() };
        self.services.insert(name, entry);
        hot.is_some()
    }

    /// Removes a service; a cold one may take its place.
    pub(super) fn remove(&mut self, name: &Arc<str>) -> Option<Swap> {
        let entry = self.services.remove(name)?;
        self.hot.remove(&(entry.hot?, name.clone()));
        let next = self.services.iter().find(|(_, entry)| entry.hot.is_none())?.0.clone();
        Some(Swap { promote: self.heat(next), demote: None })
    }

    /// Takes over what an answer says of a service: its index and its nodes.
    pub(super) fn answered(
        &mut self,
        name: &str,
        index: CatalogIndex,
        nodes: impl IntoIterator<Item = impl AsRef<str>>,
    ) {
        if let Some(entry) = self.services.get_mut(name) {
            entry.index = index;
            entry.nodes = nodes.into_iter().map(|node| Box::from(node.as_ref())).collect();
        }
    }

    /// A service changed: it is hot from now on.
    pub(super) fn changed(&mut self, name: &Arc<str>) -> Option<Swap> {
        let hot = self.services.get(name)?.hot;
        if let Some(since) = hot {
            self.hot.remove(&(since, name.clone()));
            self.heat(name.clone());
            return None;
        }
        let mut demote = None;
        if self.hot.len() >= self.places {
            let (_, quiet) = self.hot.pop_first()?;
            self.services.get_mut(&quiet).expect("who is hot is followed").hot = None;
            demote = Some(quiet);
        }
        Some(Swap { promote: self.heat(name.clone()), demote })
    }

    fn heat(&mut self, name: Arc<str>) -> (Arc<str>, CatalogIndex) {
        self.clock += 1;
        let entry = self.services.get_mut(&name).expect("who is heated is followed");
        entry.hot = Some(self.clock);
        let index = entry.index;
        self.hot.insert((self.clock, name.clone()));
        (name, index)
    }

    /// Whether some service is cold.
    pub(super) fn any_cold(&self) -> bool {
        self.hot.len() < self.services.len()
    }

    /// The cold services with their indices.
    pub(super) fn cold(&self) -> impl Iterator<Item = (&Arc<str>, CatalogIndex)> {
        self.services.iter().filter(|(_, e)| e.hot.is_none()).map(|(name, e)| (name, e.index))
    }

    /// Whether the service is cold.
    pub(super) fn is_cold(&self, name: &str) -> bool {
        self.services.get(name).is_some_and(|entry| entry.hot.is_none())
    }

    /// The index of the last answer on the service.
    pub(super) fn index(&self, name: &str) -> CatalogIndex {
        self.services.get(name).map(|entry| entry.index).unwrap_or_default()
    }

    /// The cold services with an instance on this node.
    pub(super) fn cold_on(&self, node: &str) -> Vec<Arc<str>> {
        let on = |entry: &Entry| entry.hot.is_none() && entry.nodes.contains(node);
        self.services.iter().filter(|(_, e)| on(e)).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(places: usize, names: &[&str]) -> Roster {
        let mut roster = Roster::new(places);
        for name in names {
            roster.insert(Arc::from(*name));
        }
        roster
    }

    fn cold(roster: &Roster) -> Vec<&str> {
        roster.cold().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn the_first_services_are_hot_and_the_rest_cold() {
        assert_eq!(cold(&roster(2, &["a", "b", "c", "d"])), ["c", "d"]);
        assert!(!roster(2, &["a", "b"]).any_cold());
    }

    #[test]
    fn a_changed_service_takes_the_place_of_the_quietest() {
        let mut roster = roster(2, &["a", "b", "c"]);
        let index = CatalogIndex::new(7).unwrap();
        roster.answered("c", index, ["n1"]);
        assert_eq!(roster.changed(&"a".into()), None);

        let swap = roster.changed(&"c".into());

        assert_eq!(swap, Some(Swap { promote: ("c".into(), index), demote: Some("b".into()) }));
        assert_eq!(cold(&roster), ["b"]);
    }

    #[test]
    fn a_place_that_becomes_free_is_taken() {
        let mut roster = roster(1, &["a", "b"]);
        let swap = roster.remove(&"a".into());
        let promote = ("b".into(), CatalogIndex::START);
        assert_eq!(swap, Some(Swap { promote, demote: None }));
        assert!(!roster.any_cold());
        assert_eq!(roster.remove(&"unknown".into()), None);
    }

    #[test]
    fn a_nodes_services_are_found_among_the_cold() {
        let mut roster = roster(1, &["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            roster.answered(name, CatalogIndex::START, if name == "c" { ["n2"] } else { ["n1"] });
        }
        assert_eq!(roster.cold_on("n1"), ["b".into()]);
    }
}
