//! One type of one client.

use std::collections::BTreeMap;

use super::refusals::Refusals;
use super::stamp::Stamp;
use super::status::{Answer, Push, SyncState, TypeStatus};
use crate::names::{Name, Subscription, TypeUrl};
use crate::protocol::{Answered, Nonce, Rejection, Response, State};
use crate::version::Version;

/// What happened with one type. Every stream has several of these, so they are small.
#[derive(Debug)]
pub(super) struct OfType {
    pub(super) type_url: TypeUrl,
    pub(super) subscription: Subscription,
    pending: u32,
    /// Since when the client has not what it should have.
    behind: Option<Stamp>,
    sent: Option<Sent>,
    acked: Option<Accepted>,
    refusals: Option<Box<Refusals>>,
    /// When the oldest change was said of which something is still to be sent.
    unsent: Option<Stamp>,
    /// The same of the response without an answer.
    carried: Option<Stamp>,
}

/// The latest response.
#[derive(Debug)]
struct Sent {
    nonce: Nonce,
    at: Stamp,
    resources: u32,
    removed: u32,
    bytes: u32,
}

/// The latest ACK.
#[derive(Debug)]
struct Accepted {
    nonce: Nonce,
    at: Stamp,
}

impl OfType {
    pub(super) fn new(type_url: TypeUrl) -> OfType {
        OfType {
            type_url,
            subscription: Subscription::default(),
            pending: 0,
            behind: None,
            sent: None,
            acked: None,
            refusals: None,
            unsent: None,
            carried: None,
        }
    }

    /// Something was said at that moment, and perhaps concerns the client: then more
    /// is to be told to it than before.
    pub(super) fn changed(&mut self, since: Stamp, state: &impl State, now: Stamp) {
        let before = self.pending;
        self.refresh(state, now);
        if self.pending > before {
            self.unsent.get_or_insert(since);
        }
    }

    /// Whether the client may ask for something else than before.
    pub(super) fn subscribed(&mut self, subscription: &Subscription) -> bool {
        let changed = !self.subscription.is_copy_of(subscription);
        if changed {
            self.subscription = subscription.clone();
        }
        changed
    }

    pub(super) fn sent(&mut self, response: &Response, now: Stamp) {
        self.sent = Some(Sent {
            nonce: response.nonce,
            at: now,
            resources: count(response.resources),
            removed: count(response.removed),
            bytes: count(response.message.len()),
        });
        self.carried = self.unsent;
    }

    /// The latest response was accepted; returns the oldest change that it carried.
    pub(super) fn acked(&mut self, answered: &Answered, now: Stamp) -> Option<Stamp> {
        self.acked = Some(Accepted { nonce: answered.nonce, at: now });
        self.carried.take()
    }

    /// The latest response was refused; because of that or of earlier ones, these are.
    /// Returns the oldest change that it carried, of which the rest will be sent again.
    pub(super) fn nacked<'a>(
        &mut self,
        answered: &Answered,
        rejection: &Rejection,
        refused: impl Iterator<Item = (&'a Name, Version)>,
        now: Stamp,
    ) -> Option<Stamp> {
        let mut refusals = self.refusals.take().unwrap_or_default();
        refusals.note(answered, rejection, refused, now);
        self.refusals = Some(refusals);
        let carried = self.carried.take();
        self.unsent = carried.or(self.unsent);
        carried
    }

    /// Whether something of a change may be without an ACK, unsent or in a response that
    /// went out since it was said.
    pub(super) fn may_owe(&self, change: Stamp) -> bool {
        let as_old = |since: Option<Stamp>| since.is_some_and(|since| since <= change);
        let sent_since = || self.sent.as_ref().is_some_and(|sent| sent.at >= change);
        as_old(self.unsent) || (as_old(self.carried) && sent_since())
    }

    /// Takes over what is still to be told, and what is refused by now.
    pub(super) fn refresh(&mut self, state: &impl State, now: Stamp) {
        self.pending = count(state.pending(&self.type_url));
        if self.pending == 0 {
            self.unsent = None;
        }
        if self.refusals.is_some() {
            self.settle(state);
        }
        match self.state() {
            SyncState::Empty | SyncState::Synced => self.behind = None,
            SyncState::Stale | SyncState::Rejected => {
                self.behind.get_or_insert(now);
            }
        }
    }

    /// A resource that was sent anew is refused until that is accepted, and one
    /// that the client no longer asks for is not.
    #[cold]
    fn settle(&mut self, state: &impl State) {
        let answered = self.answered();
        let Some(refusals) = &mut self.refusals else { return };
        if answered {
            let refused: BTreeMap<&Name, Version> = state.refused(&self.type_url).collect();
            refusals.retain(|name, version| refused.get(name) == Some(&version));
        } else {
            refusals.retain(|name, _| self.subscription.covers(name));
        }
    }

    /// Whether something was still to be told when last looked.
    pub(super) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// How many resources the client refuses.
    pub(super) fn refused(&self) -> usize {
        self.refusals.as_ref().map_or(0, |refusals| refusals.len())
    }

    fn answered(&self) -> bool {
        let sent = self.sent.as_ref().map(|sent| sent.nonce);
        sent == self.acked.as_ref().map(|acked| acked.nonce) || sent == self.refused_nonce()
    }

    /// The nonce of the latest response that was refused.
    fn refused_nonce(&self) -> Option<Nonce> {
        self.refusals.as_ref().and_then(|refusals| refusals.nonce())
    }

    fn state(&self) -> SyncState {
        SyncState::of(
            self.pending as usize,
            self.sent.as_ref().map(|sent| sent.nonce),
            self.acked.as_ref().map(|acked| acked.nonce),
            self.refused_nonce(),
            self.refused(),
        )
    }

    pub(super) fn status(&self) -> TypeStatus {
        let push = |sent: &Sent| Push {
            nonce: sent.nonce,
            at: sent.at.time(),
            resources: sent.resources as usize,
            removed: sent.removed as usize,
            bytes: sent.bytes as usize,
        };
        let answer = |acked: &Accepted| Answer { nonce: acked.nonce, at: acked.at.time() };
        TypeStatus {
            type_url: self.type_url.to_string(),
            wildcard: self.subscription.wildcard(),
            names: self.subscription.len(),
            pending: self.pending as usize,
            stale_since: self.behind.map(Stamp::time),
            sent: self.sent.as_ref().map(push),
            acked: self.acked.as_ref().map(answer),
            nacked: self.refusals.as_ref().and_then(|refusals| refusals.latest()),
            refused: self.refusals.as_ref().map(|refusals| refusals.list()).unwrap_or_default(),
        }
    }
}

/// As many as can be counted.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
