//! A map that is cheap to copy and cheap to change.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

const SHARDS: usize = 1024;

type Shard<K, V> = Option<Arc<FxHashMap<K, V>>>;

/// A copy-on-write hash map in 1,024 shared parts: a clone copies one pointer, a
/// change copies the pointers of the parts and the one part that it touches.
///
/// Iteration has no order; who needs one sorts.
pub struct Shards<K, V> {
    shards: Arc<[Shard<K, V>]>,
    len: usize,
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), len: self.len }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| None).collect(), len: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shards.iter().flatten().flat_map(|shard| shard.iter())).finish()
    }
}

fn shard_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    // The top bits: the map inside a shard uses the lower ones.
    (FxBuildHasher.hash_one(key) >> 54) as usize % SHARDS
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards[shard_of(key)].as_ref()?.get(key)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Sets the value of `key`; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = shard_of(&key);
        let shard = Arc::make_mut(&mut self.shards)[index].get_or_insert_default();
        let before = Arc::make_mut(shard).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes `key`; returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = shard_of(key);
        if !self.shards[index].as_ref()?.contains_key(key) {
            return None;
        }
        let slot = &mut Arc::make_mut(&mut self.shards)[index];
        let before = Arc::make_mut(slot.as_mut()?).remove(key);
        if slot.as_ref().is_some_and(|shard| shard.is_empty()) {
            *slot = None;
        }
        self.len -= usize::from(before.is_some());
        before
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for Shards<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut shards = Self::default();
        for (key, value) in entries {
            shards.insert(key, value);
        }
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn shards_behave_as_a_map_and_copies_do_not_change(
            changes in prop::collection::vec((0u16..500, prop::option::of(0u8..9)), 0..400),
        ) {
            let (mut shards, mut map) = (Shards::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (key, value) in changes {
                let (a, b) = match value {
                    Some(value) => (shards.insert(key, value), map.insert(key, value)),
                    None => (shards.remove(&key), map.remove(&key)),
                };
                prop_assert_eq!(a, b);
                prop_assert_eq!(shards.len(), map.len());
                copies.push((shards.clone(), map.clone()));
            }
            for (shards, map) in copies {
                let all: BTreeMap<u16, u8> = shards.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(all, map);
            }
        }
    }
}
