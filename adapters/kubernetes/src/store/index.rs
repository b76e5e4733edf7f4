//! Which objects a name leads to.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Several values under one key, in order, each once. One or few are the rule, so
/// they are kept in a vector.
#[derive(Debug)]
pub(crate) struct Index<K, V>(HashMap<K, Vec<V>>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord> Index<K, V> {
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let values = self.0.entry(key).or_insert_with(|| Vec::with_capacity(1));
        if let Err(at) = values.binary_search(&value) {
            values.insert(at, value);
        }
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q, value: &V)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(values) = self.0.get_mut(key) else { return };
        if let Ok(at) = values.binary_search(value) {
            values.remove(at);
        }
        if values.is_empty() {
            self.0.remove(key);
        }
    }

    /// The values of a key, in order.
    pub(crate) fn get<Q>(&self, key: &Q) -> &[V]
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_order_and_once_and_nothing_is_left_behind() {
        let mut index = Index::default();
        for value in [2, 1, 2] {
            index.insert("a", value);
        }
        assert_eq!((index.get("a"), index.get("b")), (&[1, 2][..], &[][..]));
        for value in [1, 2, 3] {
            index.remove("a", &value);
        }
        assert!(index.is_empty());
    }
}
