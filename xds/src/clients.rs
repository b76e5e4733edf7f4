//! Who is connected, and how far each client has come.

mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

pub use self::status::{Answer, ClientStatus, Nack, Push, SyncState, TypeStatus};
use crate::names::{Name, Subscription, TypeUrl};
use crate::protocol::{Answered, Rejection, Response};
use crate::resource::Resource;
use crate::source::{Client, Refusal, ResourceSource};

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
    since: SystemTime,
    types: Mutex<Vec<OfType>>,
}

/// What happened with one type.
#[derive(Debug)]
struct OfType {
    type_url: TypeUrl,
    subscription: Subscription,
    pending: usize,
    stale_since: Option<SystemTime>,
    sent: Option<Push>,
    acked: Option<Answer>,
    nacked: Option<Box<Nack>>,
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

    /// Lists the client until the guard is dropped.
    pub(crate) fn join(&self, client: Arc<Client>, protocol: Protocol) -> Membership {
        let since = SystemTime::now();
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
        ClientStatus::new(&self.client, self.protocol, self.since, types)
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
        let types = self.types.lock();
        let given = types.iter().map(|of_type| {
            let listed = view.list(&of_type.type_url);
            let covered = |resource: &Arc<Resource>| {
                of_type.subscription.covers(resource.name())
                    || resource.aliases().iter().any(|alias| of_type.subscription.covers(alias))
            };
            (of_type.type_url.clone(), listed.filter(covered).collect())
        });
        Ok(given.collect())
    }

    /// Whether the client asked for the resource of this name, by it or by asking for all.
    pub fn asks_for(&self, type_url: &str, name: &str) -> bool {
        let types = self.types.lock();
        let of_type = types.iter().find(|of_type| *of_type.type_url == *type_url);
        of_type.is_some_and(|of_type| of_type.subscription.covers(&Name::from(name)))
    }

    /// The names asked for that none of these resources goes by.
    pub(crate) fn names_without(&self, type_url: &str, resources: &[Arc<Resource>]) -> Vec<Name> {
        let types = self.types.lock();
        let of_type = types.iter().find(|of_type| *of_type.type_url == *type_url);
        let found = |name: &Name| {
            let by_alias = || resources.iter().any(|resource| resource.aliases().contains(name));
            resources.binary_search_by(|resource| resource.name().cmp(name)).is_ok() || by_alias()
        };
        let names = of_type.into_iter().flat_map(|of_type| of_type.subscription.iter());
        names.filter(|name| !found(name)).cloned().collect()
    }

    /// Whether it may be another one than before.
    pub(crate) fn subscribed(
        &self,
        type_url: &TypeUrl,
        subscription: &Subscription,
        pending: usize,
    ) -> bool {
        self.with(type_url, |of_type| {
            let changed = !of_type.subscription.is_copy_of(subscription);
            if changed {
                of_type.subscription = subscription.clone();
            }
            of_type.pending = pending;
            changed
        })
    }

    pub(crate) fn sent(&self, response: &Response, pending: usize) {
        self.with(&response.type_url, |of_type| {
            of_type.sent = Some(Push::of(response));
            of_type.pending = pending;
        });
    }

    /// Nothing more can be sent for now; what is still to be told is counted.
    pub(crate) fn rests(&self, pending: impl Fn(&TypeUrl) -> usize) {
        for of_type in self.types.lock().iter_mut() {
            of_type.pending = pending(&of_type.type_url);
            of_type.note_state();
        }
    }

    pub(crate) fn acked(&self, type_url: &TypeUrl, answered: &Answered) {
        self.with(type_url, |of_type| of_type.acked = Some(Answer::to(answered)));
    }

    pub(crate) fn nacked(&self, type_url: &TypeUrl, answered: &Answered, rejection: &Rejection) {
        let nack = Box::new(Nack { answer: Answer::to(answered), rejection: rejection.clone() });
        self.with(type_url, |of_type| of_type.nacked = Some(nack));
    }

    fn with<T>(&self, type_url: &TypeUrl, change: impl FnOnce(&mut OfType) -> T) -> T {
        let mut types = self.types.lock();
        let at =
            types.iter().position(|of_type| of_type.type_url == *type_url).unwrap_or_else(|| {
                types.push(OfType::new(type_url.clone()));
                types.len() - 1
            });
        let result = change(&mut types[at]);
        types[at].note_state();
        result
    }
}

impl OfType {
    fn new(type_url: TypeUrl) -> OfType {
        let subscription = Subscription::default();
        OfType {
            type_url,
            subscription,
            pending: 0,
            stale_since: None,
            sent: None,
            acked: None,
            nacked: None,
        }
    }

    fn state(&self) -> SyncState {
        let nacked = self.nacked.as_ref().map(|nack| &nack.answer);
        SyncState::of(self.pending, self.sent.as_ref(), self.acked.as_ref(), nacked)
    }

    /// Notes since when the client has not what it should have.
    fn note_state(&mut self) {
        match self.state() {
            SyncState::Empty | SyncState::Synced => self.stale_since = None,
            SyncState::Stale | SyncState::Rejected => {
                self.stale_since.get_or_insert_with(SystemTime::now);
            }
        }
    }

    fn status(&self) -> TypeStatus {
        TypeStatus {
            type_url: self.type_url.to_string(),
            wildcard: self.subscription.wildcard(),
            names: self.subscription.len(),
            pending: self.pending,
            stale_since: self.stale_since,
            sent: self.sent.clone(),
            acked: self.acked.clone(),
            nacked: self.nacked.as_deref().cloned(),
        }
    }
}
