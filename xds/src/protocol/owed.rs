//! What a client is to be told, of one type.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Moment;
use crate::names::Name;

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
    names: BTreeMap<Name, Why>,
    /// When the oldest of it became owed.
    since: Option<(Moment, Instant)>,
    requested: bool,
}

/// The whole listing, from some name on.
#[derive(Debug, Clone, Default)]
pub(super) struct Everything {
    pub(super) after: Option<Name>,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.everything.is_none() && self.names.is_empty()
    }

    /// Whether the client asked, or waits for some of it.
    pub(super) fn requested(&self) -> bool {
        self.requested
    }

    pub(super) fn len(&self) -> usize {
        self.names.len() + usize::from(self.everything.is_some())
    }

    /// The moment from which on something is owed.
    pub(super) fn since(&self) -> Option<Moment> {
        self.since.map(|(moment, _)| moment)
    }

    /// Since when changes are owed that nobody asked for.
    pub(super) fn waiting(&self) -> Option<(Moment, Instant)> {
        self.since.filter(|_| !self.requested)
    }

    pub(super) fn everything(&mut self, why: Why, moment: Moment, now: Instant) {
        self.everything = Some(Everything::default());
        self.mark(why, moment, now);
    }

    pub(super) fn name(&mut self, name: Name, why: Why, moment: Moment, now: Instant) {
        let held = self.names.entry(name).or_insert(why);
        *held = why.max(*held);
        self.mark(why, moment, now);
    }

    /// Forgets a name that the client no longer wants.
    pub(super) fn forget(&mut self, name: &str) {
        self.names.remove(name);
        self.settle();
    }

    /// Forgets the names that the client no longer wants.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.names.retain(|name, _| wanted(name));
        self.settle();
    }

    /// Since when something is owed.
    pub(super) fn mark_of(&self) -> Option<(Moment, Instant)> {
        self.since
    }

    pub(super) fn forget_everything(&mut self) {
        self.everything = None;
        self.settle();
    }

    pub(super) fn clear(&mut self) {
        *self = Owed::default();
    }

    pub(super) fn take_everything(&mut self) -> Option<Everything> {
        self.everything.take()
    }

    pub(super) fn resume(&mut self, everything: Everything) {
        self.everything = Some(everything);
    }

    pub(super) fn pop(&mut self) -> Option<(Name, Why)> {
        self.names.pop_first()
    }

    pub(super) fn put_back(&mut self, name: Name, why: Why) {
        self.names.insert(name, why);
    }

    /// To be called when names were taken out.
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            self.since = None;
            self.requested = false;
        }
    }

    fn mark(&mut self, why: Why, moment: Moment, now: Instant) {
        self.since.get_or_insert((moment, now));
        self.requested |= why == Why::Requested;
    }
}
