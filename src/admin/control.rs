//! Control state as the admin API shows it.

use mainstem_aggregate::{
    ControlState, Drain, Freeze, Hold, HoldKey, Moment, ProxyGroup, Release, Scope, Shared,
    StoreStatus, Track,
};
use mainstem_model::RegistryId;

use super::views::{time, word};
use crate::api;

/// What is in force.
pub fn control(shared: &Shared, now: Moment) -> api::Control {
    api::Control { store: store(&shared.store), decisions: decisions(&shared.state, now) }
}

/// How the store is.
pub fn store(status: &StoreStatus) -> api::ControlStore {
    let (failed_since, error) = status.error.clone().unzip();
    api::ControlStore {
        place: status.place.as_ref().map(ToString::to_string),
        error: error.map(|why| why.to_string()),
        failed_since: failed_since.map(time),
        waiting: status.waiting,
        local: status.local,
        invalid: status.invalid.to_vec(),
    }
}

/// Every decision, by kind and target.
pub fn decisions(state: &ControlState, now: Moment) -> Vec<api::Decision> {
    let holds = state.holds.iter().map(|(key, one)| hold(key, one));
    let freezes = state.freezes.iter().map(|(scope, one)| freeze(state, scope, one));
    let tracks = state.tracks.iter().map(|(group, one)| track(group, one));
    let drains = state.drains.iter().map(|(registry, one)| drain(registry, one, now));
    let releases = state.releases.iter().map(|(scope, one)| release(scope, one));
    holds.chain(freezes).chain(tracks).chain(drains).chain(releases).collect()
}

/// What is in force after and was not before.
pub fn difference(after: &ControlState, before: &ControlState, now: Moment) -> Vec<api::Decision> {
    let before = decisions(before, now);
    decisions(after, now).into_iter().filter(|decision| !before.contains(decision)).collect()
}

fn decision(kind: &str, since: Moment, until: Moment, reason: &str) -> api::Decision {
    api::Decision {
        kind: kind.to_owned(),
        since: time(since.time()),
        until: time(until.time()),
        reason: reason.to_owned(),
        ..api::Decision::default()
    }
}

fn scoped(scope: &Scope, decision: api::Decision) -> api::Decision {
    let service = scope.service.as_ref();
    api::Decision {
        registry: Some(scope.registry.to_string()),
        hostname: service.map(|service| service.hostname().to_string()),
        namespace: service.map(|service| service.namespace().to_string()),
        ..decision
    }
}

fn hold(key: &HoldKey, hold: &Hold) -> api::Decision {
    let scope = Scope { registry: key.registry.clone(), service: Some(key.service.clone()) };
    let decision = decision("hold", hold.since, hold.until, &word(&hold.cause));
    scoped(&scope, api::Decision { endpoints: Some(hold.endpoints.len()), ..decision })
}

fn release(scope: &Scope, release: &Release) -> api::Decision {
    scoped(scope, decision("release", release.at, release.until, &release.reason))
}

fn freeze(state: &ControlState, scope: &Scope, freeze: &Freeze) -> api::Decision {
    let changed = state.frozen.keys().filter(|key| scope.covers(key)).count();
    let decision = decision("freeze", freeze.since, freeze.until, &freeze.reason);
    scoped(scope, api::Decision { services: Some(changed), ..decision })
}

fn track(group: &ProxyGroup, track: &Track) -> api::Decision {
    let proxies = Some(group.to_string());
    api::Decision { proxies, ..decision("track", track.since, track.until, &track.reason) }
}

fn drain(registry: &RegistryId, drain: &Drain, now: Moment) -> api::Decision {
    api::Decision {
        registry: Some(registry.to_string()),
        share: Some(drain.share(now)),
        target_share: Some(drain.to),
        ..decision("drain", drain.since, drain.until, &drain.reason)
    }
}
