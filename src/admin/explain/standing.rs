//! Whether it takes traffic, whoever the client is.

use std::sync::Arc;

use mainstem_aggregate::Cause;
use mainstem_model::{Endpoint, Freshness, Health};

use super::origins::Brought;
use super::{Ground, Trace};
use crate::admin::views::{time, word};

/// Steps `guard`, `drain`, `expired`, `health`, `tier`: of the endpoint, or of all.
pub fn judge(
    ground: &Ground<'_>,
    brought: &Brought,
    endpoints: &[Arc<Endpoint>],
    trace: &mut Trace,
) {
    let Some(endpoint) = endpoints.iter().min_by_key(|e| (e.held, e.tier, e.health)) else {
        trace.idle("health", "the service has no endpoint");
        return;
    };
    last(ground, brought, endpoint, trace);
    match endpoint.health {
        Health::Healthy => trace.passed("health", "healthy"),
        Health::Degraded => {
            trace.passed("health", "degraded: used as far as healthy ones do not suffice");
        }
        Health::Draining => trace.idle("health", "draining: finishes what it has"),
        Health::Unhealthy => trace.idle("health", "its registry says that it is unhealthy"),
    }
    tier(ground, brought, endpoint, trace);
}

/// Why it is used after everything else, if it is.
fn last(ground: &Ground<'_>, brought: &Brought, endpoint: &Endpoint, trace: &mut Trace) {
    if !endpoint.held {
        return trace.passed("guard", "live: its registry brings it now");
    }
    for (registry, _) in &brought.endpoints {
        let hold = ground.control.held(registry, &brought.key);
        let hold = hold.filter(|hold| hold.endpoints.get(endpoint.key()).is_some());
        if let Some(hold) = hold {
            let too_many = match hold.cause {
                Cause::Service => "the service",
                Cause::Registry => "the registry",
            };
            let until = time(hold.until.time());
            let because = format!(
                "{registry} withdrew it when {too_many} lost too many at once; held in the last tier until {until}"
            );
            return trace.idle("guard", because);
        }
        let state = ground.testimony.snapshot().registries().get(registry);
        if state.is_some_and(|state| state.freshness == Freshness::Expired) {
            let because = format!("{registry} has expired: used after everything else");
            return trace.idle("expired", because);
        }
        if ground.testimony.share(registry) == 0 {
            let because = format!("{registry} is drained: used after everything else");
            return trace.idle("drain", because);
        }
    }
    trace.idle("guard", "used after everything else");
}

/// Step `tier`: whether others come first.
fn tier(ground: &Ground<'_>, brought: &Brought, endpoint: &Endpoint, trace: &mut Trace) {
    let set = ground.testimony.snapshot().endpoints(&brought.key);
    let beside = set.map_or(&[][..], |set| set.of_port(endpoint.port));
    let takes_traffic = |e: &&Arc<Endpoint>| !e.held && e.health == Health::Healthy;
    let first = beside.iter().filter(takes_traffic).map(|e| e.tier).min();
    match first {
        Some(first) if first < endpoint.tier => {
            let count = beside.iter().filter(takes_traffic).filter(|e| e.tier == first).count();
            let tier = endpoint.tier;
            let because =
                format!("tier {tier}: idle while tier {first} has healthy ones, {count} now");
            trace.idle("tier", because);
        }
        _ => {
            let (tier, weight) = (endpoint.tier, endpoint.weight);
            let cluster = word(&endpoint.place.cluster);
            trace.passed("tier", format!("tier {tier}, weight {weight}, in cluster {cluster:?}"));
        }
    }
}
