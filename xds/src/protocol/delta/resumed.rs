//! What a client held before it connected.

use std::collections::BTreeMap;
use std::time::Instant;

use super::kind::Kind;
use crate::names::Name;
use crate::protocol::Moment;
use crate::protocol::owed::Why;
use crate::resource::Resource;
use crate::source::{Lookup, ResourceView};
use crate::version::Version;

/// Versions by name, as the client's first request has them.
#[derive(Debug)]
pub(super) struct Resumed {
    versions: BTreeMap<String, String>,
}

impl Resumed {
    pub(super) fn of(versions: BTreeMap<String, String>) -> Option<Box<Resumed>> {
        (!versions.is_empty()).then(|| Box::new(Resumed { versions }))
    }

    /// The client asks for the name anew, whatever it has.
    pub(super) fn forget(&mut self, name: &str) {
        self.versions.remove(name);
    }

    /// The client asks for everything anew: of what it has, only the names count.
    pub(super) fn doubt(&mut self) {
        self.versions.values_mut().for_each(String::clear);
    }

    fn has(&self, resource: &Resource) -> bool {
        let version = self.versions.get(&**resource.name());
        version.is_some_and(|version| is_of(version, resource))
    }
}

fn is_of(version: &str, resource: &Resource) -> bool {
    version.parse::<Version>() == Ok(resource.version())
}

impl Kind {
    /// Compares what the client held with the view, as far as that is known: what is
    /// equal is not owed, and what the view lacks is. The rest is kept until it is
    /// known; that comes as a change of every name, though the client may have it.
    pub(super) fn compare(&mut self, view: &dyn ResourceView, moment: Moment, now: Instant) {
        if self.resumed.is_none() {
            return;
        }
        let complete = view.complete(&self.type_url);
        if self.owed.has_everything() && !complete {
            return;
        }
        let Some(mut resumed) = self.resumed.take() else { return };
        if self.owed.take_everything().is_some() {
            self.greeting = false;
            for resource in view.list(&self.type_url).filter(|resource| !resumed.has(resource)) {
                self.owed.name(resource.name().clone(), Why::Requested, moment, now);
            }
        }
        resumed.versions.retain(|name, version| {
            self.subscription.covers(name) && !self.is_compared(name, version, view, moment, now)
        });
        self.owed.settle();
        self.resumed = Some(resumed).filter(|resumed| !resumed.versions.is_empty());
    }

    /// Compares a name, unless what it stands for is not known yet.
    fn is_compared(
        &mut self,
        name: &str,
        version: &str,
        view: &dyn ResourceView,
        moment: Moment,
        now: Instant,
    ) -> bool {
        match view.get(&self.type_url, name) {
            Lookup::Loading => return false,
            Lookup::Found(resource) if is_of(version, &resource) => self.owed.forget(name),
            // As any removal, it waits for what refers to it.
            Lookup::Absent => self.owed.name(Name::from(name), Why::Changed, moment, now),
            _ => self.owed.name(Name::from(name), Why::Requested, moment, now),
        }
        true
    }
}
