//! A bounded map whose entries are forgotten after a time.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A bounded map whose entries are forgotten after a time; when it is full, the
/// oldest goes.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    held: HashMap<K, (V, Instant)>,
    /// By age; a key occurs as often as it was put.
    order: VecDeque<K>,
    most: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// Holds at most so many, which must not be none.
    pub(crate) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), order: VecDeque::new(), most }
    }

    /// What is held and still good.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (value, until) = self.held.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Holds a value for so long.
    pub(crate) fn put(&mut self, key: K, value: V, now: Instant, span: Duration) {
        while self.order.len() >= self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.held.remove(&oldest);
            }
        }
        self.order.push_back(key.clone());
        self.held.insert(key, (value, now + span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn an_entry_is_forgotten_after_its_time() {
        let now = Instant::now();
        let mut cache = Cache::new(8);
        cache.put("a", 1, now, SPAN);
        assert_eq!(cache.get(&"a", now), Some(1));
        assert_eq!(cache.get(&"a", now + SPAN), None);
    }

    #[test]
    fn however_much_is_put_it_holds_no_more_than_it_may() {
        let now = Instant::now();
        let mut cache = Cache::new(3);
        for key in 0..1000 {
            cache.put(key % 7, key, now, SPAN);
            cache.put(key % 7, key, now, SPAN);
            assert!(cache.held.len() <= 3 && cache.order.len() <= 3);
        }
        assert_eq!(cache.get(&(999 % 7), now), Some(999));
    }
}
