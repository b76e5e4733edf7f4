//! Merging what registries say of one service: the default policy.
//!
//! 1. The first registry in order that brings the service and may define it
//!    (`hosts`) is the *winner*. Without one the service does not exist.
//! 2. Another registry takes part when it may join the host (`joins`), or when
//!    it and the winner are both Kubernetes, where one name in several clusters
//!    is one service by convention. Who may not is a conflict, and brings nothing.
//! 3. Of those that take part and may define the service, ports are united by
//!    number and addresses by cluster; of all, service accounts within their
//!    trust domain. Everything else comes from the winner.
//! 4. Endpoints of all that take part are united by key, each with its origins
//!    in the order of registries and its fields from the first of them.
//!
//! Pure: equal contributions in equal order give an equal result, and what one
//! registry brings alone is shared, not copied.

mod endpoints;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mainstem_model::{Conflict, ConflictKind, EndpointSet, Service, ServiceKey};

use crate::rules::RegistryRules;

/// What one registry says of a service.
#[derive(Clone, Copy, Debug)]
pub struct Contribution<'a> {
    /// The registry and what it may do.
    pub registry: &'a RegistryRules,
    /// Its definition of the service.
    pub service: Option<&'a Arc<Service>>,
    /// Its endpoints of the service.
    pub endpoints: Option<&'a Arc<EndpointSet>>,
}

/// A service as the snapshot has it.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The definition; `None` when no registry that may define the service does.
    pub service: Option<Arc<Service>>,
    /// The endpoints; `None` without a definition, or when nobody brings any.
    pub endpoints: Option<Arc<EndpointSet>>,
    /// Where registries disagree, in order, each once.
    pub conflicts: Vec<Conflict>,
}

/// Merges the contributions to the service `key`, given in the order of registries.
pub fn merge_service(key: &ServiceKey, contributions: &[Contribution<'_>]) -> Merged {
    let Some(winner) = contributions.iter().find(|c| c.defines(key)) else {
        return Merged { conflicts: undeclared_hosts(key, contributions), ..Merged::default() };
    };
    let (members, refused): (Vec<&Contribution<'_>>, Vec<_>) =
        contributions.iter().partition(|c| winner.admits(c, key));
    let mut disputes = Disputes { key, winner: winner.registry, conflicts: Vec::new() };
    for contribution in refused {
        let loser = contribution.registry;
        let detail = format!("joins of {} does not include {}", loser.id, key.hostname());
        disputes.record(ConflictKind::UndeclaredJoin, loser, detail);
    }
    let service = service::merge(winner, &members, &mut disputes);
    let endpoints = endpoints::merge(&service, &members, &mut disputes);
    Merged { service: Some(service), endpoints, conflicts: disputes.in_order() }
}

impl Contribution<'_> {
    fn defines(&self, key: &ServiceKey) -> bool {
        self.service.is_some() && self.registry.may_define(key)
    }

    /// Whether `other` takes part in the service that this one defines.
    fn admits(&self, other: &Contribution<'_>, key: &ServiceKey) -> bool {
        let kubernetes = |c: &Contribution<'_>| c.registry.id.provider() == "kubernetes";
        other.registry.id == self.registry.id
            || (kubernetes(self) && kubernetes(other))
            || other.registry.may_join(key.hostname())
    }
}

/// Definitions that count for nothing, since nobody who may defines the service.
/// Endpoints alone are no conflict: their service may be on its way.
fn undeclared_hosts(key: &ServiceKey, contributions: &[Contribution<'_>]) -> Vec<Conflict> {
    let defining = contributions.iter().filter(|c| c.service.is_some());
    let mut conflicts: Vec<_> = defining
        .map(|contribution| Conflict {
            hostname: key.hostname().clone(),
            namespace: key.namespace().clone(),
            kind: ConflictKind::UndeclaredHost,
            winner: None,
            loser: contribution.registry.id.clone(),
            detail: format!("hosts of {} does not include {key}", contribution.registry.id),
        })
        .collect();
    conflicts.sort();
    conflicts
}

/// Conflicts as they are found.
struct Disputes<'a> {
    key: &'a ServiceKey,
    winner: &'a RegistryRules,
    conflicts: Vec<Conflict>,
}

impl Disputes<'_> {
    fn record(&mut self, kind: ConflictKind, loser: &RegistryRules, detail: String) {
        let winner = Some(&self.winner.id).filter(|winner| **winner != loser.id);
        self.conflicts.push(Conflict {
            hostname: self.key.hostname().clone(),
            namespace: self.key.namespace().clone(),
            kind,
            winner: winner.cloned(),
            loser: loser.id.clone(),
            detail,
        });
    }

    fn in_order(mut self) -> Vec<Conflict> {
        self.conflicts.sort();
        self.conflicts.dedup();
        self.conflicts
    }
}
