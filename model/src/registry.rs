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
    /// One word for tables and metrics: `syncing`, `live` or `stale`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Failed(_) => "stale",
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
    /// Whether it has ever been complete.
    pub synced: bool,
    /// How many services it defines.
    pub services: usize,
    /// How many endpoints it brings.
    pub endpoints: usize,
    /// How many workloads it brings.
    pub workloads: usize,
    /// Its objects that could not be understood, in order.
    pub rejected: Arc<[Rejected]>,
}

impl Default for RegistryState {
    fn default() -> Self {
        Self {
            condition: Condition::Syncing,
            synced: false,
            services: 0,
            endpoints: 0,
            workloads: 0,
            rejected: Arc::default(),
        }
    }
}
