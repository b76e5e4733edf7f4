//! A set that nearly always has one member.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::slice;
use std::sync::Arc;

use crate::Shards;

/// One key, or several in order; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Few<K> {
    One(K),
    Many(Arc<[K]>),
}

impl<K: Ord + Clone> Few<K> {
    fn of(keys: BTreeSet<K>) -> Option<Self> {
        match keys.len() {
            0 => None,
            1 => keys.into_iter().next().map(Self::One),
            _ => Some(Self::Many(keys.into_iter().collect())),
        }
    }

    /// The keys, in order.
    pub(super) fn iter(&self) -> slice::Iter<'_, K> {
        match self {
            Self::One(key) => slice::from_ref(key).iter(),
            Self::Many(keys) => keys.iter(),
        }
    }
}

/// An index from `At` to few keys.
pub(super) type Listing<At, K> = Shards<At, Few<K>>;

impl<At: Hash + Eq + Clone, K: Ord + Clone> Listing<At, K> {
    /// Lists `key` at `at`.
    pub(super) fn list(&mut self, at: At, key: &K) {
        let others = self.get(&at).into_iter().flat_map(Few::iter).cloned();
        let all = Few::of(others.chain([key.clone()]).collect());
        self.insert(at, all.expect("one key was just added"));
    }

    /// Lists `key` at `at` no longer.
    pub(super) fn unlist(&mut self, at: &At, key: &K) {
        let Some(listed) = self.get(at) else { return };
        match Few::of(listed.iter().filter(|other| *other != key).cloned().collect()) {
            Some(rest) => drop(self.insert(at.clone(), rest)),
            None => drop(self.remove(at)),
        }
    }

    /// The keys at `at`, in order.
    pub(super) fn listed(&self, at: &At) -> slice::Iter<'_, K> {
        self.get(at).map_or([].iter(), Few::iter)
    }
}
