//! What the merge made of it.

use std::sync::Arc;

use mainstem_aggregate::{Isolation, MergePolicy, Scope, Sharing};
use mainstem_model::{Conflict, ConflictKind, Endpoint, RegistryId, Service};

use super::origins::Brought;
use super::{Ground, Passed, Trace};

/// Steps `hosts`, `joins`, `policy`, `port`, `freeze`, `published`.
pub fn merged(
    ground: &Ground<'_>,
    brought: &Brought,
    trace: &mut Trace,
) -> Passed<Vec<Arc<Endpoint>>> {
    let snapshot = ground.testimony.snapshot();
    let conflicts = snapshot.conflicts_of(&brought.key);
    let service = defined(ground, brought, conflicts, trace)?;
    let endpoints = in_snapshot(ground, brought);
    let there = !endpoints.is_empty() || ground.question.target.is_none();
    joined(brought, conflicts, there, trace)?;
    shared(ground, brought, there, trace)?;
    on_a_port(brought, service, conflicts, there, trace)?;
    if !there {
        frozen(ground, brought, trace)?;
        let because = "the next snapshot will have it: it was said a moment ago";
        return trace.removed("published", because);
    }
    let generation = snapshot.generation();
    let count = match endpoints.len() {
        1 => "the endpoint".to_owned(),
        count => format!("{count} endpoints"),
    };
    trace.passed("published", format!("snapshot {generation} has {count}"));
    Ok(endpoints)
}

/// The endpoints of the snapshot that are meant, and that come of the registries that
/// bring it.
fn in_snapshot(ground: &Ground<'_>, brought: &Brought) -> Vec<Arc<Endpoint>> {
    let set = ground.testimony.snapshot().endpoints(&brought.key);
    let all = set.into_iter().flat_map(|set| set.endpoints());
    let Some(target) = &ground.question.target else { return all.cloned().collect() };
    let same = |endpoint: &&Arc<Endpoint>| {
        let of = |own: &Arc<Endpoint>| {
            own.target_port == endpoint.target_port && own.place.network == endpoint.place.network
        };
        let mut own = brought.endpoints.iter().flat_map(|(_, endpoints)| endpoints);
        target.is_at(endpoint) && own.any(of)
    };
    all.filter(same).cloned().collect()
}

/// Step `hosts`: somebody who may defines the service.
fn defined<'a>(
    ground: &'a Ground<'_>,
    brought: &Brought,
    conflicts: &[Conflict],
    trace: &mut Trace,
) -> Passed<&'a Arc<Service>> {
    let (key, testimony) = (&brought.key, ground.testimony);
    if let Some(service) = testimony.snapshot().service(key) {
        let definer = service.origins.first();
        let definer = definer.map_or_else(String::new, |sourced| {
            format!("{} at revision {}", of_registry(sourced), sourced.revision)
        });
        trace.passed("hosts", format!("the service {key} is defined by {definer}"));
        return Ok(service);
    }
    let undeclared = conflicts.iter().find(|c| c.kind == ConflictKind::UndeclaredHost);
    if let Some(conflict) = undeclared {
        return trace.removed("hosts", conflict.detail.clone());
    }
    let registries = testimony.rules().registries().iter();
    let mut definitions = registries.filter(|registry| {
        testimony.said(&registry.id, key).is_some_and(|said| said.service.is_some())
    });
    match definitions.next() {
        None => trace.removed("hosts", format!("no registry defines the service {key}")),
        Some(_) => trace.removed(
            "published",
            "the next snapshot will have the service: it was said a moment ago",
        ),
    }
}

fn of_registry(sourced: &mainstem_model::Sourced) -> String {
    format!("{} ({})", sourced.origin.registry, sourced.origin.object)
}

/// The conflict of this kind that a registry that brings it lost.
fn lost<'a>(
    brought: &Brought,
    conflicts: &'a [Conflict],
    kind: ConflictKind,
) -> Option<&'a Conflict> {
    conflicts.iter().find(|conflict| conflict.kind == kind && brought.by(&conflict.loser))
}

/// Step `joins`.
fn joined(brought: &Brought, conflicts: &[Conflict], there: bool, trace: &mut Trace) -> Passed<()> {
    match lost(brought, conflicts, ConflictKind::UndeclaredJoin) {
        Some(conflict) if !there => trace.removed("joins", conflict.detail.clone()),
        _ => Ok(()),
    }
}

/// Step `policy`.
fn shared(ground: &Ground<'_>, brought: &Brought, there: bool, trace: &mut Trace) -> Passed<()> {
    let Some(policy) = ground.testimony.rules().policy(&brought.key) else {
        trace.passed("policy", "none: the endpoints of all that take part are united");
        return Ok(());
    };
    let name = &policy.name;
    let by: Vec<_> = brought.endpoints.iter().map(|(registry, _)| registry).collect();
    match &policy.sharing {
        Sharing::Isolate(Isolation::Registries(only))
            if !there && by.iter().all(|registry| !only.contains(registry)) =>
        {
            let because = format!("policy {name} isolates the service to {}", list(only));
            trace.removed("policy", because)
        }
        Sharing::Prefer(_) if !there && serving(ground, brought).is_some() => {
            let serving = serving(ground, brought).unwrap_or_default();
            trace.removed("policy", format!("policy {name} prefers {serving}, which serves alone"))
        }
        _ => {
            trace.passed("policy", described(policy));
            Ok(())
        }
    }
}

/// The registry that the service's endpoints come of.
fn serving(ground: &Ground<'_>, brought: &Brought) -> Option<String> {
    let set = ground.testimony.snapshot().endpoints(&brought.key)?;
    let first = set.endpoints().first()?.origins.first()?;
    let registry = &first.origin.registry;
    (!brought.by(registry)).then(|| registry.to_string())
}

fn list(registries: &[RegistryId]) -> String {
    registries.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn described(policy: &MergePolicy) -> String {
    let each = |of: &std::collections::BTreeMap<RegistryId, u8>| {
        of.iter().map(|(id, n)| format!("{id} {n}")).collect::<Vec<_>>().join(", ")
    };
    let sharing = match &policy.sharing {
        Sharing::Union => "union".to_owned(),
        Sharing::Prefer(registries) => format!("prefer {}", list(registries)),
        Sharing::Failover(tiers) => format!("failover by tier: {}", each(tiers)),
        Sharing::Weighted(shares) => format!("weighted, in percent: {}", each(shares)),
        Sharing::Isolate(Isolation::OwnCluster) => "isolate to the client's cluster".to_owned(),
        Sharing::Isolate(Isolation::Registries(only)) => format!("isolate to {}", list(only)),
    };
    format!("{}: {sharing}", policy.name)
}

/// Step `port`.
fn on_a_port(
    brought: &Brought,
    service: &Service,
    conflicts: &[Conflict],
    there: bool,
    trace: &mut Trace,
) -> Passed<()> {
    let ports = service.ports.iter().map(|port| port.number.to_string());
    let ports = ports.collect::<Vec<_>>().join(", ");
    match lost(brought, conflicts, ConflictKind::UnknownPort) {
        Some(conflict) if !there => {
            let loser = &conflict.loser;
            trace.removed("port", format!("{loser}: {}; it has {ports}", conflict.detail))
        }
        _ => {
            trace.passed("port", format!("the service has the ports {ports}"));
            Ok(())
        }
    }
}

/// Step `freeze`.
fn frozen(ground: &Ground<'_>, brought: &Brought, trace: &mut Trace) -> Passed<()> {
    for (registry, _) in &brought.endpoints {
        let whole = Scope { registry: registry.clone(), service: None };
        let own = Scope { service: Some(brought.key.clone()), ..whole.clone() };
        let freezes = &ground.control.freezes;
        if let Some(freeze) = freezes.get(&own).or_else(|| freezes.get(&whole)) {
            let reason = if freeze.reason.is_empty() { "no reason given" } else { &freeze.reason };
            let because = format!("{registry} is frozen, and it came after that: {reason}");
            return trace.removed("freeze", because);
        }
    }
    Ok(())
}
