//! Interned sets of names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use xxhash_rust::xxh3::Xxh3;

use super::Name;

/// A set of names, shared by everybody who holds an equal one.
///
/// Thousands of proxies subscribe to the same thousand names; they hold one
/// pointer each.
#[derive(Clone)]
pub struct NameSet(Arc<Interned>);

struct Interned {
    hash: u128,
    /// Sorted, without duplicates.
    names: Box<[Name]>,
    /// The same of a large set, where searching would compare many.
    index: FxHashSet<Name>,
}

/// Names from which on a set is indexed.
const LARGE: usize = 16;

static TABLE: LazyLock<Mutex<HashMap<u128, Weak<Interned>>>> = LazyLock::new(Mutex::default);

impl NameSet {
    /// The one set of these names.
    pub fn new(names: impl IntoIterator<Item = Name>) -> NameSet {
        let mut names: Vec<Name> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        NameSet::intern(names)
    }

    fn intern(names: Vec<Name>) -> NameSet {
        let hash = hash_of(names.iter().map(|name| &**name));
        let mut table = TABLE.lock();
        match table.entry(hash) {
            Entry::Occupied(mut held) => {
                if let Some(interned) = held.get().upgrade() {
                    // A collision is not worth more than an unshared set.
                    let shared = *interned.names == *names;
                    drop(table);
                    return if shared { NameSet(interned) } else { NameSet::alone(hash, names) };
                }
                let set = NameSet::alone(hash, names);
                held.insert(Arc::downgrade(&set.0));
                set
            }
            Entry::Vacant(free) => {
                let set = NameSet::alone(hash, names);
                free.insert(Arc::downgrade(&set.0));
                set
            }
        }
    }

    fn alone(hash: u128, names: Vec<Name>) -> NameSet {
        let indexed = if names.len() >= LARGE { &names[..] } else { &[] };
        let index = indexed.iter().cloned().collect();
        NameSet(Arc::new(Interned { hash, names: names.into(), index }))
    }

    /// Whether the name is in the set.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The set's own copy of the name.
    pub fn get(&self, name: &str) -> Option<&Name> {
        if self.0.names.len() >= LARGE {
            return self.0.index.get(name);
        }
        let at = self.0.names.binary_search_by(|held| (**held).cmp(name)).ok()?;
        Some(&self.0.names[at])
    }

    /// The names in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Name> {
        self.0.names.iter()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.names.is_empty()
    }

    /// Whether both are one.
    pub(crate) fn is_same(&self, other: &NameSet) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A hash of the names: a key for what depends on them alone.
    pub fn id(&self) -> u128 {
        self.0.hash
    }
}

/// The empty set.
impl Default for NameSet {
    fn default() -> Self {
        NameSet::intern(Vec::new())
    }
}

impl FromIterator<Name> for NameSet {
    fn from_iter<T: IntoIterator<Item = Name>>(names: T) -> Self {
        NameSet::new(names)
    }
}

impl PartialEq for NameSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0.names == other.0.names
    }
}

impl Eq for NameSet {}

impl fmt::Debug for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Drop for Interned {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        // Somebody may have interned an equal set since the last owner let go.
        if table.get(&self.hash).is_some_and(|held| held.strong_count() == 0) {
            table.remove(&self.hash);
        }
    }
}

/// A hash of names in this order.
pub(crate) fn hash_of<'a>(names: impl IntoIterator<Item = &'a str>) -> u128 {
    let mut hash = Xxh3::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> NameSet {
        names.iter().map(|name| Name::from(*name)).collect()
    }

    #[test]
    fn equal_sets_are_one() {
        let (one, two) =
            (set(&["interned-b", "interned-a"]), set(&["interned-a", "interned-b", "interned-a"]));
        assert!(Arc::ptr_eq(&one.0, &two.0));
        assert_eq!(
            one.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["interned-a", "interned-b"]
        );
        assert!(one.contains("interned-a") && !one.contains("interned-c"));
    }

    #[test]
    fn a_set_that_nobody_holds_is_forgotten() {
        let id = set(&["forgotten"]).id();
        assert!(!TABLE.lock().contains_key(&id));
    }
}
