//! What the guard is told.

use mainstem_model::TimeSpan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a registry's losses are held, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Guard {
    /// Which losses count. Default: `relist` for Kubernetes, `all` for others.
    pub mode: Option<GuardMode>,
    /// Losses within this time are added up. Default: `30s`.
    pub window: TimeSpan,
    /// How long endpoints are held at most. Default: `10m`.
    pub hold: TimeSpan,
    /// The share of a service's endpoints whose net loss is held, in percent.
    /// Default: 50.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// A service that loses fewer endpoints is left alone. Default: 2.
    pub floor: u32,
    /// The share of all endpoints of the registry whose net loss is held, in
    /// percent. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    pub registry_share: u8,
    /// A registry that loses fewer endpoints is left alone. Default: 3.
    pub registry_floor: u32,
}

/// Which losses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuardMode {
    /// All of them.
    All,
    /// What a complete list leaves out, and the loss of everything: single
    /// removals are somebody's explicit act.
    Relist,
    /// None.
    Off,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            mode: None,
            window: TimeSpan::from_secs(30),
            hold: TimeSpan::from_secs(600),
            share: 50,
            floor: 2,
            registry_share: 50,
            registry_floor: 3,
        }
    }
}

impl Guard {
    /// The mode for a registry of this provider.
    pub fn mode(&self, provider: &str) -> GuardMode {
        let default = if provider == "kubernetes" { GuardMode::Relist } else { GuardMode::All };
        self.mode.unwrap_or(default)
    }

    /// What is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<String> {
        let shares = [("share", self.share), ("registryShare", self.registry_share)];
        let wrong = shares.into_iter().find(|(_, share)| !(1..=100).contains(share));
        wrong.map(|(name, share)| format!("`{name}` is {share} percent: write 1 to 100"))
    }
}
