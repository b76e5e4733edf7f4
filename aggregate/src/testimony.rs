//! What the aggregate holds, for whoever explains it.
//!
//! ```text
//!  Questions ─ asked ─▶ the aggregate's loop ─ Testimony ─▶ whoever asked, who looks through it
//! ```
//!
//! A testimony shares everything with what is held: the loop copies one pointer per
//! registry and kind of value, and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    Condition, EndpointSet, Freshness, Hostname, NamespaceName, RegistryId, Service, ServiceKey,
    Snapshot,
};
use tokio::sync::{mpsc, oneshot};

use crate::held::Values;
use crate::rules::{RegistryRules, Rules};

/// How many questions wait; who asks more waits with them.
const WAITING: usize = 64;

/// What registries said, before anything was merged, and what was made of it.
#[derive(Clone, Debug)]
pub struct Testimony {
    pub(crate) rules: Rules,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) held: BTreeMap<RegistryId, Values>,
    pub(crate) shares: BTreeMap<RegistryId, u8>,
}

/// What one registry says of one service.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Its definition.
    pub service: Option<&'a Arc<Service>>,
    /// Its endpoints.
    pub endpoints: Option<&'a Arc<EndpointSet>>,
}

impl Testimony {
    /// What each registry may do, and how they share services.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The snapshot merged last.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// How much of its weight a registry has, in percent.
    pub fn share(&self, registry: &RegistryId) -> u8 {
        self.shares.get(registry).copied().unwrap_or(100)
    }

    /// What a registry says of a service.
    pub fn said(&self, registry: &RegistryId, key: &ServiceKey) -> Option<Statement<'_>> {
        let said = self.held.get(registry)?.said(key)?;
        Some(Statement { service: said.service.as_ref(), endpoints: said.endpoints.as_ref() })
    }

    /// Whether the registry has the service, and has not loaded it.
    pub fn unloaded(&self, registry: &RegistryId, key: &ServiceKey) -> bool {
        self.held.get(registry).is_some_and(|values| values.is_unloaded(key))
    }

    /// Whether the registry has expired, so that its values are left out.
    pub fn left_out(&self, registry: &RegistryRules) -> bool {
        let state = self.snapshot.registries().get(&registry.id);
        registry.removed_by_expiry() && state.is_some_and(|s| s.freshness == Freshness::Expired)
    }

    /// Why it is not known what a registry has now: it was never complete, or does
    /// not answer. `None` where it is live.
    pub fn unsure_of(&self, registry: &RegistryId) -> Option<String> {
        let state = self.snapshot.registries().get(registry);
        let Some(state) = state else { return Some("has not said anything".to_owned()) };
        let known = state.synced || state.restored;
        match &state.condition {
            Condition::Live => None,
            Condition::Failed(reason) if known => Some(format!(
                "is {}, and what it has now is not known: {reason}",
                state.freshness.word()
            )),
            Condition::Failed(reason) => {
                Some(format!("has never been complete, and fails: {reason}"))
            }
            Condition::Syncing if known => {
                Some("is syncing; it is served as it was last known".to_owned())
            }
            Condition::Syncing => Some("is still syncing".to_owned()),
        }
    }

    /// The services of a host name that any registry speaks of, in order; in one
    /// namespace, or in all, for which all services are looked through.
    pub fn keys(&self, host: &Hostname, namespace: Option<&NamespaceName>) -> Vec<ServiceKey> {
        if let Some(namespace) = namespace {
            return vec![ServiceKey::new(host.clone(), namespace.clone())];
        }
        let held = self.held.values().flat_map(Values::services);
        let found: BTreeSet<_> = held.filter(|key| key.hostname() == host).cloned().collect();
        found.into_iter().collect()
    }
}

/// Where the aggregate is asked what it holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Questions(mpsc::Sender<oneshot::Sender<Testimony>>);

impl Questions {
    /// What is held now; `None` when the aggregate has ended.
    pub async fn ask(&self) -> Option<Testimony> {
        let (sender, answer) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        answer.await.ok()
    }
}

/// The end that is asked, and the one that answers.
pub(crate) fn channel() -> (Questions, mpsc::Receiver<oneshot::Sender<Testimony>>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Questions(sender), receiver)
}
