//! Who is connected, and how far each client has come.

mod of_type;
mod refusals;
mod stamp;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use self::of_type::OfType;
use self::stamp::Stamp;
pub use self::status::{Answer, ClientStatus, Nack, Push, Refused, SyncState, TypeStatus};
use crate::names::{Name, Subscription, TypeUrl};
use crate::protocol::{Response, State, Verdict};
use crate::resource::Resource;
use crate::source::{Changes, Client, Refusal, ResourceSource};

/// The clients connected to a server. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    connected: Arc<Mutex<BTreeMap<u64, Arc<Connected>>>>,
}

/// The variant of the protocol that a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// State of the world.
    Sotw,
    /// Delta.
    Delta,
}

/// One connected client.
#[derive(Debug)]
pub struct Connected {
    client: Arc<Client>,
    protocol: Protocol,
    since: Stamp,
    types: Mutex<Vec<OfType>>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The client may ask for something else than before.
    pub(crate) subscribed: bool,
    /// When the oldest change was said that the answered response carried, if it carried
    /// any.
    pub(crate) change: Option<Instant>,
    /// By this the client has accepted that change, whatever its types.
    pub(crate) converged: bool,
}

impl Clients {
    /// Everybody connected, in order of connection.
    pub fn list(&self) -> Vec<ClientStatus> {
        self.all().iter().map(|connected| connected.status()).collect()
    }

    /// Handles of everybody connected, in order of connection.
    pub fn all(&self) -> Vec<Arc<Connected>> {
        self.connected.lock().values().cloned().collect()
    }

    /// The streams of one node.
    pub fn of_node(&self, id: &str) -> Vec<Arc<Connected>> {
        self.all().into_iter().filter(|connected| connected.client.node.id == id).collect()
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.connected.lock().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.connected.lock().is_empty()
    }

    /// How many resources clients refuse as they are now, by type.
    pub fn refused(&self) -> BTreeMap<TypeUrl, usize> {
        let mut refused = BTreeMap::new();
        for connected in self.all() {
            for of_type in connected.types.lock().iter().filter(|of_type| of_type.refused() > 0) {
                *refused.entry(of_type.type_url.clone()).or_default() += of_type.refused();
            }
        }
        refused
    }

    /// Lists the client until the guard is dropped.
    pub(crate) fn join(&self, client: Arc<Client>, protocol: Protocol) -> Membership {
        let since = Stamp::now();
        let connected = Arc::new(Connected { client, protocol, since, types: Mutex::default() });
        self.connected.lock().insert(connected.client.stream, connected.clone());
        Membership { clients: self.clone(), connected }
    }
}

/// Keeps a client listed.
#[derive(Debug)]
pub(crate) struct Membership {
    clients: Clients,
    pub(crate) connected: Arc<Connected>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.clients.connected.lock().remove(&self.connected.client.stream);
    }
}

impl Connected {
    /// Who it is.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The state of all its types.
    pub fn status(&self) -> ClientStatus {
        let types = self.types.lock().iter().map(OfType::status).collect();
        ClientStatus::new(&self.client, self.protocol, self.since.time(), types)
    }

    /// What the client is given now, per type that it asked for: for dumps.
    ///
    /// Read through a view of its own, so it is what the client has or is about
    /// to have.
    pub fn given(
        &self,
        source: &dyn ResourceSource,
    ) -> Result<BTreeMap<TypeUrl, Vec<Arc<Resource>>>, Refusal> {
        let mut view = source.connect(&self.client)?;
        view.advance();
        // Listed without the lock, for which the stream would have to wait.
        let given = self.subscriptions().into_iter().map(|(type_url, subscription)| {
            let covered = |resource: &Arc<Resource>| {
                subscription.covers(resource.name())
                    || resource.aliases().iter().any(|alias| subscription.covers(alias))
            };
            let resources = view.list(&type_url).filter(covered).collect();
            (type_url, resources)
        });
        Ok(given.collect())
    }

    fn subscriptions(&self) -> Vec<(TypeUrl, Subscription)> {
        let of = |of_type: &OfType| (of_type.type_url.clone(), of_type.subscription.clone());
        self.types.lock().iter().map(of).collect()
    }

    /// Whether the client asked for the resource of this name, by it or by asking for all.
    pub fn asks_for(&self, type_url: &str, name: &str) -> bool {
        let types = self.types.lock();
        let of_type = types.iter().find(|of_type| *of_type.type_url == *type_url);
        of_type.is_some_and(|of_type| of_type.subscription.covers(&Name::from(name)))
    }

    /// The names asked for that none of these resources goes by.
    pub(crate) fn names_without(&self, type_url: &str, resources: &[Arc<Resource>]) -> Vec<Name> {
        let subscriptions = self.subscriptions();
        let of_type = subscriptions.iter().find(|(of, _)| **of == *type_url);
        let aliases: BTreeSet<&Name> =
            resources.iter().flat_map(|resource| resource.aliases()).collect();
        let found = |name: &Name| {
            resources.binary_search_by(|resource| resource.name().cmp(name)).is_ok()
                || aliases.contains(name)
        };
        let names = of_type.into_iter().flat_map(|(_, subscription)| subscription.iter());
        names.filter(|name| !found(name)).cloned().collect()
    }

    /// The view moved on: these changes are to be told, as far as they concern the client.
    pub(crate) fn changed(&self, changes: &Changes, state: &impl State, at: Instant) {
        let Some(since) = changes.since.map(Stamp::from) else { return };
        let now = at.into();
        let mut types = self.types.lock();
        for of_type in types.iter_mut() {
            if changes.names.iter().any(|(type_url, _)| *type_url == of_type.type_url) {
                of_type.changed(since, state, now);
            }
        }
    }

    /// A response went out. With `rests`, nothing more can be sent for now.
    pub(crate) fn sent(&self, response: &Response, rests: bool, state: &impl State, at: Instant) {
        let now = Stamp::from(at);
        let mut types = self.types.lock();
        let of_type = entry(&mut types, &response.type_url);
        of_type.sent(response, now);
        of_type.refresh(state, now);
        if rests {
            // The others are as they were, but for those of which something was to be told.
            let others = types.iter_mut().filter(|of_type| of_type.is_pending());
            others.for_each(|of_type| of_type.refresh(state, now));
        }
    }

    /// Nothing can be sent for now; what is still to be told is counted.
    pub(crate) fn rests(&self, state: &impl State, at: Instant) {
        let now = at.into();
        self.types.lock().iter_mut().for_each(|of_type| of_type.refresh(state, now));
    }

    /// A request was taken in, with this verdict on an earlier response.
    pub(crate) fn heard(
        &self,
        type_url: &TypeUrl,
        verdict: &Verdict,
        state: &impl State,
        at: Instant,
    ) -> Heard {
        let now = Stamp::from(at);
        let mut types = self.types.lock();
        let of_type = entry(&mut types, type_url);
        let change = match verdict {
            Verdict::None | Verdict::Stale => None,
            Verdict::Ack(answered) => of_type.acked(answered, now),
            Verdict::Nack(answered, rejection) => {
                of_type.nacked(answered, rejection, state.refused(type_url), now)
            }
        };
        let subscription = state.subscription(type_url);
        let subscribed = subscription.is_some_and(|subscription| of_type.subscribed(subscription));
        of_type.refresh(state, now);
        let accepted = change.filter(|_| matches!(verdict, Verdict::Ack(_)));
        let converged = accepted.is_some_and(|change| !types.iter().any(|of| of.may_owe(change)));
        Heard { subscribed, change: change.map(Stamp::instant), converged }
    }
}

/// The type's entry, made if this is the first that is heard of it.
fn entry<'a>(types: &'a mut Vec<OfType>, type_url: &TypeUrl) -> &'a mut OfType {
    let at = types.iter().position(|of_type| of_type.type_url == *type_url);
    let at = at.unwrap_or_else(|| {
        types.push(OfType::new(type_url.clone()));
        types.len() - 1
    });
    &mut types[at]
}

#[cfg(test)]
mod tests;
