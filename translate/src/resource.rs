//! Resources: named, versioned by content, encoded once.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::Kind;

/// An encoded resource. Equal ones are shared by all scopes that have them.
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Its name, unique within the type for one proxy.
    pub name: Arc<str>,
    /// The 128-bit xxh3 hash of the body.
    pub version: u128,
    /// The encoded message.
    pub body: Bytes,
    form: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Resource {
    /// A resource, versioned by its content.
    pub fn new(kind: Kind, name: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let version = xxh3_128(&body);
        Self { kind, name: name.into(), version, body, form: OnceLock::new() }
    }

    /// What the server makes of this resource once, for all streams that send
    /// it: the first call's `make` decides. `None` when that was another type.
    pub fn form<T: Send + Sync + 'static>(
        &self,
        make: impl FnOnce(&Self) -> Arc<T>,
    ) -> Option<Arc<T>> {
        self.form.get_or_init(|| make(self)).clone().downcast().ok()
    }

    /// What it adds to the version of a set: depends on name and content, so
    /// that a set's version is the wrapping sum over its resources.
    pub fn weight(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&self.version.to_le_bytes());
        hash.update(self.name.as_bytes());
        hash.digest128()
    }
}

/// By type, name and content.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.version, &self.name) == (other.kind, other.version, &other.name)
            && self.body == other.body
    }
}

impl Eq for Resource {}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("version", &format_args!("{:032x}", self.version))
            .finish_non_exhaustive()
    }
}

/// Below this many entries the table of an [`Interner`] is not swept.
const SWEEP_FLOOR: usize = 1024;

/// Finds the resource that exists already. It keeps none alive.
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
    fn a_form_is_made_once() {
        let resource = resource("a", "1");
        let first = resource.form(|_| Arc::new(1_u8));
        assert_eq!(
            (first, resource.form(|_| Arc::new(2_u8))),
            (Some(Arc::new(1)), Some(Arc::new(1)))
        );
        assert_eq!(resource.form(|_| Arc::new("other")), None);
    }
}
