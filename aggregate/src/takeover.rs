//! One host name in several namespaces.
//!
//! Resources are named by host name alone, so whoever brings the name of another
//! registry's service in a namespace of its own could draw that service's clients.
//! The first registry in order that defines the name keeps it; a service that a
//! later registry defines elsewhere is seen in its own namespace alone, and the
//! conflict is recorded. Kubernetes clusters are one registry in this: they trust
//! one another's names. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{Conflict, ConflictKind, RegistryId, Service, ServiceKey, Visibility};

use crate::merge::Merged;

/// Settles the services of one host name, given with their keys in whatever order.
/// `rank` is a registry's place in the order.
pub(crate) fn settle(services: &mut [(ServiceKey, Merged)], rank: impl Fn(&RegistryId) -> usize) {
    let owner = services.iter().filter_map(|(key, merged)| {
        let registry = definer(merged.service.as_ref()?)?;
        Some((rank(registry), key.namespace().clone(), registry.clone()))
    });
    let Some((_, namespace, owner)) = owner.min() else { return };
    for (key, merged) in services {
        let Some(service) = &mut merged.service else { continue };
        let Some(loser) = definer(service).cloned() else { continue };
        if loser == owner || (is_kubernetes(&loser) && is_kubernetes(&owner)) {
            continue;
        }
        merged.conflicts.push(Conflict {
            hostname: key.hostname().clone(),
            namespace: key.namespace().clone(),
            kind: ConflictKind::NamespaceTakeover,
            winner: Some(owner.clone()),
            loser,
            detail: format!("{owner} defines the name in namespace {namespace}"),
        });
        merged.conflicts.sort();
        restrict(service);
    }
}

fn definer(service: &Service) -> Option<&RegistryId> {
    service.origins.first().map(|sourced| &sourced.origin.registry)
}

fn is_kubernetes(registry: &RegistryId) -> bool {
    registry.provider() == "kubernetes"
}

/// Leaves the service visible in its own namespace, if it was.
fn restrict(service: &mut Arc<Service>) {
    let own = service.namespace().clone();
    let seen = service.visibility.includes(&own).then_some(own);
    let only = Visibility::Namespaces(BTreeSet::from_iter(seen));
    if service.visibility != only {
        Arc::make_mut(service).visibility = only;
    }
}
