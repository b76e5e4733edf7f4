//! One delta response being put together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::kind::Removal;
use crate::names::Name;
use crate::protocol::heartbeat::Beat;
use crate::protocol::wire::Message;
use crate::resource::{Resource, bodiless};
use crate::source::ResourceFailure;
use crate::version::Version;

/// What a response brought: mostly one resource, since a change is mostly of one.
pub(super) type Sent = SmallVec<[(Name, Version); 1]>;

/// Resources and removals of one response; no name twice.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) message: Message,
    pub(super) sent: Sent,
    pub(super) removed: Vec<Name>,
    pub(super) errors: Vec<(Name, ResourceFailure)>,
    /// What clients wait for because of the resources sent.
    pub(super) referred: Vec<Name>,
    /// To be sent even if there is nothing in it.
    pub(super) greeting: bool,
    /// Names in it, apart from the sorted head of `sent`: the first, and all others.
    first: Option<Name>,
    seen: BTreeSet<Name>,
    sorted: usize,
    room: usize,
}

impl Draft {
    pub(super) fn new(room: usize) -> Draft {
        Draft { room, ..Draft::default() }
    }

    /// Whether the next resource belongs into another response.
    pub(super) fn full(&self) -> bool {
        self.message.len() >= self.room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.message.is_empty()
            && self.removed.is_empty()
            && self.errors.is_empty()
            && !self.greeting
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.first.as_ref().is_some_and(|first| **first == *name)
            || self.seen.contains(name)
            || self.sent[..self.sorted].binary_search_by(|(sent, _)| (**sent).cmp(name)).is_ok()
    }

    /// Adds a resource of a listing: names rise from call to call, and
    /// [`add`](Self::add) is not called before the last of them.
    pub(super) fn add_listed(&mut self, resource: &Arc<Resource>) {
        self.push(resource);
        self.sorted = self.sent.len();
    }

    /// Adds a resource unless it is there.
    pub(super) fn add(&mut self, resource: &Arc<Resource>) {
        if !self.contains(resource.name()) {
            self.note(resource.name());
            self.push(resource);
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        if !self.contains(name) {
            self.note(name);
            self.removed.push(name.clone());
        }
    }

    /// Says that an alias names nothing.
    pub(super) fn add_nothing(&mut self, alias: &Name) {
        if !self.contains(alias) {
            self.note(alias);
            let aliases = std::slice::from_ref(alias);
            self.message.write(|out| bodiless(alias, aliases, "", None, out));
        }
    }

    pub(super) fn fail(&mut self, name: &Name, failure: ResourceFailure) {
        if !self.contains(name) {
            self.errors.push((name.clone(), failure));
        }
    }

    pub(super) fn beat(&mut self, name: &Name, beat: &Beat) {
        if !self.contains(name) {
            self.note(name);
            let version = beat.version.to_string();
            self.message.write(|out| bodiless(name, &[], &version, Some(beat.ttl), out));
        }
    }

    fn note(&mut self, name: &Name) {
        match self.first {
            None => self.first = Some(name.clone()),
            Some(_) => drop(self.seen.insert(name.clone())),
        }
    }

    fn push(&mut self, resource: &Arc<Resource>) {
        self.message.push(resource.clone());
        self.sent.push((resource.name().clone(), resource.version()));
    }
}

/// What drafting needs to know of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) now: Instant,
    /// Whether the client knows times to live.
    pub(super) ttl: bool,
    /// Whether to note what is referred to.
    pub(super) warming: bool,
    /// How a removal waits that may not go yet.
    pub(super) removal: Removal,
}
