//! The rules as they are configured.

use std::collections::BTreeMap;

use mainstem_model::Labels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a registry gives to the mesh, and under which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExportSettings {
    /// The services that it gives, by native name: patterns of host names, each
    /// optionally for one namespace (`shop/*`). Default: all.
    pub include: Vec<String>,
    /// The services that it does not give, whatever `include` says.
    pub exclude: Vec<String>,
    /// What the labels of a service must be, all of it: `key=value`, `key!=value`,
    /// `key`, `!key`. The endpoints of a service that is left out are left out as well.
    pub services: Vec<String>,
    /// What the labels of an endpoint or workload must be, written in the same way.
    pub endpoints: Vec<String>,
    /// Other names for single services: native `HOST` or `NAMESPACE/HOST` to the name in
    /// the mesh, written in the same way; without a namespace it stays in its own.
    pub aliases: BTreeMap<String, String>,
    /// Other names for many services; the first that fits counts.
    pub rewrite: Vec<Rewrite>,
    /// Other labels for services, endpoints and workloads.
    pub labels: LabelRules,
}

/// Another name for the services whose host name fits a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    /// The native host name, label by label, each a text or a capture:
    /// `{service}.service.{datacenter}.consul`.
    pub host: String,
    /// The host name in the mesh, of texts and captures; `{namespace}` is the native
    /// namespace where the pattern captures none.
    pub to: String,
    /// The namespace in the mesh, written in the same way. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Several native services may get one name, and are one service then.
    #[serde(default)]
    pub merge: bool,
}

/// Other labels; first `drop`, then `rename`, then `set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelRules {
    /// Labels that go, by key.
    pub drop: Vec<String>,
    /// Labels that get another key, old to new; a label of the new key gives way.
    pub rename: BTreeMap<String, String>,
    /// Labels that are set, whatever they were.
    pub set: BTreeMap<String, String>,
}

impl ExportSettings {
    /// Whether everything passes as it is.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl LabelRules {
    /// Whether labels pass as they are.
    pub(super) fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.rename.is_empty() && self.set.is_empty()
    }

    /// The labels that `native` ones become.
    pub(super) fn apply(&self, native: &Labels) -> Labels {
        if self.is_empty() {
            return native.clone();
        }
        let mut all: BTreeMap<&str, &str> = native.iter().collect();
        all.retain(|key, _| !self.drop.iter().any(|dropped| dropped == key));
        let renamed: Vec<_> = self
            .rename
            .iter()
            .filter_map(|(old, new)| Some((new.as_str(), all.remove(old.as_str())?)))
            .collect();
        all.extend(renamed);
        all.extend(self.set.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        all.into_iter().collect()
    }
}
