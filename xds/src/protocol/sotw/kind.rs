//! State-of-the-world xDS: one type on one stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::full_set::{FullSet, FullSets};
use super::told::Told;
use crate::limits::Limits;
use crate::names::{Name, NameSet, Subscription, TypeUrl, WILDCARD, hash_of, normalized};
use crate::protocol::heartbeat::Heartbeats;
use crate::protocol::nonce::Nonce;
use crate::protocol::owed::{Owed, Why};
use crate::protocol::wire::Message;
use crate::protocol::{Moment, ProtocolError, order, refusal};
use crate::resource::Resource;
use crate::source::{ResourceFailure, ResourceView};
use crate::version::{SetVersion, Version};

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) type_url: TypeUrl,
    pub(super) subscription: Subscription,
    /// What the latest request listed: most list the same again, which is then
    /// not looked at name by name.
    listed: Option<u128>,
    pub(super) owed: Owed,
    pub(super) in_flight: Option<InFlight>,
    /// The nonce of the latest response, answered or not.
    pub(super) last_nonce: Option<Nonce>,
    pub(super) heartbeats: Heartbeats,
    /// Since when resources are kept in responses only because something that
    /// the client accepted may refer to them.
    pub(super) removing_since: Option<Moment>,
    /// Of a type with complete responses, what the client accepted last.
    pub(super) held: Option<Arc<FullSet>>,
    /// Sets of names to be sent each alone, after a NACK.
    pub(super) batches: VecDeque<Vec<Name>>,
    batches_since: Moment,
    /// Names whose current content the client refused, and its version.
    pub(super) refused: BTreeMap<Name, Version>,
    named_ever: bool,
    /// Of a type with complete responses, errors that the client was told.
    pub(super) told: Told,
    /// Of a type with complete responses, the version that the client brought
    /// from an earlier stream, until it was sent something on this one.
    pub(super) resumed: Option<Box<str>>,
}

/// A response without an answer.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The moment from which on its content was owed.
    since: Moment,
    pub(super) at: Instant,
    content: Content,
}

/// What a response contained.
#[derive(Debug)]
pub(super) enum Content {
    Full(Arc<FullSet>),
    Partial(Vec<(Name, Version)>),
}

/// One response being put together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) message: Message,
    pub(super) resources: usize,
    pub(super) version: SetVersion,
    pub(super) errors: Vec<(Name, ResourceFailure)>,
    /// What clients wait for because of the resources sent.
    pub(super) referred: Vec<Name>,
    pub(super) in_flight: (Moment, Content),
}

/// What may go into a response.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) moment: Moment,
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
            listed: None,
            owed: Owed::default(),
            in_flight: None,
            last_nonce: None,
            heartbeats: Heartbeats::default(),
            removing_since: None,
            held: None,
            batches: VecDeque::new(),
            batches_since: 0,
            refused: BTreeMap::new(),
            named_ever: false,
            told: Told::default(),
            resumed: None,
        }
    }

    /// The moment from which on something is unsent or unanswered.
    pub(super) fn since(&self) -> Option<Moment> {
        let in_flight = self.in_flight.as_ref().map(|sent| sent.since);
        let batches = (!self.batches.is_empty()).then_some(self.batches_since);
        [in_flight, batches, self.owed.since()].into_iter().flatten().min()
    }

    /// The moment through which the client has accepted all additions.
    pub(super) fn settled_through(&self, moment: Moment) -> Moment {
        self.since().map_or(moment, |since| since - 1)
    }

    /// The moment through which the client has accepted all removals as well.
    pub(super) fn removed_through(&self, moment: Moment) -> Moment {
        let removing = self.removing_since.map_or(moment, |since| since - 1);
        self.settled_through(moment).min(removing)
    }

    pub(super) fn pending(&self) -> usize {
        let removing = usize::from(self.removing_since.is_some());
        self.owed.len() + removing + self.batches.iter().map(Vec::len).sum::<usize>()
    }

    /// Takes in the names of a request, which replace the earlier ones.
    pub(super) fn subscribe(
        &mut self,
        names: &[String],
        first: bool,
        moment: Moment,
        now: Instant,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        let listed = hash_of(names.iter().map(String::as_str));
        if self.listed.replace(listed) == Some(listed) && !first {
            return Ok(());
        }
        let wildcard =
            names.iter().any(|name| name == WILDCARD) || (names.is_empty() && !self.named_ever);
        self.named_ever |= !names.is_empty();
        let set: NameSet = names
            .iter()
            .filter(|name| *name != WILDCARD)
            .map(|name| Name::from(normalized(name)))
            .collect();
        let subscription = Subscription::new(wildcard, set.clone());
        limits.check(&subscription)?;
        let mut old = std::mem::replace(&mut self.subscription, subscription);
        if !first && old.wildcard() == wildcard && *old.name_set() == set {
            return Ok(());
        }
        // In between the client may have dropped what the version is of.
        if let Some(version) = &mut self.resumed {
            *version = Box::default();
        }
        self.owe_new(&old, &set, first, moment, now);
        self.forget_uncovered();
        Ok(())
    }

    /// Newly asked names are sent even if they were sent before.
    fn owe_new(
        &mut self,
        old: &Subscription,
        set: &NameSet,
        first: bool,
        moment: Moment,
        now: Instant,
    ) {
        let new_wildcard = self.subscription.wildcard() && (first || !old.wildcard());
        let added: Vec<&Name> = set.iter().filter(|name| !old.contains(name)).collect();
        for name in &added {
            self.refused.remove(*name);
            self.told.forget(name);
        }
        let complete = order::complete_in_sotw(&self.type_url);
        if new_wildcard || (first && complete) {
            self.owed.everything(Why::Requested, moment, now);
            if complete {
                return;
            }
        }
        for name in added {
            self.owed.name(name.clone(), Why::Requested, moment, now);
        }
    }

    fn forget_uncovered(&mut self) {
        let subscription = &self.subscription;
        self.owed.retain(|name| subscription.covers(name));
        self.refused.retain(|name, _| subscription.covers(name));
        self.heartbeats.retain(|name| subscription.covers(name));
        self.told.retain(|name| subscription.covers(name));
        // Clients drop what they no longer ask for.
        if let Some(held) = &mut self.held {
            let covered = |resource: &&Arc<Resource>| subscription.covers(resource.name());
            if !held.resources.iter().all(|resource| covered(&resource)) {
                *held = Arc::new(FullSet::new(held.resources.iter().filter(covered).cloned()));
            }
        }
    }

    /// The client held this version before it connected.
    pub(super) fn resumes(&mut self, version: String) {
        if order::complete_in_sotw(&self.type_url) && !version.is_empty() {
            self.resumed = Some(version.into());
        }
    }

    /// Compares what the client held before it connected with the view, once that
    /// is complete. Equality spares the answer only if the client asks for
    /// everything, or it may ask for more names now than the version covers; and
    /// only of a type with complete responses, or it may have accepted a part of
    /// what the version covers.
    pub(super) fn compare(&mut self, view: &dyn ResourceView, sets: &FullSets) {
        let pure_wildcard = self.subscription.wildcard() && self.subscription.is_empty();
        if !pure_wildcard || !view.complete(&self.type_url) {
            return;
        }
        let Some(version) = self.resumed.take() else { return };
        let current = view.set_version(&self.type_url, None);
        if current.to_string() == *version {
            self.owed.clear();
            let build = || FullSet::new(view.list(&self.type_url));
            self.held = Some(sets.get_or_build(&self.type_url, current, build));
        }
    }

    /// The view has something else under these names.
    pub(super) fn changed(&mut self, names: &[Name], moment: Moment, now: Instant) {
        let mut covered = names.iter().filter(|name| self.subscription.covers(name)).peekable();
        if order::complete_in_sotw(&self.type_url) {
            if covered.peek().is_some() {
                self.owed.everything(Why::Changed, moment, now);
            }
            return;
        }
        for name in covered {
            self.owed.name(name.clone(), Why::Changed, moment, now);
        }
    }

    /// The client waits for these because something that refers to them was sent.
    pub(super) fn warm(&mut self, referred: &[Name], moment: Moment, now: Instant) {
        // Virtual hosts on demand exist in delta only.
        if self.type_url == TypeUrl::VIRTUAL_HOST {
            return;
        }
        for name in referred.iter().filter(|name| self.subscription.covers(name)) {
            self.owed.name(name.clone(), Why::Requested, moment, now);
        }
    }

    /// A response went out.
    pub(super) fn sent(&mut self, nonce: Nonce, (since, content): (Moment, Content), at: Instant) {
        self.last_nonce = Some(nonce);
        self.resumed = None;
        self.in_flight = Some(InFlight { since, at, content });
    }

    /// Takes in an ACK.
    pub(super) fn accepted(&mut self, in_flight: InFlight) {
        if let Content::Full(set) = in_flight.content {
            self.held = Some(set);
        }
    }

    /// Takes in a NACK; returns the names that are not sent again.
    pub(super) fn refused(&mut self, in_flight: InFlight, message: &str) -> Vec<Name> {
        let versions: BTreeMap<Name, Option<Version>> = match &in_flight.content {
            Content::Partial(sent) => {
                sent.iter().map(|(name, version)| (name.clone(), Some(*version))).collect()
            }
            Content::Full(set) => {
                let nothing = FullSet::new([]);
                let differences = set.diff(self.held.as_deref().unwrap_or(&nothing));
                let version =
                    |is: Option<&Arc<_>>| is.map(|resource: &Arc<Resource>| resource.version());
                differences
                    .iter()
                    .map(|change| (change.name().clone(), version(change.is)))
                    .collect()
            }
        };
        let consequence = refusal::judge(versions.keys().cloned().collect(), message);
        for name in &consequence.culprits {
            if let Some(Some(version)) = versions.get(name) {
                self.refused.insert(name.clone(), *version);
            }
        }
        let adds = |content: &Content| match content {
            Content::Partial(_) => false,
            Content::Full(_) => versions.values().any(Option::is_some),
        };
        if adds(&in_flight.content) {
            // What is not to blame is sent again, be it nothing at all: on a new
            // stream the client may hold what no longer exists. If nothing was new,
            // the same would be refused once more.
            self.owed.everything(Why::Changed, in_flight.since, in_flight.at);
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
    pub(super) fn fill(
        &mut self,
        view: &dyn ResourceView,
        fill: &Fill,
        sets: &FullSets,
    ) -> Option<Draft> {
        if order::complete_in_sotw(&self.type_url) {
            self.fill_full(view, fill, sets)
        } else {
            self.fill_partial(view, fill)
        }
    }
}
