//! State-of-the-world xDS: the state of one stream.

mod full;
mod full_set;
mod kind;
mod partial;
mod told;
mod wrapped;

use std::sync::Arc;
use std::time::Instant;

use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;

pub use self::full_set::FullSets;
use self::kind::{Draft, Fill, Kind};
use super::nonce::Nonces;
use super::wire::Envelope;
use super::{Answered, Moment, ProtocolError, Rejection, Response, Verdict, order};
use crate::limits::Limits;
use crate::names::{Name, Subscription, TypeUrl};
use crate::source::{Changes, Client, ResourceView};
use crate::version::Version;

/// The state-of-the-world protocol of one stream, without the stream.
///
/// Of listeners and clusters, a response has all that the client shall keep;
/// of other types, what is new or changed.
#[derive(Debug)]
pub struct SotwState {
    /// In the order of sending.
    kinds: Vec<Kind>,
    nonces: Nonces,
    moment: Moment,
    limits: Arc<Limits>,
    sets: Arc<FullSets>,
    /// Goes into the first response.
    identifier: Option<Arc<str>>,
    ttl: bool,
}

impl SotwState {
    /// A stream on which nothing was said yet.
    ///
    /// `identifier` names this server to the client, `salt` makes nonces differ
    /// from those of other streams, `sets` are shared by all streams of a source.
    pub fn new(
        client: &Client,
        limits: Arc<Limits>,
        identifier: Arc<str>,
        salt: u32,
        sets: Arc<FullSets>,
    ) -> SotwState {
        SotwState {
            kinds: Vec::new(),
            nonces: Nonces::new(salt),
            moment: 1,
            limits,
            sets,
            identifier: Some(identifier).filter(|name| !name.is_empty()),
            ttl: client.supports("xds.config.supports-resource-ttl")
                && client.supports("xds.config.supports-resource-in-sotw"),
        }
    }

    /// Takes in a request: its ACK or NACK, then its names. A request with a
    /// stale nonce counts for nothing: the client will answer the newer response.
    pub fn on_request(
        &mut self,
        request: DiscoveryRequest,
        view: &dyn ResourceView,
        now: Instant,
    ) -> Result<Verdict, ProtocolError> {
        if request.type_url.is_empty() {
            return Err(ProtocolError::MissingType);
        }
        let (at, first) = self.kind_of(&request.type_url)?;
        let moment = self.moment;
        let kind = &mut self.kinds[at];
        let verdict = if first { Verdict::None } else { answer(kind, &request) };
        if verdict == Verdict::Stale {
            return Ok(verdict);
        }
        kind.subscribe(&request.resource_names, first, moment, now, &self.limits)?;
        if first {
            kind.resumes(request.version_info);
            kind.compare(view, &self.sets);
        }
        Ok(verdict)
    }

    /// Takes in what a view says when it moves on.
    pub fn on_changes(&mut self, changes: &Changes, now: Instant) {
        if changes.is_empty() {
            return;
        }
        self.moment += 1;
        for (type_url, names) in &changes.names {
            if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.type_url == *type_url) {
                kind.changed(names, self.moment, now);
            }
        }
    }

    /// The next response, if any may be sent now. To be called until it
    /// returns `None`, after every request, change and [`deadline`](Self::deadline).
    pub fn next(&mut self, view: &dyn ResourceView, now: Instant) -> Option<Response> {
        for kind in self.kinds.iter_mut().filter(|kind| kind.resumed.is_some()) {
            kind.compare(view, &self.sets);
        }
        loop {
            let settled = self.settled_in_sum();
            if let Some(response) = self.next_in_order(view, now) {
                return Some(response);
            }
            // What was owed and came to nothing is waited for no longer, maybe by a
            // type that is earlier in the order.
            if self.settled_in_sum() == settled {
                return None;
            }
        }
    }

    fn next_in_order(&mut self, view: &dyn ResourceView, now: Instant) -> Option<Response> {
        for at in 0..self.kinds.len() {
            let kind = &self.kinds[at];
            if kind.in_flight.is_some() {
                continue;
            }
            let fill = Fill {
                moment: self.moment,
                now,
                forward: self.held_until(kind, now).is_none(),
                removable: self.removable(kind),
                room: self.limits.response_bytes,
                ttl: self.ttl,
                warming: order::warmed_by(&kind.type_url)
                    .and_then(|warmed| self.position(&warmed))
                    .is_some(),
            };
            if let Some(draft) = self.kinds[at].fill(view, &fill, &self.sets) {
                return Some(self.send(at, draft, now));
            }
        }
        None
    }

    /// Rises whenever something is settled, and with every moment.
    fn settled_in_sum(&self) -> Moment {
        self.kinds.iter().map(|kind| kind.removed_through(self.moment)).sum()
    }

    /// Whether [`next`](Self::next) may have something now. A false answer is certain,
    /// but for what comes with its [`deadline`](Self::deadline).
    pub fn has_more(&self) -> bool {
        let unsent = |kind: &Kind| kind.since().is_some() || kind.removing_since.is_some();
        self.kinds.iter().any(|kind| kind.in_flight.is_none() && unsent(kind))
    }

    /// When [`next`](Self::next) may have something without any event.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let idle = self.kinds.iter().filter(|kind| kind.in_flight.is_none());
        idle.flat_map(|kind| [self.held_until(kind, now), kind.heartbeats.next()]).flatten().min()
    }

    /// What the client asked for, by type.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TypeUrl, &Subscription)> {
        self.kinds.iter().map(|kind| (&kind.type_url, &kind.subscription))
    }

    /// Names that the client is still to be told about.
    pub fn pending(&self, type_url: &TypeUrl) -> usize {
        self.position(type_url).map_or(0, |at| self.kinds[at].pending())
    }

    /// Names whose current content the client refused, and its version.
    pub fn refused(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Name, Version)> + use<'_> {
        let kind = self.position(type_url).map(|at| &self.kinds[at]);
        kind.into_iter().flat_map(|kind| &kind.refused).map(|(name, version)| (name, *version))
    }

    /// Whether everything was sent and answered.
    pub fn settled(&self) -> bool {
        self.kinds.iter().all(|kind| kind.since().is_none() && kind.removing_since.is_none())
    }

    #[cfg(test)]
    fn shares_set_with(&self, other: &SotwState, type_url: &TypeUrl) -> bool {
        let held = |state: &SotwState| state.kinds[state.position(type_url)?].held.clone();
        held(self).zip(held(other)).is_some_and(|(one, two)| Arc::ptr_eq(&one, &two))
    }

    fn position(&self, type_url: &TypeUrl) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.type_url == *type_url)
    }

    /// The state of a type, and whether this is the first that is heard of it.
    fn kind_of(&mut self, type_url: &str) -> Result<(usize, bool), ProtocolError> {
        let type_url = TypeUrl::from(type_url);
        if let Some(at) = self.position(&type_url) {
            return Ok((at, false));
        }
        self.limits.check_type(&type_url, self.kinds.len())?;
        let key = |of: &TypeUrl| (order::rank(of), of.clone());
        let at = self.kinds.partition_point(|kind| key(&kind.type_url) < key(&type_url));
        self.kinds.insert(at, Kind::new(type_url));
        Ok((at, true))
    }

    /// Until when changes of this type that nobody asked for wait for the ACK of
    /// what they may refer to: of whatever there was when the newest of them was
    /// made. Under steady changes there is always more; so the oldest of them waits
    /// no longer than may be.
    fn held_until(&self, kind: &Kind, now: Instant) -> Option<Instant> {
        let change = kind.owed.change()?;
        let until = change.since + self.limits.hold_back;
        let waits = order::prerequisites(&kind.type_url)
            .iter()
            .filter_map(|other| self.position(other))
            .any(|other| self.kinds[other].settled_through(self.moment) < change.newest);
        (waits && now < until).then_some(until)
    }

    /// Through which moment removals of this type may be sent: everything that
    /// referred to them was answered.
    fn removable(&self, kind: &Kind) -> Moment {
        order::referrers(&kind.type_url)
            .iter()
            .filter_map(|other| self.position(other))
            .map(|other| self.kinds[other].removed_through(self.moment))
            .min()
            .unwrap_or(Moment::MAX)
    }

    fn send(&mut self, at: usize, draft: Draft, now: Instant) -> Response {
        let nonce = self.nonces.next();
        let type_url = self.kinds[at].type_url.clone();
        let identifier = self.identifier.take();
        let envelope = Envelope {
            type_url: &type_url,
            nonce: Some(nonce),
            version: Some(draft.version.to_string()),
            errors: &draft.errors,
            identifier: identifier.as_deref(),
            ..Envelope::default()
        };
        let mut message = draft.message;
        message.write(|out| envelope.sotw(out));
        let resources = draft.resources;
        self.kinds[at].sent(nonce, draft.in_flight, now);
        self.warm(&type_url, &draft.referred, now);
        Response { type_url, nonce, message, resources, removed: 0 }
    }

    fn warm(&mut self, type_url: &TypeUrl, referred: &[Name], now: Instant) {
        let Some(at) = order::warmed_by(type_url).and_then(|warmed| self.position(&warmed)) else {
            return;
        };
        self.kinds[at].warm(referred, self.moment, now);
    }
}

/// Matches a request to the latest response and settles that.
fn answer(kind: &mut Kind, request: &DiscoveryRequest) -> Verdict {
    if request.response_nonce.is_empty() {
        return Verdict::None;
    }
    let latest = kind.last_nonce.filter(|latest| latest.matches(&request.response_nonce));
    let Some(nonce) = latest else { return Verdict::Stale };
    // With the latest nonce once more, a client only changes its names.
    let Some(in_flight) = kind.in_flight.take() else { return Verdict::None };
    let answered = Answered { nonce, sent: in_flight.at };
    match &request.error_detail {
        None => {
            kind.accepted(in_flight);
            Verdict::Ack(answered)
        }
        Some(error) => {
            Verdict::Nack(answered, Rejection::of(error, |text| kind.refused(in_flight, text)))
        }
    }
}

#[cfg(test)]
mod tests;
