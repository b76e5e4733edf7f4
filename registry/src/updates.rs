//! The channel from adapters to the aggregate: a mailbox per registry.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstem_model::{Condition, Key, ObjectRef, RegistryId, RegistryUpdate, Rejected, Value};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::export::{Export, ExportSettings, Stage};
use crate::interest::{Demand, Interest};

/// A channel: adapters get senders from [`Updates::sender`], the aggregate keeps
/// the receiver.
pub fn channel() -> (Updates, UpdateReceiver) {
    let shared = Arc::new(Shared::default());
    (Updates { shared: shared.clone() }, UpdateReceiver { shared })
}

#[derive(Debug, Default)]
struct Shared {
    mailboxes: Mutex<BTreeMap<RegistryId, Mailbox>>,
    arrived: Notify,
    interest: watch::Sender<Interest>,
}

/// What waits of one registry.
#[derive(Debug, Default)]
struct Mailbox {
    /// Which sender counts: one more for each restart.
    incarnation: u64,
    removed: bool,
    pending: Batch,
    churn: Arc<Churn>,
}

/// How often a registry's own index of its changes misbehaved; grows only.
#[derive(Debug, Default)]
pub struct Churn {
    resets: AtomicU64,
    jumps: AtomicU64,
}

impl Churn {
    /// The index went back or was forgotten, so that everything was asked anew.
    pub fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// The index went ahead, and nothing had changed.
    pub fn jumped(&self) {
        self.jumps.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was reset.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    /// How often it jumped.
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }
}

/// What one registry said since the last read, merged by key. To be applied in
/// the order of the fields.
#[derive(Debug, Default)]
pub struct Batch {
    /// The registry is gone from the configuration, with all that it brought;
    /// what else stands here comes from a successor of the same name.
    pub removed: bool,
    /// A complete state, later changes merged in.
    pub replace: Option<(BTreeMap<Key, Value>, BTreeMap<ObjectRef, Rejected>)>,
    /// Single changes; `None` is a removal.
    pub values: BTreeMap<Key, Option<Value>>,
    /// Objects newly rejected, or accepted again (`None`).
    pub rejected: BTreeMap<ObjectRef, Option<Rejected>>,
    /// The latest condition.
    pub condition: Option<Condition>,
    /// When the first of it was said.
    pub since: Option<Instant>,
}

impl Batch {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        !self.removed
            && self.replace.is_none()
            && self.values.is_empty()
            && self.rejected.is_empty()
            && self.condition.is_none()
    }

    /// Adds an update to what waits.
    pub fn merge(&mut self, update: RegistryUpdate) {
        match update {
            RegistryUpdate::Put(value) => self.set(value.key(), Some(value)),
            RegistryUpdate::Remove(key) => self.set(key, None),
            RegistryUpdate::Replace { values, rejected } => {
                self.values.clear();
                self.rejected.clear();
                let values = values.into_iter().map(|value| (value.key(), value)).collect();
                let rejected = rejected.into_iter().map(|r| (r.object.clone(), r)).collect();
                self.replace = Some((values, rejected));
            }
            RegistryUpdate::Reject(rejected) => self.mark(rejected.object.clone(), Some(rejected)),
            RegistryUpdate::Accept(object) => self.mark(object, None),
            RegistryUpdate::Condition(condition) => self.condition = Some(condition),
        }
    }

    fn set(&mut self, key: Key, value: Option<Value>) {
        match (&mut self.replace, value) {
            (Some((all, _)), Some(value)) => {
                self.values.remove(&key);
                all.insert(key, value);
            }
            // The removal stays beside the replacement: a replacement spares the
            // values of rejected objects, an explicit removal does not.
            (Some((all, _)), None) => {
                all.remove(&key);
                self.values.insert(key, None);
            }
            (None, value) => drop(self.values.insert(key, value)),
        }
    }

    fn mark(&mut self, object: ObjectRef, rejected: Option<Rejected>) {
        match (&mut self.replace, rejected) {
            (Some((_, all)), Some(rejected)) => drop(all.insert(object, rejected)),
            (Some((_, all)), None) => drop(all.remove(&object)),
            (None, rejected) => drop(self.rejected.insert(object, rejected)),
        }
    }
}

/// Hands out senders.
#[derive(Clone, Debug)]
pub struct Updates {
    shared: Arc<Shared>,
}

impl Updates {
    /// The sender of a registry. Earlier senders of the same registry fall silent;
    /// what they said stays in force until the new one replaces it.
    pub fn sender(&self, registry: RegistryId) -> UpdateSender {
        let mut mailboxes = self.shared.mailboxes.lock();
        let mailbox = mailboxes.entry(registry.clone()).or_default();
        mailbox.incarnation += 1;
        mailbox.removed = false;
        let (incarnation, churn) = (mailbox.incarnation, mailbox.churn.clone());
        UpdateSender { shared: self.shared.clone(), incarnation, registry, churn, stage: None }
    }

    /// The same, where what the registry says goes through its own rules first.
    pub fn sender_through(&self, registry: RegistryId, rules: &ExportSettings) -> UpdateSender {
        let stage = (!rules.is_default()).then(|| Stage::new(Export::new(rules)));
        let stage = stage.map(|stage| Arc::new(Mutex::new(stage)));
        UpdateSender { stage, ..self.sender(registry) }
    }

    /// This is what anybody needs from now on. At first nobody needs anything.
    pub fn need(&self, interest: Interest) {
        self.shared.interest.send_replace(interest);
    }

    /// How often a registry's index misbehaved, since the process began.
    pub fn churn(&self, registry: &RegistryId) -> Option<Arc<Churn>> {
        self.shared.mailboxes.lock().get(registry).map(|mailbox| mailbox.churn.clone())
    }

    /// Says that a registry is gone from the configuration: everything that it
    /// brought goes, and its senders fall silent.
    pub fn remove(&self, registry: &RegistryId) {
        let mut mailboxes = self.shared.mailboxes.lock();
        if let Some(mailbox) = mailboxes.get_mut(registry) {
            mailbox.incarnation += 1;
            mailbox.removed = true;
            mailbox.pending = Batch { removed: true, ..Batch::default() };
            drop(mailboxes);
            self.shared.arrived.notify_one();
        }
    }
}

/// One registry's way to the aggregate. Never waits; see the crate's invariants.
#[derive(Clone, Debug)]
pub struct UpdateSender {
    shared: Arc<Shared>,
    incarnation: u64,
    registry: RegistryId,
    churn: Arc<Churn>,
    /// The registry's own rules, if it has any.
    stage: Option<Arc<Mutex<Stage>>>,
}

impl UpdateSender {
    /// The registry that speaks.
    pub fn registry(&self) -> &RegistryId {
        &self.registry
    }

    /// Where it is counted that the registry's index misbehaved.
    pub fn churn(&self) -> &Arc<Churn> {
        &self.churn
    }

    /// What anybody needs of this registry.
    pub fn demand(&self) -> Demand {
        let export = self.stage.as_ref().map(|stage| stage.lock().export().clone());
        Demand::new(self.shared.interest.subscribe(), export.unwrap_or_default())
    }

    /// Says several things at once; the reader sees all of them or none.
    pub fn send_all(&self, updates: impl IntoIterator<Item = RegistryUpdate>) {
        let Some(stage) = &self.stage else { return self.post(updates) };
        // Held until the mailbox has it, so that updates stay in order.
        let mut stage = stage.lock();
        let updates: Vec<_> = updates.into_iter().flat_map(|update| stage.apply(update)).collect();
        self.post(updates);
    }

    fn post(&self, updates: impl IntoIterator<Item = RegistryUpdate>) {
        let mut mailboxes = self.shared.mailboxes.lock();
        let Some(mailbox) = mailboxes.get_mut(&self.registry) else { return };
        if mailbox.removed || mailbox.incarnation != self.incarnation {
            return;
        }
        for update in updates {
            mailbox.pending.since.get_or_insert_with(Instant::now);
            mailbox.pending.merge(update);
        }
        drop(mailboxes);
        self.shared.arrived.notify_one();
    }

    /// Says one thing.
    pub fn send(&self, update: RegistryUpdate) {
        self.send_all([update]);
    }

    /// This value is new or changed.
    pub fn put(&self, value: Value) {
        self.send(RegistryUpdate::Put(value));
    }

    /// This value is gone, by the registry's own word.
    pub fn remove(&self, key: Key) {
        self.send(RegistryUpdate::Remove(key));
    }

    /// This is everything; the registry is live.
    pub fn replace(&self, values: Vec<Value>, rejected: Vec<Rejected>) {
        self.send_all([
            RegistryUpdate::Replace { values, rejected },
            RegistryUpdate::Condition(Condition::Live),
        ]);
    }

    /// This object could not be understood.
    pub fn reject(&self, rejected: Rejected) {
        self.send(RegistryUpdate::Reject(rejected));
    }

    /// This object is understood again, or gone.
    pub fn accept(&self, object: ObjectRef) {
        self.send(RegistryUpdate::Accept(object));
    }

    /// The registry is complete and followed.
    pub fn live(&self) {
        self.send(RegistryUpdate::Condition(Condition::Live));
    }

    /// The registry cannot be reached or answers wrongly; nothing that it brought
    /// changes. The reason is the error with its causes.
    pub fn failed(&self, error: &(dyn Error + 'static)) {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        self.send(RegistryUpdate::Condition(Condition::Failed(reason.into())));
    }
}

/// The aggregate's end.
#[derive(Debug)]
pub struct UpdateReceiver {
    shared: Arc<Shared>,
}

impl UpdateReceiver {
    /// Waits until some registry has said something, and takes all that was said.
    /// Safe to cancel.
    pub async fn recv(&mut self) -> Vec<(RegistryId, Batch)> {
        loop {
            let batches = self.try_recv();
            if !batches.is_empty() {
                return batches;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// Takes all that was said, without waiting.
    pub fn try_recv(&mut self) -> Vec<(RegistryId, Batch)> {
        let mut mailboxes = self.shared.mailboxes.lock();
        let mut batches = Vec::new();
        for (registry, mailbox) in mailboxes.iter_mut() {
            if !mailbox.pending.is_empty() {
                batches.push((registry.clone(), std::mem::take(&mut mailbox.pending)));
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests;
