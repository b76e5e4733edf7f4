//! Responses with what is new or changed: all types but listeners and clusters.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_proto::any;
use mainstem_proto::envoy::service::discovery::v3::Resource as Wrapped;
use mainstem_proto::google::protobuf::{Any, Duration};
use prost::Message as _;

use super::kind::{Content, Draft, Fill, Kind};
use crate::names::{Name, collection, is_collection};
use crate::protocol::heartbeat::Beat;
use crate::protocol::owed::Everything;
use crate::protocol::wire::Message;
use crate::resource::{Resource, put_bytes};
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
        if partial.is_empty() && fill.forward {
            self.fill_everything(view, fill, &mut partial);
            self.fill_names(view, fill, &mut partial);
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
                if self.subscription.covers(&name) {
                    self.add(&name, view, fill, partial);
                }
            }
        }
    }

    fn fill_everything(&mut self, view: &dyn ResourceView, fill: &Fill, partial: &mut Partial) {
        let Some(everything) = self.owed.take_everything() else { return };
        if !view.complete(&self.type_url) {
            return self.owed.resume(everything);
        }
        let mut last = everything.after;
        for resource in view.list(&self.type_url) {
            if last.as_ref().is_some_and(|last| resource.name() <= last) {
                continue;
            }
            if partial.message.len() >= fill.room {
                return self.owed.resume(Everything { after: last });
            }
            last = Some(resource.name().clone());
            self.add_found(&resource, fill, partial);
        }
    }

    fn fill_names(&mut self, view: &dyn ResourceView, fill: &Fill, partial: &mut Partial) {
        while let Some((name, why)) = self.owed.pop() {
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
        match resource.ttl().filter(|_| fill.ttl) {
            None => partial.message.push(resource.clone()),
            Some(ttl) => {
                self.heartbeats.sent(resource, fill.now);
                let any = Some(resource.any());
                partial.message.write(|out| wrapped(name, resource.version(), ttl, any, out));
            }
        }
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.message.is_empty() && self.errors.is_empty()
    }

    fn beat(&mut self, name: Name, beat: &Beat) {
        if self.seen.insert(name.clone()) {
            self.message.write(|out| wrapped(&name, beat.version, beat.ttl, None, out));
        }
    }
}

/// A resource with a time to live, or a heartbeat for it, in the wrapper that
/// this protocol needs for either.
fn wrapped(
    name: &Name,
    version: Version,
    ttl: std::time::Duration,
    resource: Option<Any>,
    out: &mut Vec<u8>,
) {
    const RESOURCES: u32 = 2;
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ttl.subsec_nanos()).expect("below 10^9");
    let wrapped = Wrapped {
        name: name.to_string(),
        version: version.to_string(),
        ttl: Some(Duration { seconds, nanos }),
        resource,
        ..Wrapped::default()
    };
    put_bytes(RESOURCES, &any(&wrapped).encode_to_vec(), out);
}
