//! Delta xDS: the state of one stream.

mod draft;
mod kind;
mod resumed;

use std::sync::Arc;
use std::time::Instant;

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use self::draft::Draft;
use self::kind::{Fill, InFlight, Kind};
use self::resumed::Resumed;
use super::nonce::Nonces;
use super::wire::Envelope;
use super::{Answered, Moment, ProtocolError, Rejection, Response, Verdict, order};
use crate::limits::Limits;
use crate::names::{Name, Subscription, TypeUrl};
use crate::source::{Changes, Client, ResourceView};
use crate::version::Version;

/// The delta protocol of one stream, without the stream.
///
/// What the client holds is not kept name by name: it is what the view has, but
/// for what is owed, held back or refused.
#[derive(Debug)]
pub struct DeltaState {
    /// In the order of sending.
    kinds: Vec<Kind>,
    /// By their places, those that are not idle: a bit each, so that idle ones, which
    /// are most, need not even be looked at.
    busy: u64,
    nonces: Nonces,
    moment: Moment,
    limits: Arc<Limits>,
    /// Goes into the first response.
    identifier: Option<Arc<str>>,
    ttl: bool,
}

impl DeltaState {
    /// A stream on which nothing was said yet.
    ///
    /// `identifier` names this server to the client. `salt` makes nonces
    /// differ from those of other streams.
    pub fn new(
        client: &Client,
        limits: Arc<Limits>,
        identifier: Arc<str>,
        salt: u32,
    ) -> DeltaState {
        DeltaState {
            kinds: Vec::new(),
            busy: 0,
            nonces: Nonces::new(salt),
            moment: 1,
            limits,
            identifier: Some(identifier).filter(|name| !name.is_empty()),
            ttl: client.supports("xds.config.supports-resource-ttl"),
        }
    }

    /// Takes in a request: its ACK or NACK, then its changes of subscription,
    /// which count even if the nonce is stale.
    pub fn on_request(
        &mut self,
        request: DeltaDiscoveryRequest,
        view: &dyn ResourceView,
        now: Instant,
    ) -> Result<Verdict, ProtocolError> {
        if request.type_url.is_empty() {
            return Err(ProtocolError::MissingType);
        }
        let (at, first) = self.kind_of(&request.type_url)?;
        let moment = self.moment;
        let kind = &mut self.kinds[at];
        let verdict = answer(kind, &request, moment, now);
        kind.subscribe(&request, first, moment, now, &self.limits)?;
        if first {
            kind.resumed = Resumed::of(request.initial_resource_versions);
            kind.compare(view, moment, now);
        }
        self.note(at);
        Ok(verdict)
    }

    /// Takes in what a view says when it moves on.
    pub fn on_changes(&mut self, changes: &Changes, now: Instant) {
        if changes.is_empty() {
            return;
        }
        self.moment += 1;
        for (type_url, names) in &changes.names {
            if let Some(at) = self.position(type_url) {
                self.kinds[at].changed(names, self.moment, now);
                self.note(at);
            }
        }
    }

    /// The next response, if any may be sent now. To be called until it
    /// returns `None`, after every request, change and [`deadline`](Self::deadline).
    pub fn next(&mut self, view: &dyn ResourceView, now: Instant) -> Option<Response> {
        for at in self.busy() {
            self.kinds[at].compare(view, self.moment, now);
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
        for at in self.busy() {
            let kind = &self.kinds[at];
            if kind.in_flight.is_some() || kind.has_nothing_to_say(now) {
                continue;
            }
            let since = kind.removed_through(self.moment - 1) + 1;
            let fill = Fill {
                moment: self.moment,
                since,
                now,
                forward: self.held_until(kind, now).is_none(),
                removable: self.removable(kind),
                room: self.limits.response_bytes,
                ttl: self.ttl,
                warming: order::warmed_by(&kind.type_url)
                    .and_then(|warmed| self.position(&warmed))
                    .is_some(),
            };
            let draft = self.kinds[at].fill(view, &fill);
            let response = draft.map(|draft| self.send(at, draft, since, now));
            self.note(at);
            if response.is_some() {
                return response;
            }
        }
        None
    }

    /// Rises whenever something is settled, and with every moment.
    fn settled_in_sum(&self) -> Moment {
        let busy = self.busy().map(|at| self.kinds[at].removed_through(self.moment));
        let idle = self.kinds.len() as u64 - u64::from(self.busy.count_ones());
        busy.sum::<Moment>() + idle * self.moment
    }

    /// Whether [`next`](Self::next) may have something now. A false answer is certain,
    /// but for what comes with its [`deadline`](Self::deadline).
    pub fn has_more(&self) -> bool {
        let unsent = |kind: &Kind| kind.since().is_some() || !kind.held.is_empty();
        self.busy().map(|at| &self.kinds[at]).any(|kind| kind.in_flight.is_none() && unsent(kind))
    }

    /// When [`next`](Self::next) may have something without any event.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.busy().map(|at| &self.kinds[at]);
        let waiting = waiting.filter(|kind| kind.in_flight.is_none());
        waiting
            .flat_map(|kind| [self.held_until(kind, now), kind.heartbeats.next()])
            .flatten()
            .min()
    }

    /// What the client asked for, by type.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TypeUrl, &Subscription)> {
        self.kinds.iter().map(|kind| (&kind.type_url, &kind.subscription))
    }

    /// Names that the client is still to be told about.
    pub fn pending(&self, type_url: &TypeUrl) -> usize {
        let busy = self.position(type_url).filter(|at| self.is_busy(*at));
        busy.map_or(0, |at| self.kinds[at].pending())
    }

    /// Names whose current content the client refused, and its version.
    pub fn refused(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Name, Version)> + use<'_> {
        let kind = self.position(type_url).map(|at| &self.kinds[at]);
        kind.into_iter().flat_map(|kind| &kind.refused).map(|(name, version)| (name, *version))
    }

    /// Whether everything was sent and answered.
    pub fn settled(&self) -> bool {
        self.busy().all(|at| self.kinds[at].since().is_none() && self.kinds[at].held.is_empty())
    }

    /// The places of types that are not idle.
    fn busy(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.busy;
        std::iter::from_fn(move || {
            let at = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(at)
        })
    }

    fn is_busy(&self, at: usize) -> bool {
        self.busy & (1 << at) != 0
    }

    /// To be called when something was done to the type at this place.
    fn note(&mut self, at: usize) {
        match self.kinds[at].is_idle() {
            true => self.busy &= !(1 << at),
            false => self.busy |= 1 << at,
        }
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
        let before = (1 << at) - 1;
        self.busy = (self.busy & before) | ((self.busy & !before) << 1);
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
            .filter(|other| self.is_busy(*other))
            .any(|other| self.kinds[other].settled_through(self.moment) < change.newest);
        (waits && now < until).then_some(until)
    }

    /// Through which moment removals of this type may be sent: everything that
    /// referred to them was answered.
    fn removable(&self, kind: &Kind) -> Moment {
        order::referrers(&kind.type_url)
            .iter()
            .filter_map(|other| self.position(other))
            .map(|other| match self.is_busy(other) {
                true => self.kinds[other].removed_through(self.moment),
                false => self.moment,
            })
            .min()
            .unwrap_or(Moment::MAX)
    }

    fn send(&mut self, at: usize, draft: Draft, since: Moment, now: Instant) -> Response {
        let nonce = self.nonces.next();
        let type_url = self.kinds[at].type_url.clone();
        let identifier = self.identifier.take();
        let envelope = Envelope {
            type_url: &type_url,
            nonce: Some(nonce),
            removed: &draft.removed,
            errors: &draft.errors,
            identifier: identifier.as_deref(),
            ..Envelope::default()
        };
        let mut message = draft.message;
        message.write(|out| envelope.delta(out));
        let (resources, removed) = (draft.sent.len(), draft.removed.len());
        self.kinds[at].in_flight = Some(InFlight {
            nonce,
            since,
            at: now,
            sent: draft.sent,
            removed: draft.removed,
            dropped: false,
            overtaken: false,
        });
        self.warm(&type_url, &draft.referred, now);
        Response { type_url, nonce, message, resources, removed }
    }

    fn warm(&mut self, type_url: &TypeUrl, referred: &[Name], now: Instant) {
        let Some(at) = order::warmed_by(type_url).and_then(|warmed| self.position(&warmed)) else {
            return;
        };
        self.kinds[at].warm(referred, self.moment, now);
        self.note(at);
    }
}

/// Matches a request to the response in flight and settles that.
fn answer(
    kind: &mut Kind,
    request: &DeltaDiscoveryRequest,
    moment: Moment,
    now: Instant,
) -> Verdict {
    if request.response_nonce.is_empty() {
        return Verdict::None;
    }
    let Some(in_flight) =
        kind.in_flight.take_if(|sent| sent.nonce.matches(&request.response_nonce))
    else {
        return Verdict::Stale;
    };
    let answered = Answered { nonce: in_flight.nonce, sent: in_flight.at };
    match &request.error_detail {
        None => {
            kind.accepted(in_flight, moment, now);
            Verdict::Ack(answered)
        }
        Some(error) => {
            Verdict::Nack(answered, Rejection::of(error, |text| kind.refused(in_flight, text)))
        }
    }
}

#[cfg(test)]
mod tests;
