//! Delta xDS: one type on one stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::draft::{Draft, Sent, Terms};
use super::resumed::Resumed;
use crate::limits::Limits;
use crate::names::{Name, Subscription, TypeUrl, WILDCARD, collection, is_collection, normalized};
use crate::protocol::heartbeat::Heartbeats;
use crate::protocol::nonce::Nonce;
use crate::protocol::owed::{Owed, Why};
use crate::protocol::{Moment, ProtocolError, is_lasting, refusal};
use crate::resource::Resource;
use crate::source::{Lookup, ResourceView};
use crate::version::Version;

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) type_url: TypeUrl,
    pub(super) subscription: Subscription,
    pub(super) owed: Owed,
    /// Removals that wait for the ACK of what referred to them.
    pub(super) held: BTreeMap<Name, Removal>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) heartbeats: Heartbeats,
    /// Sets of names to be sent each alone, after a NACK.
    batches: VecDeque<Vec<Name>>,
    batches_since: Moment,
    /// Names whose current content the client refused, and its version.
    pub(super) refused: BTreeMap<Name, Version>,
    /// The first answer about everything is sent even if there is nothing.
    pub(super) greeting: bool,
    /// What the client held before it connected, as far as that was not compared
    /// with the view yet.
    pub(super) resumed: Option<Box<Resumed>>,
}

/// A removal that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removal {
    /// The moment of the newest change: what refers to the name may be as new.
    pub(super) newest: Moment,
    /// The moment from which on the client was not told of changes under the name:
    /// it may refer to whatever was there before.
    pub(super) since: Moment,
}

/// A response without an answer.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: Nonce,
    /// The moment from which on its content was owed.
    pub(super) since: Moment,
    pub(super) at: Instant,
    pub(super) sent: Sent,
    pub(super) removed: Vec<Name>,
    /// The client dropped a name of it meanwhile.
    pub(super) dropped: bool,
    /// The client dropped a wildcard or a collection meanwhile. If it asks for
    /// it again, the response still brings it names of which it heard no more.
    pub(super) overtaken: bool,
}

/// What may go into a response.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) moment: Moment,
    /// The moment from which on something of the type is unsent or unanswered.
    pub(super) since: Moment,
    pub(super) now: Instant,
    /// Whether changes may be sent; what was asked for may be at any time.
    pub(super) forward: bool,
    /// Through which moment removals may be sent.
    pub(super) removable: Moment,
    pub(super) room: usize,
    pub(super) ttl: bool,
    pub(super) warming: bool,
}

impl Kind {
    pub(super) fn new(type_url: TypeUrl) -> Kind {
        Kind {
            type_url,
            subscription: Subscription::default(),
            owed: Owed::default(),
            held: BTreeMap::new(),
            in_flight: None,
            heartbeats: Heartbeats::default(),
            batches: VecDeque::new(),
            batches_since: 0,
            refused: BTreeMap::new(),
            greeting: false,
            resumed: None,
        }
    }

    /// The moment from which on something is unsent or unanswered.
    pub(super) fn since(&self) -> Option<Moment> {
        let in_flight = self.in_flight.as_ref().map(|sent| sent.since);
        let batches = (!self.batches.is_empty()).then_some(self.batches_since);
        [in_flight, batches, self.owed.since()].into_iter().flatten().min()
    }

    /// Whether nothing is unsent, unanswered or to be confirmed.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
            && self.owed.is_empty()
            && self.batches.is_empty()
            && self.held.is_empty()
            && self.resumed.is_none()
            && self.heartbeats.next().is_none()
    }

    /// Whether nothing is unsent, whatever the view has.
    pub(super) fn has_nothing_to_say(&self, now: Instant) -> bool {
        self.owed.is_empty()
            && self.batches.is_empty()
            && self.held.is_empty()
            && self.heartbeats.next().is_none_or(|next| next > now)
    }

    /// The moment through which the client has accepted all additions.
    pub(super) fn settled_through(&self, moment: Moment) -> Moment {
        self.since().map_or(moment, |since| since - 1)
    }

    /// The moment through which the client has accepted all removals as well.
    pub(super) fn removed_through(&self, moment: Moment) -> Moment {
        let held = self.held.values().map(|removal| removal.since - 1).min().unwrap_or(moment);
        self.settled_through(moment).min(held)
    }

    pub(super) fn pending(&self) -> usize {
        self.owed.len() + self.held.len() + self.batches.iter().map(Vec::len).sum::<usize>()
    }

    /// Takes in the subscription part of a request.
    pub(super) fn subscribe(
        &mut self,
        request: &DeltaDiscoveryRequest,
        first: bool,
        moment: Moment,
        now: Instant,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(name, moment, now);
        }
        let mut names = Vec::with_capacity(request.resource_names_subscribe.len());
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                self.subscribe_all(moment, now);
            } else {
                names.push(Name::from(normalized(name)));
            }
        }
        // The legacy form: asking for nothing is asking for everything.
        if first && request.resource_names_subscribe.is_empty() {
            self.subscribe_all(moment, now);
            self.greeting = request.initial_resource_versions.is_empty();
        }
        // What is asked for is sent even if it was sent before: the client may
        // have dropped it, and delta xDS makes resending our duty.
        for name in &names {
            self.owed.name(name.clone(), Why::Requested, moment, now);
            self.refused.remove(name);
            self.resumed.iter_mut().for_each(|resumed| resumed.forget(name));
        }
        if names.iter().any(|name| is_collection(name)) {
            self.covers_dropped();
        }
        self.subscription.subscribe(names);
        limits.check(&self.subscription)
    }

    fn subscribe_all(&mut self, moment: Moment, now: Instant) {
        self.greeting |= !self.subscription.wildcard();
        self.resumed.iter_mut().for_each(|resumed| resumed.doubt());
        self.subscription.set_wildcard(true);
        self.covers_dropped();
        self.owed.everything(Why::Requested, moment, now);
    }

    /// What was dropped by its name may be asked for again with others.
    fn covers_dropped(&mut self) {
        self.in_flight.iter_mut().for_each(|in_flight| in_flight.overtaken |= in_flight.dropped);
    }

    fn unsubscribe(&mut self, name: &str, moment: Moment, now: Instant) {
        if name == WILDCARD {
            self.subscription.set_wildcard(false);
            self.owed.forget_everything();
            self.greeting = false;
            return self.forget_uncovered();
        }

        let name = normalized(name);
        if !self.subscription.unsubscribe(&name) {
            return;
        }
        if self.subscription.wildcard() {
            // It remains covered, and the client now waits to hear whether it exists.
            self.owed.name(Name::from(name), Why::Requested, moment, now);
        } else if is_collection(&name) {
            self.forget_uncovered();
        } else if !self.subscription.covers(&name) {
            self.in_flight.iter_mut().for_each(|in_flight| in_flight.dropped = true);
            self.owed.forget(&name);
            self.held.remove(&*name);
            self.refused.remove(&*name);
            self.heartbeats.forget(&name);
        }
    }

    fn forget_uncovered(&mut self) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.overtaken = true;
        }
        let subscription = &self.subscription;
        self.owed.retain(|name| subscription.covers(name));
        self.held.retain(|name, _| subscription.covers(name));
        self.refused.retain(|name, _| subscription.covers(name));
        self.heartbeats.retain(|name| subscription.covers(name));
    }

    /// The view has something else under these names.
    pub(super) fn changed(&mut self, names: &[Name], moment: Moment, now: Instant) {
        for name in names.iter().filter(|name| self.subscription.covers(name)) {
            self.owed.name(name.clone(), Why::Changed, moment, now);
        }
    }

    /// The client waits for these because something that refers to them was sent.
    pub(super) fn warm(&mut self, referred: &[Name], moment: Moment, now: Instant) {
        for name in referred {
            if self.type_url == TypeUrl::VIRTUAL_HOST {
                let prefix = format!("{name}/");
                let fetched = self.subscription.iter().filter(|host| host.starts_with(&prefix));
                for host in fetched.cloned().collect::<Vec<_>>() {
                    self.owed.name(host, Why::Requested, moment, now);
                }
            } else if self.subscription.covers(name) {
                self.owed.name(name.clone(), Why::Requested, moment, now);
            }
        }
    }

    /// Takes in an ACK.
    pub(super) fn accepted(&mut self, in_flight: InFlight, moment: Moment, now: Instant) {
        if in_flight.overtaken {
            for (name, _) in in_flight.sent {
                if self.subscription.covers(&name) {
                    self.owed.name(name, Why::Changed, moment, now);
                }
            }
        }
    }

    /// Takes in a NACK; returns the names that are not sent again.
    pub(super) fn refused(&mut self, in_flight: InFlight, message: &str) -> Vec<Name> {
        let versions: BTreeMap<Name, Version> = in_flight.sent.into_iter().collect();
        let names = versions.keys().cloned().chain(in_flight.removed).collect();
        let consequence = refusal::judge(names, message);
        for name in &consequence.culprits {
            if let Some(version) = versions.get(name) {
                self.refused.insert(name.clone(), *version);
            }
        }
        if self.batches.is_empty() {
            self.batches_since = in_flight.since;
        }
        for batch in consequence.batches.into_iter().rev() {
            self.batches.push_front(batch);
        }
        consequence.culprits
    }

    /// The next response of this type, if there is anything to say.
    pub(super) fn fill(&mut self, view: &dyn ResourceView, fill: &Fill) -> Option<Draft> {
        let mut draft = Draft::new(fill.room);
        let removal = Removal { newest: fill.moment, since: fill.since };
        let terms = Terms { now: fill.now, ttl: fill.ttl, warming: fill.warming, removal };
        self.fill_batch(view, fill, &terms, &mut draft);
        if draft.is_empty() {
            // Who asks for everything asks for what has changed, too.
            let asked = self.fill_everything(view, &terms, &mut draft);
            let fill_names = Fill { forward: fill.forward || asked, ..*fill };
            self.fill_names(view, &fill_names, &terms, &mut draft);
            self.owed.settle();
            self.fill_removals(view, fill.removable, &mut draft);
        }
        self.fill_heartbeats(fill.now, &mut draft);
        (!draft.is_empty()).then_some(draft)
    }

    /// One batch of those left by a NACK; nothing else joins it, or a second
    /// NACK would say less.
    fn fill_batch(
        &mut self,
        view: &dyn ResourceView,
        fill: &Fill,
        terms: &Terms,
        draft: &mut Draft,
    ) {
        while draft.is_empty() {
            let Some(batch) = self.batches.pop_front() else { return };
            for name in batch {
                if self.subscription.covers(&name) && !self.is_left_to_owed(&name, view, fill) {
                    self.add(&name, Why::Requested, view, terms, draft);
                }
            }
        }
    }

    /// Whether a name of a batch is told with what else is owed: it was asked for
    /// meanwhile, or has changed in a way that has to wait.
    fn is_left_to_owed(&self, name: &str, view: &dyn ResourceView, fill: &Fill) -> bool {
        let waits = || !fill.forward || view.get(&self.type_url, name) == Lookup::Absent;
        self.owed.asks_for_name(name) || (self.owed.changed(name) && waits())
    }

    /// Returns whether everything is asked for and known.
    fn fill_everything(
        &mut self,
        view: &dyn ResourceView,
        terms: &Terms,
        draft: &mut Draft,
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
            if draft.full() {
                self.owed.resume(everything);
                return true;
            }
            everything.after = Some(resource.name().clone());
            self.add_found(&resource, terms, draft, Draft::add_listed);
        }
        draft.greeting = std::mem::take(&mut self.greeting);
        true
    }

    fn fill_names(
        &mut self,
        view: &dyn ResourceView,
        fill: &Fill,
        terms: &Terms,
        draft: &mut Draft,
    ) {
        while let Some((name, why)) = self.owed.pop(fill.forward) {
            if draft.full() {
                return self.owed.put_back(name, why);
            }
            if !draft.contains(&name) {
                self.add(&name, why, view, terms, draft);
            }
        }
    }

    fn fill_removals(&mut self, view: &dyn ResourceView, removable: Moment, draft: &mut Draft) {
        let due = self.held.iter().filter(|(_, removal)| removal.newest <= removable);
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.held.remove(&name);
            if view.get(&self.type_url, &name) == Lookup::Absent {
                self.remove(&name, draft);
            }
        }
    }

    fn fill_heartbeats(&mut self, now: Instant, draft: &mut Draft) {
        for (name, beat) in self.heartbeats.take_due(now) {
            draft.beat(&name, &beat);
        }
    }

    /// Adds what the view has under a name.
    fn add(
        &mut self,
        name: &Name,
        why: Why,
        view: &dyn ResourceView,
        terms: &Terms,
        draft: &mut Draft,
    ) {
        match view.get(&self.type_url, name) {
            Lookup::Found(resource) => self.add_found(&resource, terms, draft, Draft::add),
            Lookup::Loading => {}
            Lookup::Failed(failure) => {
                let lasting = is_lasting(&failure);
                draft.fail(name, failure);
                if lasting {
                    self.remove(name, draft);
                }
            }
            Lookup::Absent if is_collection(name) => self.add_collection(name, view, terms, draft),
            Lookup::Absent if why == Why::Changed => {
                let removal = self.held.entry(name.clone()).or_insert(terms.removal);
                removal.newest = terms.removal.newest;
            }
            Lookup::Absent if self.type_url == TypeUrl::VIRTUAL_HOST => draft.add_nothing(name),
            Lookup::Absent => self.remove(name, draft),
        }
    }

    fn add_collection(
        &mut self,
        glob: &Name,
        view: &dyn ResourceView,
        terms: &Terms,
        draft: &mut Draft,
    ) {
        let members: Vec<Arc<Resource>> = view
            .list(&self.type_url)
            .filter(|resource| collection(resource.name()).is_some_and(|of| *of == **glob))
            .collect();
        if members.is_empty() {
            // As any name without a resource, so that nobody waits for it.
            draft.remove(glob);
        }
        for resource in members {
            self.add_found(&resource, terms, draft, Draft::add);
        }
    }

    fn add_found(
        &mut self,
        resource: &Arc<Resource>,
        terms: &Terms,
        draft: &mut Draft,
        add: fn(&mut Draft, &Arc<Resource>),
    ) {
        let name = resource.name();
        self.held.remove(name);
        if !self.refused.is_empty() {
            if self.refused.get(name) == Some(&resource.version()) {
                return;
            }
            self.refused.remove(name);
        }
        if terms.warming {
            match self.type_url {
                TypeUrl::ROUTE_CONFIGURATION => draft.referred.push(name.clone()),
                _ => draft.referred.extend_from_slice(resource.referred()),
            }
        }
        if resource.ttl().is_some() && !terms.ttl {
            return add(draft, &Arc::new(resource.without_ttl()));
        }
        self.heartbeats.sent(resource, terms.now);
        add(draft, resource);
    }

    fn remove(&mut self, name: &Name, draft: &mut Draft) {
        self.refused.remove(name);
        self.heartbeats.forget(name);
        draft.remove(name);
    }
}
