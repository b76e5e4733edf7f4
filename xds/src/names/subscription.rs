//! What one client asked for, of one type.

use std::collections::BTreeSet;

use super::{Name, NameSet, collection};

/// Differences from the shared set beyond which a new one is made.
const REBASE_AT: usize = 32;

/// The names that a client subscribed to, and whether to everything.
///
/// A large set is shared with every client that has the same one; a client's
/// later steps are kept as differences from it. Cloning costs little.
#[derive(Debug, Clone, Default)]
pub struct Subscription {
    wildcard: bool,
    base: NameSet,
    added: BTreeSet<Name>,
    removed: BTreeSet<Name>,
    bytes: usize,
}

impl Subscription {
    /// Exactly these names, and everything if `wildcard`.
    pub fn new(wildcard: bool, names: NameSet) -> Subscription {
        let bytes = names.iter().map(|name| name.len()).sum();
        Subscription { wildcard, base: names, bytes, ..Subscription::default() }
    }

    /// Whether the client asked for everything.
    pub fn wildcard(&self) -> bool {
        self.wildcard
    }

    /// Asks for everything, or no longer. Names are unaffected.
    pub fn set_wildcard(&mut self, wildcard: bool) {
        self.wildcard = wildcard;
    }

    /// Whether the client is to be told about this name: it asked for
    /// everything, for the name, or for the collection that contains it.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard
            || self.contains(name)
            || collection(name).is_some_and(|glob| self.contains(&glob))
    }

    /// Whether the name itself is in the set.
    pub fn contains(&self, name: &str) -> bool {
        self.added.contains(name) || (self.base.contains(name) && !self.removed.contains(name))
    }

    /// Adds names.
    pub fn subscribe(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            if !self.contains(&name) {
                self.bytes += name.len();
                if !self.removed.remove(&name) {
                    self.added.insert(name);
                }
            }
        }
        self.rebase();
    }

    /// Removes a name; whether it was there.
    pub fn unsubscribe(&mut self, name: &str) -> bool {
        if !self.contains(name) {
            return false;
        }
        self.bytes -= name.len();
        if let Some(name) = self.base.get(name) {
            self.removed.insert(name.clone());
            self.rebase();
        } else {
            self.added.remove(name);
        }
        true
    }

    /// Whether neither has changed since one was cloned from the other, as far as
    /// that can be told at a glance.
    pub(crate) fn is_copy_of(&self, other: &Subscription) -> bool {
        let steps = |of: &Subscription| of.added.len() + of.removed.len();
        self.wildcard == other.wildcard
            && self.base.is_same(&other.base)
            && steps(self) + steps(other) == 0
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.base.len() + self.added.len() - self.removed.len()
    }

    /// Bytes of all names together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no name; there may be the wildcard.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names; in order unless some were added lately.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.base.iter().filter(|name| !self.removed.contains(*name)).chain(&self.added)
    }

    /// The names as one shared set.
    pub fn name_set(&mut self) -> &NameSet {
        self.fold();
        &self.base
    }

    fn rebase(&mut self) {
        if self.added.len() + self.removed.len() > REBASE_AT {
            self.fold();
        }
    }

    fn fold(&mut self) {
        if self.added.is_empty() && self.removed.is_empty() {
            return;
        }
        self.base = self.iter().cloned().collect();
        self.added.clear();
        self.removed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<u32>) -> Vec<Name> {
        range.map(|n| format!("{n:04}").into()).collect()
    }

    #[test]
    fn steps_add_up_to_the_same_set_as_asking_at_once() {
        let mut steps = Subscription::default();
        for name in names(0..100) {
            steps.subscribe([name]);
        }
        for name in names(50..100) {
            assert!(steps.unsubscribe(&name));
            assert!(!steps.unsubscribe(&name));
        }
        steps.subscribe(names(98..99));
        assert_eq!(steps.len(), 51);
        assert!(steps.contains("0098") && !steps.contains("0099"));
        assert_eq!(*steps.name_set(), names(0..50).into_iter().chain(names(98..99)).collect());
    }

    #[test]
    fn a_collection_covers_its_members_alone() {
        let mut subscription = Subscription::default();
        subscription.subscribe([Name::from("xdstp://a/t/x/*")]);
        assert!(subscription.covers("xdstp://a/t/x/one"));
        assert!(!subscription.covers("xdstp://a/t/x/y/one"));
        assert!(!subscription.covers("t/x/one"));
    }
}
