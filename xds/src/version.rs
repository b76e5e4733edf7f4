//! Versions: hashes of content.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The version of one resource: a 64-bit hash of its content. Versions are compared
/// under one name only, so that this is long enough.
///
/// Equal content has an equal version on every stream, after every restart and
/// on every replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of an encoded resource.
    pub fn of(body: &[u8]) -> Version {
        Version(xxh3_64(body))
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a version that this server could have given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of 16 hexadecimal digits")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let parsed = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        parsed.map(Version).ok_or_else(|| ParseVersionError(text.to_owned()))
    }
}

/// The version of a set of resources, kept up to date entry by entry.
///
/// It does not depend on the order of insertion: adding what was removed
/// restores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SetVersion(u128);

impl SetVersion {
    /// Adds a resource that the set does not contain.
    pub fn insert(&mut self, name: &str, version: Version) {
        self.0 = self.0.wrapping_add(entry(name, version));
    }

    /// Removes a resource that the set contains in this version.
    pub fn remove(&mut self, name: &str, version: Version) {
        self.0 = self.0.wrapping_sub(entry(name, version));
    }

    /// The version of a set whose sum somebody else keeps: of the 128-bit xxh3
    /// hashes of each resource's version (little-endian) and name.
    pub fn from_sum(sum: u128) -> SetVersion {
        SetVersion(sum)
    }

    /// The version of these resources, each of another name.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, Version)>) -> SetVersion {
        let mut set = SetVersion::default();
        for (name, version) in entries {
            set.insert(name, version);
        }
        set
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn entry(name: &str, version: Version) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&version.0.to_le_bytes());
    hash.update(name.as_bytes());
    hash.digest128()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_version_survives_its_text() {
        let version = Version::of(b"content");
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        assert!("+0000000000000000000000000000001".parse::<Version>().is_err());
    }

    #[test]
    fn a_set_version_ignores_order_and_history() {
        let (a, b) = (("a", Version(1)), ("b", Version(2)));
        let mut set = SetVersion::of([b, a]);
        set.insert("c", Version(3));
        set.remove("c", Version(3));
        assert_eq!(set, SetVersion::of([a, b]));
        assert_ne!(set, SetVersion::of([("a", Version(2)), ("b", Version(1))]));
    }
}
