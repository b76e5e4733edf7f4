//! Complete responses: listeners and clusters.

use std::sync::Arc;

use super::full_set::{FullSet, FullSets};
use super::kind::{Content, Draft, Fill, Kind};
use crate::names::{Name, collection, is_collection};
use crate::protocol::heartbeat::Heartbeats;
use crate::protocol::wire::Message;
use crate::protocol::{Moment, is_lasting};
use crate::resource::Resource;
use crate::source::{Lookup, ResourceFailure, ResourceView};

/// What the client should have by now, and why some of it cannot be given.
struct Target {
    set: Arc<FullSet>,
    errors: Vec<(Name, ResourceFailure)>,
    /// Whether something of it is not known yet.
    loading: bool,
}

/// What the view has under names.
#[derive(Default)]
struct Named {
    found: Vec<Arc<Resource>>,
    failed: Vec<(Name, ResourceFailure)>,
    loading: bool,
}

impl Target {
    /// Whether an answer would say nothing but that what is not known does not exist.
    fn says_nothing(&self, before: &FullSet) -> bool {
        self.loading && self.errors.is_empty() && self.set.version == before.version
    }
}

impl Kind {
    /// Everything that the client shall keep, if that is not what it has or if it
    /// forgets that without hearing of it again.
    pub(super) fn fill_full(
        &mut self,
        view: &dyn ResourceView,
        fill: &Fill,
        sets: &FullSets,
    ) -> Option<Draft> {
        let before = self.held.clone().unwrap_or_else(|| Arc::new(FullSet::new([])));
        self.fill_news(&before, view, fill, sets).or_else(|| self.fill_heartbeat(fill))
    }

    fn fill_news(
        &mut self,
        before: &FullSet,
        view: &dyn ResourceView,
        fill: &Fill,
        sets: &FullSets,
    ) -> Option<Draft> {
        let since = self.removed_through(fill.moment - 1) + 1;
        if let Some(set) = fill.forward.then(|| self.next_batch(view, before)).flatten() {
            let set = sets.share(&self.type_url, set);
            return Some(self.draft(before, set, Vec::new(), since, fill));
        }
        let removing = self.removing_since.is_some_and(|since| since <= fill.removable);
        let requested = self.owed.requested();
        let owed = requested || (fill.forward && !self.owed.is_empty());
        if !owed && !removing {
            return None;
        }
        let target = self.target(view, before, sets)?;
        if target.says_nothing(before) {
            return None;
        }
        let set = if requested && !fill.forward {
            let set = self.with_requested(before, &target.set);
            self.owed.answered();
            sets.share(&self.type_url, set)
        } else {
            self.owed.clear();
            self.with_removals_held(before, target.set, owed, fill, sets)
        };
        // Who asks is answered, be it with what it has.
        let news =
            self.held.is_none() || set.version != before.version || !target.errors.is_empty();
        (requested || news).then(|| self.draft(before, set, target.errors, since, fill))
    }

    /// All that the client accepted once more, if some of it is to be confirmed.
    /// Without bodies, as other types have it, listeners and clusters would be
    /// deleted: Envoy takes what has a body for the complete set.
    fn fill_heartbeat(&mut self, fill: &Fill) -> Option<Draft> {
        if self.heartbeats.next().is_none_or(|due| due > fill.now) {
            return None;
        }
        let Some(held) = self.held.clone() else {
            // What was sent was refused.
            self.heartbeats = Heartbeats::default();
            return None;
        };
        let since = self.removed_through(fill.moment - 1) + 1;
        Some(self.draft(&held, held.clone(), Vec::new(), since, fill))
    }

    /// The next batch left by a NACK, on top of what the client accepted.
    /// Nothing else joins it, or a second NACK would say less.
    fn next_batch(&mut self, view: &dyn ResourceView, before: &FullSet) -> Option<FullSet> {
        while let Some(batch) = self.batches.pop_front() {
            let kept = before
                .resources
                .iter()
                .filter(|resource| !batch.contains(resource.name()))
                .cloned();
            let covered = batch.iter().filter(|name| self.subscription.covers(name));
            let tried = covered.filter_map(|name| match view.get(&self.type_url, name) {
                Lookup::Found(resource) if !self.is_refused(&resource) => Some(resource),
                // What has vanished goes after what referred to it, with all that is
                // owed once the batches were tried.
                _ => before.get(name).cloned(),
            });
            let set = FullSet::new(kept.chain(tried));
            if set.version != before.version {
                return Some(set);
            }
        }
        None
    }

    fn is_refused(&self, resource: &Resource) -> bool {
        self.refused.get(resource.name()) == Some(&resource.version())
    }

    /// What the view has of the subscription; `None` while a part of it is not
    /// known that the client may hold.
    fn target(
        &mut self,
        view: &dyn ResourceView,
        before: &FullSet,
        sets: &FullSets,
    ) -> Option<Target> {
        let wildcard = self.subscription.wildcard();
        if wildcard && !view.complete(&self.type_url) {
            return None;
        }
        let everything = || {
            let version = view.set_version(&self.type_url, None);
            sets.get_or_build(&self.type_url, version, || FullSet::new(view.list(&self.type_url)))
        };
        let mut named = Named::default();
        let mut set = if wildcard && self.subscription.is_empty() {
            everything()
        } else {
            let listed = if wildcard { everything().resources.to_vec() } else { Vec::new() };
            named = self.named(view, before)?;
            sets.share(&self.type_url, FullSet::new(listed.into_iter().chain(named.found)))
        };
        self.refused.retain(|name, version| {
            set.get(name).is_some_and(|resource| resource.version() == *version)
        });
        if !self.refused.is_empty() {
            set = sets.share(&self.type_url, self.without_refused(before, &set));
        }
        let errors = self.told.news(named.failed);
        Some(Target { set, errors, loading: named.loading })
    }

    /// What the view has under the names that were asked for.
    ///
    /// A name that is not known yet keeps what the client has under it. If it has
    /// nothing, the name is left out, so that others need not wait for it: gRPC takes
    /// what it never had for late and not for absent. Only of a client that
    /// brought something from an earlier stream it is not known what it has.
    fn named(&self, view: &dyn ResourceView, before: &FullSet) -> Option<Named> {
        let mut named = Named::default();
        for name in self.subscription.iter() {
            match view.get(&self.type_url, name) {
                Lookup::Found(resource) => named.found.push(resource),
                Lookup::Loading if self.resumed.is_some() => return None,
                Lookup::Loading => {
                    named.loading = true;
                    named.found.extend(before.get(name).cloned());
                }
                Lookup::Failed(failure) => match before.get(name) {
                    // Passing trouble is no reason to drop what the client holds.
                    Some(held) if !is_lasting(&failure) => named.found.push(held.clone()),
                    _ => named.failed.push((name.clone(), failure)),
                },
                Lookup::Absent if is_collection(name) => {
                    let is_member = |resource: &Arc<Resource>| {
                        collection(resource.name()).is_some_and(|collection| collection == **name)
                    };
                    named.found.extend(view.list(&self.type_url).filter(is_member));
                }
                Lookup::Absent => {}
            }
        }
        Some(named)
    }

    /// The set with the last accepted bytes in place of the refused ones.
    fn without_refused(&self, before: &FullSet, set: &FullSet) -> FullSet {
        FullSet::new(set.resources.iter().filter_map(|resource| {
            if self.is_refused(resource) {
                before.get(resource.name()).cloned()
            } else {
                Some(resource.clone())
            }
        }))
    }

    /// The set together with what it lacks and may still be referred to.
    fn with_removals_held(
        &mut self,
        before: &FullSet,
        target: Arc<FullSet>,
        owed: bool,
        fill: &Fill,
        sets: &FullSets,
    ) -> Arc<FullSet> {
        let removed: Vec<Arc<Resource>> = target
            .diff(before)
            .into_iter()
            .filter(|change| change.is.is_none() && self.subscription.covers(change.name()))
            .filter_map(|change| change.was.cloned())
            .collect();
        if removed.is_empty() {
            self.removing_since = None;
            return target;
        }
        let since = if owed { fill.moment } else { self.removing_since.unwrap_or(fill.moment) };
        if since <= fill.removable {
            self.removing_since = None;
            return target;
        }
        self.removing_since = Some(since);
        sets.share(&self.type_url, FullSet::new(target.resources.iter().cloned().chain(removed)))
    }

    /// What the client has, and what it asks for and has nothing of.
    ///
    /// That answers a request while changes are held back: a complete response has
    /// everything, so what changed under other names goes as it was.
    fn with_requested(&self, before: &FullSet, target: &FullSet) -> FullSet {
        let new = target.resources.iter().filter(|resource| {
            before.get(resource.name()).is_none() && self.owed.asks_for(resource)
        });
        FullSet::new(before.resources.iter().chain(new).cloned())
    }

    fn draft(
        &mut self,
        before: &FullSet,
        set: Arc<FullSet>,
        errors: Vec<(Name, ResourceFailure)>,
        since: Moment,
        fill: &Fill,
    ) -> Draft {
        let mut message = Message::sotw();
        set.resources.iter().for_each(|resource| self.put(resource, fill, &mut message));
        let lasts = |name: &str| set.get(name).is_some_and(|resource| resource.ttl().is_some());
        self.heartbeats.retain(lasts);
        let mut referred = Vec::new();
        if fill.warming {
            for resource in set.diff(before).into_iter().filter_map(|change| change.is) {
                referred.extend_from_slice(resource.referred());
            }
        }
        Draft {
            message,
            resources: set.resources.len(),
            version: set.version,
            errors,
            referred,
            in_flight: (since, Content::Full(set)),
        }
    }
}
