//! When the first snapshot is worth serving.

use std::collections::BTreeMap;

use mainstem_model::RegistryId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::settings::AggregateConfig;

/// Whether everything that can be expected has been merged and published: each
/// registry has been complete once or has used up its deadline. Once ready,
/// ready for good: a registry that is added later is waited for by nobody.
#[derive(Clone, Debug)]
pub struct Readiness {
    awaited: watch::Receiver<Awaited>,
}

/// Who is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    Registries(Vec<RegistryId>),
    Nobody,
}

impl Readiness {
    /// Whether a snapshot that is worth serving is published.
    pub fn is_ready(&self) -> bool {
        *self.awaited.borrow() == Awaited::Nobody
    }

    /// The registries that are still waited for, in order.
    pub fn waiting_for(&self) -> Vec<RegistryId> {
        match &*self.awaited.borrow() {
            Awaited::Registries(registries) => registries.clone(),
            Awaited::Nobody => Vec::new(),
        }
    }

    /// Waits until it is ready; at once when it is. False when the aggregate
    /// ended before.
    pub async fn ready(&mut self) -> bool {
        self.awaited.wait_for(|awaited| *awaited == Awaited::Nobody).await.is_ok()
    }
}

/// The end that decides; owned by the aggregate's loop.
#[derive(Debug)]
pub(crate) struct Gate {
    awaited: watch::Sender<Awaited>,
    /// When each configured registry was first heard of.
    since: BTreeMap<RegistryId, Instant>,
}

impl Gate {
    pub(crate) fn new() -> (Self, Readiness) {
        let (sender, awaited) = watch::channel(Awaited::Registries(Vec::new()));
        (Self { awaited: sender, since: BTreeMap::new() }, Readiness { awaited })
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.awaited.borrow() == Awaited::Nobody
    }

    /// Takes over the configured registries; new ones are waited for from `now` on.
    pub(crate) fn configure(&mut self, config: &AggregateConfig, now: Instant) {
        let known = std::mem::take(&mut self.since);
        for registry in &config.registries {
            let since = known.get(&registry.id).copied().unwrap_or(now);
            self.since.insert(registry.id.clone(), since);
        }
    }

    /// Until when somebody is waited for; `None` when nobody is.
    pub(crate) fn awaits(
        &mut self,
        config: &AggregateConfig,
        synced: impl Fn(&RegistryId) -> bool,
        now: Instant,
    ) -> Option<Instant> {
        let deadline = |id, most| self.since.get(id).map_or(now, |since| *since + most);
        let registries = config.registries.iter().filter(|registry| !synced(&registry.id));
        let awaited: BTreeMap<RegistryId, Instant> = registries
            .map(|registry| (registry.id.clone(), deadline(&registry.id, registry.deadline)))
            .filter(|(_, deadline)| *deadline > now)
            .collect();
        let next = awaited.values().min().copied();
        if next.is_some() {
            let awaited = Awaited::Registries(awaited.into_keys().collect());
            self.awaited.send_if_modified(|before| {
                let changed = *before != awaited;
                *before = awaited;
                changed
            });
        }
        next
    }

    /// Lets everybody in, for good.
    pub(crate) fn open(&mut self) {
        self.awaited.send_replace(Awaited::Nobody);
    }
}
