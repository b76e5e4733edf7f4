//! How long what a silent registry said is used, and what becomes of it then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use mainstem_model::{RegistryId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::AggregateConfig;

/// When a registry that does not answer has expired, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Expiry {
    /// How long it may be stale. Default: `1h`.
    pub after: TimeSpan,
    /// What becomes of its values then. Default: `keep`.
    pub action: ExpiryAction,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { after: TimeSpan::from_secs(3600), action: ExpiryAction::default() }
    }
}

/// What becomes of the values of a registry that expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase")]
pub enum ExpiryAction {
    /// They stay as they are.
    #[default]
    Keep,
    /// Its endpoints are used after everything else.
    Degrade,
    /// They go, until it answers again.
    Remove,
}

/// Since when registries do not answer.
#[derive(Debug, Default)]
pub(crate) struct Ageing {
    stale: BTreeMap<RegistryId, Stale>,
}

#[derive(Clone, Copy, Debug)]
struct Stale {
    since: SystemTime,
    /// It has not expired before, however long ago it was last followed: a
    /// registry whose state was restored has its deadline to answer.
    spared: SystemTime,
}

impl Ageing {
    /// The registry answers.
    pub(crate) fn live(&mut self, registry: &RegistryId) {
        self.stale.remove(registry);
    }

    /// The registry does not answer, from now on or already before.
    pub(crate) fn stale(&mut self, registry: &RegistryId, now: SystemTime) {
        self.stale.entry(registry.clone()).or_insert(Stale { since: now, spared: now });
    }

    /// The registry's values are those that it had when it was last followed.
    pub(crate) fn restored(
        &mut self,
        registry: &RegistryId,
        live_at: SystemTime,
        spared: SystemTime,
    ) {
        self.stale.insert(registry.clone(), Stale { since: live_at, spared });
    }

    /// Keeps the configured registries alone.
    pub(crate) fn configure(&mut self, config: &AggregateConfig) {
        self.stale.retain(|id, _| config.registries.iter().any(|registry| registry.id == *id));
    }

    /// The registries that have expired at `now`, and when the next one does.
    pub(crate) fn expired(
        &self,
        config: &AggregateConfig,
        now: SystemTime,
    ) -> (BTreeSet<RegistryId>, Option<SystemTime>) {
        let mut expired = BTreeSet::new();
        let mut next: Option<SystemTime> = None;
        for registry in &config.registries {
            let Some(stale) = self.stale.get(&registry.id) else { continue };
            // Beyond what a time can be: never.
            let end = stale.since.checked_add(registry.expiry.after.duration());
            let Some(end) = end.map(|end| end.max(stale.spared)) else { continue };
            if end <= now {
                expired.insert(registry.id.clone());
            } else {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        (expired, next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::fixtures::config;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn settings() -> AggregateConfig {
        let mut config = config(&["consul/a", "consul/b"]);
        for registry in &mut config.registries {
            registry.expiry.after = TimeSpan::from_secs(60);
        }
        config
    }

    #[test]
    fn a_registry_expires_so_long_after_it_fell_silent_and_not_when_it_speaks() {
        let mut ageing = Ageing::default();
        ageing.stale(&"consul/a".into(), at(100));
        ageing.stale(&"consul/a".into(), at(130));
        ageing.stale(&"consul/b".into(), at(120));
        let none = BTreeSet::new();
        assert_eq!(ageing.expired(&settings(), at(159)), (none.clone(), Some(at(160))));
        let first = BTreeSet::from(["consul/a".into()]);
        assert_eq!(ageing.expired(&settings(), at(160)), (first, Some(at(180))));
        ageing.live(&"consul/a".into());
        assert_eq!(ageing.expired(&settings(), at(160)), (none, Some(at(180))));
    }

    #[test]
    fn a_restored_registry_has_its_deadline_to_answer_before_it_expires() {
        let mut ageing = Ageing::default();
        ageing.restored(&"consul/a".into(), at(0), at(1030));
        ageing.stale(&"consul/a".into(), at(1001));
        assert_eq!(ageing.expired(&settings(), at(1029)), (BTreeSet::new(), Some(at(1030))));
        assert_eq!(ageing.expired(&settings(), at(1030)).0, BTreeSet::from(["consul/a".into()]));
    }
}
