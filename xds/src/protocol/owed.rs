//! What a client is to be told, of one type.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Moment;
use crate::names::{Name, collection};
use crate::resource::Resource;

/// The moment of which every stream begins.
const BEGINNING: Moment = 1;

/// Why a name is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The view has something else under it than before.
    Changed,
    /// The client asked, or waits for it: it is answered at once, even if
    /// there is nothing.
    Requested,
}

/// Names to be read from the view and told to the client, merged over any time.
#[derive(Debug, Default)]
pub(super) struct Owed {
    everything: Option<Everything>,
    requested: BTreeSet<Name>,
    /// None of those requested is among them.
    changed: BTreeSet<Name>,
    /// The moment of the oldest of it, for others that may refer to it.
    since: Option<Moment>,
    change: Option<Change>,
}

/// Changes that nobody asked for, as they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// The moment of the newest. Content is read when it is sent, so that it may
    /// refer to whatever there has been until then.
    pub(super) newest: Moment,
    /// Since when the first of them waits.
    pub(super) since: Instant,
}

/// The whole listing, from some name on, for either reason or both.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub(super) after: Option<Name>,
    changed: bool,
    requested: bool,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.everything.is_none() && self.requested.is_empty() && self.changed.is_empty()
    }

    /// Whether the client asked, or waits for some of it.
    pub(super) fn requested(&self) -> bool {
        !self.requested.is_empty() || self.everything.as_ref().is_some_and(|all| all.requested)
    }

    /// Whether the client asked, or waits for this name.
    pub(super) fn asks_for_name(&self, name: &str) -> bool {
        self.requested.contains(name)
    }

    /// Whether a change of this name is owed that nobody asked for.
    pub(super) fn changed(&self, name: &str) -> bool {
        self.changed.contains(name)
    }

    pub(super) fn len(&self) -> usize {
        self.requested.len() + self.changed.len() + usize::from(self.everything.is_some())
    }

    /// The moment from which on something is owed.
    pub(super) fn since(&self) -> Option<Moment> {
        self.since
    }

    /// The changes owed that nobody asked for.
    pub(super) fn change(&self) -> Option<Change> {
        self.change
    }

    pub(super) fn everything(&mut self, why: Why, moment: Moment, now: Instant) {
        let everything = self.everything.get_or_insert_default();
        everything.after = None;
        match why {
            Why::Requested => everything.requested = true,
            Why::Changed => everything.changed = true,
        }
        self.mark(why, moment, now);
    }

    pub(super) fn name(&mut self, name: Name, why: Why, moment: Moment, now: Instant) {
        match why {
            Why::Changed if self.requested.contains(&name) => return,
            Why::Changed => self.changed.insert(name),
            Why::Requested => {
                self.changed.remove(&name);
                self.requested.insert(name)
            }
        };
        self.mark(why, moment, now);
        self.settle();
    }

    /// Forgets a name that the client no longer wants, or has.
    pub(super) fn forget(&mut self, name: &str) {
        self.requested.remove(name);
        self.changed.remove(name);
        self.settle();
    }

    /// Forgets the names that the client no longer wants.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.requested.retain(|name| wanted(name));
        self.changed.retain(|name| wanted(name));
        self.settle();
    }

    pub(super) fn forget_everything(&mut self) {
        self.everything = None;
        self.settle();
    }

    pub(super) fn clear(&mut self) {
        *self = Owed::default();
    }

    /// Whether the client asked for a resource, by any of its names.
    pub(super) fn asks_for(&self, resource: &Resource) -> bool {
        let named = |name: &str| self.asks_for_name(name);
        self.everything.as_ref().is_some_and(|all| all.requested)
            || named(resource.name())
            || resource.aliases().iter().any(|alias| named(alias))
            || collection(resource.name()).is_some_and(|all| named(&all))
    }

    /// All that was asked for was answered; what changed is left.
    pub(super) fn answered(&mut self) {
        self.requested.clear();
        self.everything.take_if(|everything| !everything.changed);
        if let Some(everything) = &mut self.everything {
            everything.requested = false;
        }
        self.settle();
    }

    pub(super) fn has_everything(&self) -> bool {
        self.everything.is_some()
    }

    pub(super) fn take_everything(&mut self) -> Option<Everything> {
        self.everything.take()
    }

    pub(super) fn resume(&mut self, everything: Everything) {
        self.everything = Some(everything);
    }

    /// Takes out a name, of those that changed only if they may be sent.
    pub(super) fn pop(&mut self, forward: bool) -> Option<(Name, Why)> {
        if let Some(name) = self.requested.pop_first() {
            return Some((name, Why::Requested));
        }
        let name = if forward { self.changed.pop_first() } else { None };
        name.map(|name| (name, Why::Changed))
    }

    pub(super) fn put_back(&mut self, name: Name, why: Why) {
        match why {
            Why::Changed => self.changed.insert(name),
            Why::Requested => self.requested.insert(name),
        };
    }

    /// To be called when names were taken out.
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            self.since = None;
        }
        if self.changed.is_empty() && !self.everything.as_ref().is_some_and(|all| all.changed) {
            self.change = None;
        }
    }

    fn mark(&mut self, why: Why, moment: Moment, now: Instant) {
        match why {
            // The client may have nothing of it, and what changed ever may refer to it.
            Why::Requested => self.since = Some(BEGINNING),
            Why::Changed => {
                self.since.get_or_insert(moment);
                let change = self.change.get_or_insert(Change { newest: moment, since: now });
                change.newest = change.newest.max(moment);
            }
        }
    }
}
