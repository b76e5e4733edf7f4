//! The state of a registry, as far as the snapshot depends on it.

use std::sync::Arc;

use serde::Serialize;

use crate::Rejected;

/// What an adapter last said of its registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub enum Condition {
    /// Not complete yet.
    Syncing,
    /// Complete and followed.
    Live,
    /// Unreachable or answering wrongly: what it last said is kept, as stale.
    Failed(Arc<str>),
}

impl Condition {
    /// One word for tables: `syncing`, `live` or `stale`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Failed(_) => "stale",
        }
    }
}

/// How fresh what a registry brings is: `syncing → live ⇄ stale → expired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Nothing complete was heard of it yet.
    #[default]
    Syncing,
    /// Followed.
    Live,
    /// What it last said, by its adapter or on disk: it does not answer now.
    Stale,
    /// Stale for longer than its configuration allows.
    Expired,
}

impl Freshness {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Syncing, Self::Live, Self::Stale, Self::Expired];

    /// One word for tables and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

/// A registry in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryState {
    /// What its adapter last said.
    #[serde(flatten)]
    pub condition: Condition,
    /// How fresh its values are.
    pub freshness: Freshness,
    /// Whether it has ever been complete, in this process.
    pub synced: bool,
    /// Whether its values are those of its last good state on disk.
    pub restored: bool,
    /// How many services it defines.
    pub services: usize,
    /// How many more it has that are not loaded, since nobody needs them.
    pub unloaded: usize,
    /// How many endpoints it brings.
    pub endpoints: usize,
    /// How many endpoints the withdrawal guard keeps for it.
    pub held: usize,
    /// How many workloads it brings.
    pub workloads: usize,
    /// Its objects that could not be understood, in order.
    pub rejected: Arc<[Rejected]>,
}

impl Default for RegistryState {
    fn default() -> Self {
        Self {
            condition: Condition::Syncing,
            freshness: Freshness::Syncing,
            synced: false,
            restored: false,
            services: 0,
            unloaded: 0,
            endpoints: 0,
            held: 0,
            workloads: 0,
            rejected: Arc::default(),
        }
    }
}
