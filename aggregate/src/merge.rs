//! Merging what registries say of one service.
//!
//! 1. The first registry in order that brings the service and may define it
//!    (`hosts`) is the *winner*. Without one the service does not exist.
//! 2. Another registry takes part when it may join the host (`joins`), when the
//!    service's policy names it, or when it and the winner are both Kubernetes,
//!    where one name in several clusters is one service by convention. Who may
//!    not is a conflict, and brings nothing.
//! 3. Of those that take part and may define the service, ports are united by
//!    number and addresses by cluster; of all, service accounts within their
//!    trust domain. Everything else comes from the winner, except fields for
//!    which the policy names another order.
//! 4. Endpoints of all that take part are shared as the policy says, weighted as
//!    drains say, and united by key, each with its origins in the order of registries and its fields
//!    from the first of them.
//!
//! Pure: equal contributions in equal order give an equal result, and what one
//! registry brings alone is shared, not copied.

mod endpoints;
mod service;
mod shares;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mainstem_model::{Conflict, ConflictKind, EndpointSet, RegistryId, Service, ServiceKey};

use crate::policy::{MergePolicy, Sharing};
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
    /// How much of their weight they have, in percent; a drained registry's goes down.
    pub share: u8,
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
pub fn merge_service(
    policy: Option<&MergePolicy>,
    key: &ServiceKey,
    contributions: &[Contribution<'_>],
) -> Merged {
    let sharing = policy.map_or(&Sharing::Union, |policy| &policy.sharing);
    let all: Vec<_> = contributions.iter().collect();
    let all = in_order(&all, sharing.preferred());
    let Some(winner) = all.iter().copied().find(|c| c.defines(key)) else {
        return Merged { conflicts: undeclared_hosts(key, contributions), ..Merged::default() };
    };
    let takes_part = |c: &&Contribution<'_>| {
        winner.admits(c, key) || policy.is_some_and(|policy| policy.names(&c.registry.id))
    };
    let (members, refused): (Vec<&Contribution<'_>>, Vec<_>) =
        all.into_iter().partition(takes_part);
    let mut disputes = Disputes { key, winner: winner.registry, conflicts: Vec::new() };
    for contribution in refused {
        let loser = contribution.registry;
        let detail = format!("joins of {} does not include {}", loser.id, key.hostname());
        disputes.record(ConflictKind::UndeclaredJoin, loser, detail);
    }
    let service = service::merge(policy, winner, &members, &mut disputes);
    let endpoints = endpoints::merge(sharing, &service, &members, &mut disputes);
    Merged { service: Some(service), endpoints, conflicts: disputes.in_order() }
}

/// Those that `first` names, in its order, before the others in theirs.
fn in_order<'a, 'b>(
    contributions: &[&'a Contribution<'b>],
    first: &[RegistryId],
) -> Vec<&'a Contribution<'b>> {
    let place = |c: &&Contribution<'_>| {
        first.iter().position(|named| *named == c.registry.id).unwrap_or(first.len())
    };
    let mut ordered = contributions.to_vec();
    ordered.sort_by_key(place);
    ordered
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
        self.lost_to(&self.winner.id.clone(), kind, loser, detail);
    }

    fn lost_to(
        &mut self,
        winner: &RegistryId,
        kind: ConflictKind,
        loser: &RegistryRules,
        detail: String,
    ) {
        let winner = Some(winner).filter(|winner| **winner != loser.id);
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
