//! Responses with what is new or changed: all types but listeners and clusters.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::{Content, Draft, Fill, Kind};
use super::wrapped::put_beat;
use crate::names::{Name, collection, is_collection};
use crate::protocol::heartbeat::Beat;
use crate::protocol::wire::Message;
use crate::resource::Resource;
use crate::source::{Lookup, ResourceFailure, ResourceView};
use crate::version::Version;

/// Resources of one response; no name twice.
#[derive(Default)]
struct Partial {
    message: Message,
    sent: Vec<(Name, Version)>,
    seen: BTreeSet<Name>,
    errors: Vec<(Name, ResourceFailure)>,
    referred: Vec<Name>,
}

impl Kind {
    /// What is owed and exists. Absence is not told in this protocol; a name
    /// without a resource is answered when there is one.
    pub(super) fn fill_partial(&mut self, view: &dyn ResourceView, fill: &Fill) -> Option<Draft> {
        let since = self.removed_through(fill.moment - 1) + 1;
        let mut partial = Partial { message: Message::sotw(), ..Partial::default() };
        self.fill_batch(view, fill, &mut partial);
        if partial.is_empty() {
            // Who asks for everything asks for what has changed, too.
            let asked = self.fill_everything(view, fill, &mut partial);
            let fill_names = Fill { forward: fill.forward || asked, ..*fill };
            self.fill_names(view, &fill_names, &mut partial);
            self.owed.settle();
        }
        for (name, beat) in self.heartbeats.take_due(fill.now) {
            partial.beat(name, &beat);
        }
        if partial.is_empty() {
            return None;
        }
        let names = (!self.subscription.wildcard()).then(|| self.subscription.name_set().clone());
        Some(Draft {
            message: partial.message,
            resources: partial.sent.len(),
            version: view.set_version(&self.type_url, names.as_ref()),
            errors: partial.errors,
            referred: partial.referred,
            in_flight: (since, Content::Partial(partial.sent)),
        })
    }

    fn fill_batch(&mut self, view: &dyn ResourceView, fill: &Fill, partial: &mut Partial) {
        while partial.is_empty() {
            let Some(batch) = self.batches.pop_front() else { return };
            for name in batch {
                // What has changed meanwhile and has to wait is told with other changes.
                let waits = !fill.forward && self.owed.changed(&name);
                if self.subscription.covers(&name) && !waits {
                    self.add(&name, view, fill, partial);
                }
            }
        }
    }

    /// Returns whether everything is asked for and known.
    fn fill_everything(
        &mut self,
        view: &dyn ResourceView,
        fill: &Fill,
        partial: &mut Partial,
    ) -> bool {
        let Some(mut everything) = self.owed.take_everything() else { return false };
        if !view.complete(&self.type_url) {
            self.owed.resume(everything);
            return false;
        }
        for resource in view.list(&self.type_url) {
            if everything.after.as_ref().is_some_and(|last| resource.name() <= last) {
                continue;
            }
            if partial.message.len() >= fill.room {
                self.owed.resume(everything);
                return true;
            }
            everything.after = Some(resource.name().clone());
            self.add_found(&resource, fill, partial);
        }
        true
    }

    fn fill_names(&mut self, view: &dyn ResourceView, fill: &Fill, partial: &mut Partial) {
        while let Some((name, why)) = self.owed.pop(fill.forward) {
            if partial.message.len() >= fill.room {
                return self.owed.put_back(name, why);
            }
            self.add(&name, view, fill, partial);
        }
    }

    fn add(&mut self, name: &Name, view: &dyn ResourceView, fill: &Fill, partial: &mut Partial) {
        match view.get(&self.type_url, name) {
            Lookup::Found(resource) => self.add_found(&resource, fill, partial),
            Lookup::Failed(failure) => partial.errors.push((name.clone(), failure)),
            Lookup::Absent if is_collection(name) => {
                let is_member = |resource: &Arc<Resource>| {
                    collection(resource.name()).is_some_and(|of| of == **name)
                };
                for resource in view.list(&self.type_url).filter(is_member) {
                    self.add_found(&resource, fill, partial);
                }
            }
            Lookup::Absent => {
                self.refused.remove(name);
                self.heartbeats.forget(name);
                let parts = view.parts(&self.type_url, name);
                parts.iter().for_each(|resource| self.add_found(resource, fill, partial));
            }
            Lookup::Loading => {}
        }
    }

    fn add_found(&mut self, resource: &Arc<Resource>, fill: &Fill, partial: &mut Partial) {
        let name = resource.name();
        if partial.seen.contains(name) || self.refused.get(name) == Some(&resource.version()) {
            return;
        }
        self.refused.remove(name);
        if fill.warming {
            partial.referred.extend_from_slice(resource.referred());
        }
        partial.seen.insert(name.clone());
        partial.sent.push((name.clone(), resource.version()));
        self.put(resource, fill, &mut partial.message);
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.message.is_empty() && self.errors.is_empty()
    }

    fn beat(&mut self, name: Name, beat: &Beat) {
        if self.seen.insert(name.clone()) {
            put_beat(&name, beat, &mut self.message);
        }
    }
}
