//! Resources: named, versioned by content, encoded once.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use mainstem_proto::Encoded;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::Kind;

/// An encoded resource. Equal ones are shared by all scopes that have them.
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Its name, unique within the type for one proxy.
    pub name: Arc<str>,
    /// The 64-bit xxh3 hash of the body.
    pub version: u64,
    /// The encoded message.
    pub body: Encoded,
    form: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Resource {
    /// A resource, versioned by its content.
    pub fn new(kind: Kind, name: impl Into<Arc<str>>, body: impl Into<Encoded>) -> Self {
        let body = body.into();
        let version = hash(&body);
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
            .field("version", &format_args!("{:016x}", self.version))
            .finish_non_exhaustive()
    }
}

fn hash(body: &Encoded) -> u64 {
    let [whole] = body.parts() else {
        let mut hash = Xxh3::new();
        body.parts().iter().for_each(|part| hash.update(part));
        return hash.digest();
    };
    xxh3_64(whole)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_version_does_not_depend_on_how_the_body_is_cut() {
        let parts = [Bytes::from("a"), Bytes::from("bc")];
        let [whole, cut] = [Encoded::from("abc"), Encoded::of_parts(parts)]
            .map(|body| Resource::new(Kind::Route, "80", body));
        assert!(whole == cut && whole.version == cut.version);
    }

    #[test]
    fn a_form_is_made_once() {
        let resource = Resource::new(Kind::Cluster, "a", "1");
        let first = resource.form(|_| Arc::new(1_u8));
        assert_eq!(
            (first, resource.form(|_| Arc::new(2_u8))),
            (Some(Arc::new(1)), Some(Arc::new(1)))
        );
        assert_eq!(resource.form(|_| Arc::new("other")), None);
    }
}
