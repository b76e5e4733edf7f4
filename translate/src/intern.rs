//! One of each: equal resources and equal parts of resources are found again.
//!
//! Invariant: a table keeps no resource alive, and of parts at most as many that
//! nobody uses as there are others.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Kind, Resource};

/// Below this many entries a table is not swept.
const SWEEP_FLOOR: usize = 1024;

/// Finds the resource that exists already.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    known: FxHashMap<(Kind, u128), Weak<Resource>>,
    sweep_at: usize,
}

impl Interner {
    /// The one resource of this type, name and content.
    pub(crate) fn intern(&mut self, resource: Resource) -> Arc<Resource> {
        let key = (resource.kind, resource.weight());
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade)
            && *known == resource
        {
            return known;
        }
        self.sweep();
        let resource = Arc::new(resource);
        self.known.insert(key, Arc::downgrade(&resource));
        resource
    }

    /// How many resources are alive.
    pub(crate) fn alive(&self) -> usize {
        self.known.values().filter(|known| known.strong_count() > 0).count()
    }

    /// Forgets the dead when the table has doubled since the last time, which
    /// costs each insertion a constant time on average.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at.max(SWEEP_FLOOR) {
            self.known.retain(|_, known| known.strong_count() > 0);
            self.sweep_at = 2 * self.known.len();
        }
    }
}

/// Finds the part of a message that exists already: most virtual hosts are the
/// same for clients of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    known: FxHashMap<u128, Bytes>,
    sweep_at: usize,
}

impl Parts {
    /// The one part of this content.
    pub(crate) fn share(&mut self, part: Vec<u8>) -> Bytes {
        let key = xxh3_128(&part);
        if let Some(known) = self.known.get(&key)
            && *known == part
        {
            return known.clone();
        }
        self.sweep();
        let part = Bytes::from(part);
        self.known.insert(key, part.clone());
        part
    }

    /// As [`Interner::sweep`].
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at.max(SWEEP_FLOOR) {
            self.known.retain(|_, known| !known.is_unique());
            self.sweep_at = 2 * self.known.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, body: &'static str) -> Resource {
        Resource::new(Kind::Cluster, name, body)
    }

    #[test]
    fn equal_resources_are_one_and_die_with_their_last_user() {
        let mut interner = Interner::default();
        let first = interner.intern(resource("a", "1"));
        assert!(Arc::ptr_eq(&first, &interner.intern(resource("a", "1"))));
        assert!(!Arc::ptr_eq(&first, &interner.intern(resource("b", "1"))));
        assert_eq!(interner.alive(), 1);
        drop(first);
        assert_eq!(interner.alive(), 0);
    }

    #[test]
    fn the_dead_are_forgotten() {
        let mut interner = Interner::default();
        for n in 0..10 * SWEEP_FLOOR {
            interner.intern(resource(&n.to_string(), "1"));
        }
        assert!(interner.known.len() <= SWEEP_FLOOR);
    }

    #[test]
    fn equal_parts_are_one_and_those_that_nobody_uses_are_forgotten() {
        let mut parts = Parts::default();
        let kept = parts.share(b"kept".to_vec());
        for n in 0..10 * SWEEP_FLOOR {
            parts.share(n.to_string().into_bytes());
        }
        assert!(parts.known.len() <= SWEEP_FLOOR);
        assert_eq!(parts.share(b"kept".to_vec()).as_ptr(), kept.as_ptr());
    }
}
