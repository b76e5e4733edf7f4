//! Equal values share memory.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

const PARTS: usize = 16;
/// A part is not swept before it holds this many values.
const FEW: usize = 64;

/// A set of values of which each is kept once, as long as somebody uses it.
///
/// A hundred thousand endpoints name a few clusters, nodes, port names and sets
/// of labels, and every adapter, every update and every request makes them anew.
/// Who shares them needs a third of the memory, and compares pointers.
pub(crate) struct Pool<T> {
    /// Seeded, since names come from strangers.
    hasher: RandomState,
    parts: [Mutex<Part<T>>; PARTS],
}

struct Part<T> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: Hash + Eq> Pool<T> {
    pub(crate) fn new() -> Self {
        let part = || Mutex::new(Part { known: HashSet::new(), sweep_at: FEW });
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| part()) }
    }

    /// The one value that equals this one.
    pub(crate) fn share(&self, value: T) -> Arc<T> {
        let part = usize::try_from(self.hasher.hash_one(&value) % PARTS as u64);
        let part = &self.parts[part.expect("fewer than sixteen")];
        // A panic elsewhere cannot leave a set half changed.
        part.lock().unwrap_or_else(PoisonError::into_inner).share(value)
    }
}

impl<T: Hash + Eq> Part<T> {
    fn share(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.sweep();
        }
        let shared = Arc::new(value);
        self.known.insert(shared.clone());
        shared
    }

    /// Forgets what nobody else uses. What stays at least doubles before the next
    /// time, so that a value costs its part of a sweep once.
    fn sweep(&mut self) {
        self.known.retain(|value| Arc::strong_count(value) > 1);
        self.known.shrink_to_fit();
        self.sweep_at = FEW.max(self.known.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let pool = Pool::new();
        let kept = pool.share("kept".to_owned());
        for i in 0..100_000 {
            pool.share(i.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &pool.share("kept".to_owned())));
        let held: usize = pool.parts.iter().map(|part| part.lock().unwrap().known.len()).sum();
        assert!(held <= PARTS * (FEW + 1), "{held} of which one is used");
    }
}
