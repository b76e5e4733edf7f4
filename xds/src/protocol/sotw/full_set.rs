//! Complete sets of resources, as listeners and clusters are sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::names::{Name, TypeUrl};
use crate::resource::Resource;
use crate::version::SetVersion;

/// Resources of one type in order of names, and the version of all together.
pub(super) struct FullSet {
    pub(super) version: SetVersion,
    pub(super) resources: Box<[Arc<Resource>]>,
}

impl FullSet {
    pub(super) fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> FullSet {
        let mut resources: Vec<Arc<Resource>> = resources.into_iter().collect();
        if !resources.is_sorted_by(|a, b| a.name() < b.name()) {
            resources.sort_unstable_by(|a, b| a.name().cmp(b.name()));
            resources.dedup_by(|a, b| a.name() == b.name());
        }
        let version = SetVersion::of(
            resources.iter().map(|resource| (&**resource.name(), resource.version())),
        );
        FullSet { version, resources: resources.into() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let at = self.resources.binary_search_by(|resource| (**resource.name()).cmp(name)).ok()?;
        Some(&self.resources[at])
    }

    /// What differs from an earlier set: each name with its resource before and now.
    pub(super) fn diff<'a>(&'a self, before: &'a FullSet) -> Vec<Difference<'a>> {
        let mut differences = Vec::new();
        let (mut old, mut new) =
            (before.resources.iter().peekable(), self.resources.iter().peekable());
        loop {
            let (was, is) = match (old.peek(), new.peek()) {
                (None, None) => return differences,
                (Some(was), Some(is)) if was.name() == is.name() => (old.next(), new.next()),
                (Some(was), Some(is)) if was.name() < is.name() => (old.next(), None),
                (Some(_), None) => (old.next(), None),
                _ => (None, new.next()),
            };
            let same = matches!((was, is), (Some(was), Some(is)) if Arc::ptr_eq(was, is) || was.version() == is.version());
            if !same {
                differences.push(Difference { was, is });
            }
        }
    }
}

/// Without the resources, of which there may be thousands.
impl fmt::Debug for FullSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FullSet({} of {})", self.version, self.resources.len())
    }
}

/// One name whose resource is another one, or none, in a later set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Difference<'a> {
    pub(super) was: Option<&'a Arc<Resource>>,
    pub(super) is: Option<&'a Arc<Resource>>,
}

impl Difference<'_> {
    pub(super) fn name(&self) -> &Name {
        let either = self.is.or(self.was).expect("a difference has a side");
        either.name()
    }
}

/// The sets that clients of one source hold, each kept once.
#[derive(Debug, Default)]
pub struct FullSets {
    by_version: Mutex<HashMap<(TypeUrl, SetVersion), Weak<FullSet>>>,
}

impl FullSets {
    /// The set of that version, built unless somebody holds it already.
    pub(super) fn get_or_build(
        &self,
        type_url: &TypeUrl,
        version: SetVersion,
        build: impl FnOnce() -> FullSet,
    ) -> Arc<FullSet> {
        let held = self.by_version.lock().get(&(type_url.clone(), version)).and_then(Weak::upgrade);
        held.unwrap_or_else(|| self.share(type_url, build()))
    }

    /// The shared set that equals this one.
    pub(super) fn share(&self, type_url: &TypeUrl, set: FullSet) -> Arc<FullSet> {
        let mut by_version = self.by_version.lock();
        let key = (type_url.clone(), set.version);
        if let Some(held) = by_version.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        // Dead entries are swept when they could make up half of the table.
        if by_version.len() == by_version.capacity() {
            by_version.retain(|_, held| held.strong_count() > 0);
        }
        let set = Arc::new(set);
        match by_version.entry(key) {
            Entry::Occupied(mut dead) => {
                dead.insert(Arc::downgrade(&set));
            }
            Entry::Vacant(free) => {
                free.insert(Arc::downgrade(&set));
            }
        };
        set
    }
}
