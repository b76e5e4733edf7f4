//! A map that is cheap to copy and cheap to change.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::slice;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

/// How many entries share a bucket before it is split in four.
const BUCKET: usize = 12;
/// Four ways at each branch: the hash's two lowest unused bits.
const WAYS: usize = 4;
const BITS: u32 = 2;
/// Where the hash is used up, buckets grow instead of splitting.
const DEEPEST: u32 = u64::BITS / BITS;

/// A persistent hash map: a clone copies one pointer; a change copies the one
/// bucket that it touches and the short path to it, so that its cost hardly
/// depends on the map's size, and shares everything else with earlier copies.
/// No change ever moves the whole map.
///
/// Iteration has no order; who needs one sorts.
pub struct Shards<K, V> {
    root: Node<K, V>,
    len: usize,
}

enum Node<K, V> {
    Empty,
    Bucket(Arc<[(K, V)]>),
    Branch(Arc<[Node<K, V>; WAYS]>),
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Bucket(entries) => Self::Bucket(entries.clone()),
            Self::Branch(children) => Self::Branch(children.clone()),
        }
    }
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { root: Node::Empty, len: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Entries::of(&self.root)).finish()
    }
}

fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    FxBuildHasher.hash_one(key)
}

fn way(hash: u64, depth: u32) -> usize {
    // In FxHash the lowest bits are the well-mixed ones.
    usize::from((hash >> (depth * BITS)).to_le_bytes()[0]) % WAYS
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut hash = hash_of(key);
        let mut node = &self.root;
        while let Node::Branch(children) = node {
            node = &children[way(hash, 0)];
            hash >>= BITS;
        }
        let Node::Bucket(entries) = node else { return None };
        entries.iter().find(|(own, _)| own.borrow() == key).map(|(_, value)| value)
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
        Entries::of(&self.root)
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The keys that only one of both has, in no order. What they share costs nothing.
    pub fn unshared_keys(&self, other: &Self) -> Vec<K> {
        let mut keys = Vec::new();
        self.root.unshared(&other.root, &mut keys);
        keys
    }

    /// Sets the value of `key`; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.root.insert(hash_of(&key), 0, key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes `key`; returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // A miss must copy nothing.
        let before = self.get(key)?.clone();
        self.root.remove(hash_of(key), key);
        self.len -= 1;
        Some(before)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Node<K, V> {
    fn insert(&mut self, hash: u64, depth: u32, key: K, value: V) -> Option<V> {
        match self {
            Self::Empty => *self = Self::Bucket(Arc::from([(key, value)])),
            Self::Branch(children) => {
                let child = &mut Arc::make_mut(children)[way(hash, depth)];
                return child.insert(hash, depth + 1, key, value);
            }
            Self::Bucket(entries) => {
                if let Some(at) = entries.iter().position(|(own, _)| *own == key) {
                    return Some(std::mem::replace(&mut Arc::make_mut(entries)[at].1, value));
                }
                let longer = entries.iter().cloned().chain([(key, value)]).collect();
                *self = Self::of(longer, depth);
            }
        }
        None
    }

    fn unshared(&self, other: &Self, keys: &mut Vec<K>) {
        match (self, other) {
            (Self::Bucket(a), Self::Bucket(b)) if Arc::ptr_eq(a, b) => {}
            (Self::Branch(a), Self::Branch(b)) if Arc::ptr_eq(a, b) => {}
            (Self::Branch(a), Self::Branch(b)) => {
                a.iter().zip(b.iter()).for_each(|(a, b)| a.unshared(b, keys));
            }
            // One of them is a bucket at most, so short.
            (a, b) => {
                for (these, those) in [(a, b), (b, a)] {
                    let has = |key: &K| Entries::of(those).any(|(other, _)| other == key);
                    let own = Entries::of(these).map(|(key, _)| key);
                    keys.extend(own.filter(|key| !has(key)).cloned());
                }
            }
        }
    }

    /// A bucket of `entries`, or a branch where they are too many for one.
    fn of(entries: Vec<(K, V)>, depth: u32) -> Self {
        if entries.is_empty() {
            return Self::Empty;
        }
        if entries.len() <= BUCKET || depth >= DEEPEST {
            return Self::Bucket(entries.into());
        }
        let mut parts: [Vec<(K, V)>; WAYS] = Default::default();
        for entry in entries {
            parts[way(hash_of(&entry.0), depth)].push(entry);
        }
        Self::Branch(Arc::new(parts.map(|part| Self::of(part, depth + 1))))
    }

    fn remove<Q: Hash + Eq + ?Sized>(&mut self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Empty => {}
            Self::Bucket(entries) => {
                let rest = entries.iter().filter(|(own, _)| own.borrow() != key).cloned();
                *self = Self::of(rest.collect(), DEEPEST);
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                children[way(hash, 0)].remove(hash >> BITS, key);
                if let Some(few) = Self::few(children) {
                    *self = Self::of(few, DEEPEST);
                }
            }
        }
    }

    /// All entries below, where they fit in half a bucket. Half, so that a key
    /// that comes and goes does not split and join each time.
    fn few(children: &[Self]) -> Option<Vec<(K, V)>> {
        let mut all = 0;
        for child in children {
            all += match child {
                Self::Empty => 0,
                Self::Bucket(entries) => entries.len(),
                Self::Branch(_) => return None,
            };
        }
        let below = || children.iter().flat_map(Entries::of);
        (all <= BUCKET / 2).then(|| below().map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

/// The entries below a node.
struct Entries<'a, K, V> {
    bucket: slice::Iter<'a, (K, V)>,
    todo: Vec<&'a Node<K, V>>,
}

impl<'a, K, V> Entries<'a, K, V> {
    fn of(node: &'a Node<K, V>) -> Self {
        Self { bucket: [].iter(), todo: vec![node] }
    }
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.bucket.next() {
                return Some((key, value));
            }
            match self.todo.pop()? {
                Node::Empty => {}
                Node::Bucket(entries) => self.bucket = entries.iter(),
                Node::Branch(children) => self.todo.extend(children.iter()),
            }
        }
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

    /// All keys have one hash.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Colliding(u16);

    impl Hash for Colliding {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    #[test]
    fn keys_of_one_hash_stand_side_by_side() {
        let mut shards: Shards<_, _> = (0..100).map(|i| (Colliding(i), i)).collect();
        assert!((0..100).all(|i| shards.get(&Colliding(i)) == Some(&i)));
        for i in 0..100 {
            assert_eq!(shards.remove(&Colliding(i)), Some(i));
        }
        assert!(shards.is_empty() && shards.iter().next().is_none());
    }

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
            let (last, now) = (&shards, map);
            for (shards, map) in &copies {
                let mut unshared = shards.unshared_keys(last);
                unshared.sort_unstable();
                let only = |key: &&u16| map.contains_key(key) != now.contains_key(key);
                let keys: std::collections::BTreeSet<_> = map.keys().chain(now.keys()).collect();
                prop_assert_eq!(unshared, keys.into_iter().filter(only).copied().collect::<Vec<_>>());
            }
            for (shards, map) in copies {
                let all: BTreeMap<u16, u8> = shards.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(all, map);
            }
        }
    }
}
