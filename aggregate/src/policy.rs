//! Declared merge policies: who serves a host name that several registries share.
//!
//! Without a policy the endpoints of all registries that take part are united.
//! A policy names the services that it holds for and what happens there instead.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::{RegistryId, ServiceKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::PolicyFault;

use crate::settings::HostRule;

/// A policy and the services that it holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MergePolicy {
    /// By which `explain` and errors call it.
    pub name: String,
    /// The services: `pattern` or `namespace/pattern`. Of several policies the one
    /// with the narrowest rule counts.
    pub hosts: Vec<HostRule>,
    /// Who serves them.
    #[serde(default)]
    pub sharing: Sharing,
    /// Fields that come from other registries than the rest, by the order of
    /// registries given here.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

/// Who serves a service that several registries have. Being named here lets a
/// registry join the service, as `joins` does.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sharing {
    /// All of them alike.
    #[default]
    Union,
    /// The first of these with an endpoint that takes traffic, alone; others come
    /// after them in the order of registries.
    Prefer(Vec<RegistryId>),
    /// Each on its tier, from 0 on: a higher one takes traffic as far as those
    /// before it are unhealthy. Others come last.
    Failover(BTreeMap<RegistryId, u8>),
    /// Each its share, in percent; together 100. Others, and those with no
    /// percent, take traffic only while none of these has a healthy endpoint.
    Weighted(BTreeMap<RegistryId, u8>),
    /// Nobody but these.
    Isolate(Isolation),
}

/// Whom a client of an isolated service reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Isolation {
    /// Endpoints of the client's own cluster.
    OwnCluster,
    /// Endpoints that these registries bring.
    Registries(Vec<RegistryId>),
}

/// For each field the registries that it is taken from, the first first; others
/// follow in their own order.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fields {
    /// Port names and protocols.
    pub ports: Vec<RegistryId>,
    /// The service's labels.
    pub labels: Vec<RegistryId>,
    /// How endpoints are found.
    pub resolution: Vec<RegistryId>,
    /// The service's addresses, cluster by cluster.
    pub addresses: Vec<RegistryId>,
}

impl Fields {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn all(&self) -> impl Iterator<Item = &RegistryId> {
        [&self.ports, &self.labels, &self.resolution, &self.addresses].into_iter().flatten()
    }
}

impl MergePolicy {
    /// Whether the policy speaks of the registry.
    pub fn names(&self, registry: &RegistryId) -> bool {
        self.registries().any(|named| named == registry)
    }

    fn registries(&self) -> Box<dyn Iterator<Item = &RegistryId> + '_> {
        match &self.sharing {
            Sharing::Union | Sharing::Isolate(Isolation::OwnCluster) => Box::new([].iter()),
            Sharing::Prefer(registries) => Box::new(registries.iter()),
            Sharing::Isolate(Isolation::Registries(registries)) => Box::new(registries.iter()),
            Sharing::Failover(tiers) => Box::new(tiers.keys()),
            Sharing::Weighted(shares) => Box::new(shares.keys()),
        }
    }
}

impl Sharing {
    /// The registries whose word comes before the others', the first first.
    pub(crate) fn preferred(&self) -> &[RegistryId] {
        match self {
            Self::Prefer(registries) => registries,
            _ => &[],
        }
    }
}

/// All policies, to be looked up by service.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Policies {
    /// The narrowest rule first.
    by_rule: Vec<(HostRule, Arc<MergePolicy>)>,
}

impl Policies {
    /// The policies in force.
    pub fn new(policies: &[MergePolicy]) -> Self {
        let shared = policies.iter().map(|policy| Arc::new(policy.clone()));
        let mut by_rule: Vec<_> = shared
            .flat_map(|policy| {
                policy.hosts.clone().into_iter().map(move |rule| (rule, policy.clone()))
            })
            .collect();
        by_rule
            .sort_by_key(|(rule, policy)| (rule.breadth(), rule.to_string(), policy.name.clone()));
        Self { by_rule }
    }

    /// The policy of a service.
    pub fn of(&self, key: &ServiceKey) -> Option<&MergePolicy> {
        self.by_rule.iter().find(|(rule, _)| rule.matches(key)).map(|(_, policy)| &**policy)
    }
}
