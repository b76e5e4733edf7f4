//! From what an operator asks to changes of the control state. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use mainstem_aggregate::{
    Change, ControlState, Drain, Freeze, HoldKey, Moment, ProxyGroup, Release, Scope, Track,
};
use mainstem_model::{Hostname, RegistryId, ServiceKey, Snapshot, TimeSpan};

use crate::api;

/// How long nothing is held again after a release, unless told otherwise.
const RELEASED: Duration = Duration::from_secs(60);
/// How long a freeze lasts, unless told otherwise.
const FROZEN: Duration = Duration::from_secs(3600);
/// The longest that any decision lasts.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// The most that a reason may have, in bytes.
const LONGEST_REASON: usize = 1000;

/// What a decision is made on.
pub struct Ground<'a> {
    /// What is in force.
    pub state: &'a ControlState,
    /// The services that there are.
    pub snapshot: &'a Snapshot,
    /// The registries that are configured.
    pub registries: BTreeSet<RegistryId>,
    /// The time.
    pub now: Moment,
}

/// Why nothing is decided: the answer's status, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode, pub String);

type Changes = Result<Vec<Change>, Refusal>;

fn bad(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message.into())
}

fn missing(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, message.into())
}

/// What an operator names.
struct Named<'a> {
    target: &'a str,
    namespace: Option<&'a str>,
    registry: Option<&'a str>,
}

/// `POST /api/v1/release`.
pub fn release(ground: &Ground<'_>, asked: &api::Release) -> Changes {
    let api::Release { target, namespace, registry, span, reason } = asked;
    let until = ground.end(*span, RELEASED)?;
    let reason = checked(reason)?;
    let named = Named { target, namespace: namespace.as_deref(), registry: registry.as_deref() };
    let scopes = ground.scopes(&named)?;
    let held = |scope: &Scope| ground.state.holds.keys().any(|key| scope.covers(key));
    let release = Release { at: ground.now, until, reason };
    let scopes: Vec<_> = scopes.into_iter().filter(held).collect();
    if scopes.is_empty() {
        return Err(missing(format!(
            "nothing of {target} is held; `mainstem control` lists what is"
        )));
    }
    Ok(scopes.into_iter().map(|scope| Change::Release(scope, release.clone())).collect())
}

/// `POST /api/v1/freeze`. Freezing what is frozen changes its end.
pub fn freeze(ground: &Ground<'_>, asked: &api::Freeze) -> Changes {
    let until = ground.end(asked.span, FROZEN)?;
    let reason = checked(&asked.reason)?;
    let state = ground.state;
    match subject(asked)? {
        Subject::Proxies(group) => {
            let since = state.tracks.get(&group).map_or(ground.now, |track| track.since);
            Ok(vec![Change::Track(group, Some(Track { since, until, reason }))])
        }
        Subject::Named(named) => {
            let scopes = ground.scopes(&named)?;
            let each = scopes.into_iter().map(|scope| {
                let since = state.freezes.get(&scope).map_or(ground.now, |freeze| freeze.since);
                Change::Freeze(scope, Some(Freeze { since, until, reason: reason.clone() }))
            });
            Ok(each.collect())
        }
    }
}

/// `POST /api/v1/unfreeze`.
pub fn unfreeze(ground: &Ground<'_>, asked: &api::Freeze) -> Changes {
    checked(&asked.reason)?;
    if asked.span.is_some() {
        return Err(bad("`for` belongs to freeze: unfreeze takes effect at once"));
    }
    let state = ground.state;
    let (what, changes): (String, Vec<Change>) = match subject(asked)? {
        Subject::Proxies(group) => {
            let known = state.tracks.contains_key(&group);
            (group.to_string(), if known { vec![Change::Track(group, None)] } else { Vec::new() })
        }
        Subject::Named(named) => {
            let scopes = ground.scopes(&named)?.into_iter();
            let frozen = scopes.filter(|scope| state.freezes.contains_key(scope));
            (named.target.to_owned(), frozen.map(|scope| Change::Freeze(scope, None)).collect())
        }
    };
    if changes.is_empty() {
        return Err(missing(format!("{what} is not frozen; `mainstem control` lists what is")));
    }
    Ok(changes)
}

/// `POST /api/v1/drain`: from where the registry is now.
pub fn drain(ground: &Ground<'_>, asked: &api::Drain) -> Changes {
    let api::Drain { registry, percent, over, reason } = asked;
    if !(1..=100).contains(percent) {
        return Err(bad(format!("{percent} is not a percentage from 1 to 100")));
    }
    let registry = ground.registry(registry)?;
    let drain = Drain {
        since: ground.now,
        until: ground.end(Some(*over), Duration::ZERO)?,
        from: ground.state.share(&registry, ground.now),
        to: 100 - percent,
        reason: checked(reason)?,
    };
    Ok(vec![Change::Drain(registry, Some(drain))])
}

/// `POST /api/v1/undrain`.
pub fn undrain(ground: &Ground<'_>, asked: &api::Undrain) -> Changes {
    let api::Undrain { registry, over, reason } = asked;
    let (until, reason) = (ground.end(Some(*over), Duration::ZERO)?, checked(reason)?);
    let registry = RegistryId::from(registry.as_str());
    if !ground.state.drains.contains_key(&registry) {
        return Err(missing(format!(
            "{registry} is not drained; `mainstem control` lists what is"
        )));
    }
    let from = ground.state.share(&registry, ground.now);
    let back = Drain { since: ground.now, until, from, to: 100, reason };
    Ok(vec![Change::Drain(registry, (!over.is_zero()).then_some(back))])
}

fn checked(reason: &str) -> Result<String, Refusal> {
    if reason.len() > LONGEST_REASON {
        return Err(bad(format!("the reason has more than {LONGEST_REASON} bytes")));
    }
    Ok(reason.to_owned())
}

enum Subject<'a> {
    Proxies(ProxyGroup),
    Named(Named<'a>),
}

fn subject(asked: &api::Freeze) -> Result<Subject<'_>, Refusal> {
    let (namespace, registry) = (asked.namespace.as_deref(), asked.registry.as_deref());
    match (&asked.target, &asked.proxies) {
        (Some(target), None) => Ok(Subject::Named(Named { target, namespace, registry })),
        (None, Some(proxies)) if namespace.is_none() && registry.is_none() => {
            proxies.parse().map(Subject::Proxies).map_err(|error| bad(format!("{error}")))
        }
        (None, Some(_)) => Err(bad("a group of proxies says its namespace itself: namespace=…")),
        _ => Err(bad("name a registry, a service's host name, or proxies, and only one of them")),
    }
}

impl Ground<'_> {
    fn end(&self, span: Option<TimeSpan>, default: Duration) -> Result<Moment, Refusal> {
        let span = span.map_or(default, TimeSpan::duration);
        if span > LONGEST {
            return Err(bad("no decision lasts longer than 30 days (720h)"));
        }
        Ok(self.now.after(span))
    }

    fn registry(&self, name: &str) -> Result<RegistryId, Refusal> {
        let registry = RegistryId::from(name);
        if self.registries.contains(&registry) {
            return Ok(registry);
        }
        let known: Vec<_> = self.registries.iter().map(ToString::to_string).collect();
        Err(missing(format!("there is no registry {name}; there are {}", known.join(", "))))
    }

    /// What is named: a registry, or services of each registry.
    fn scopes(&self, named: &Named<'_>) -> Result<Vec<Scope>, Refusal> {
        let target = RegistryId::from(named.target);
        if self.registries.contains(&target) || self.decided_on(&target) {
            if named.namespace.is_some() || named.registry.is_some() {
                return Err(bad(format!("{target} is a registry: it has no namespace")));
            }
            return Ok(vec![Scope { registry: target, service: None }]);
        }
        let services = self.services(named);
        if services.is_empty() {
            let names: Vec<_> = self.registries.iter().map(ToString::to_string).collect();
            return Err(missing(format!(
                "there is neither a registry nor a service {}; registries are {}, \
                 `mainstem services` lists services",
                named.target,
                names.join(", ")
            )));
        }
        let registries = match named.registry {
            Some(name) => BTreeSet::from([self.registry(name)?]),
            None => self.registries.clone(),
        };
        let scopes = services.iter().flat_map(|service| {
            let service = Some(service.clone());
            registries.iter().map(move |r| Scope { registry: r.clone(), service: service.clone() })
        });
        Ok(scopes.collect())
    }

    /// Whether something is in force about a registry, which may be configured no more.
    fn decided_on(&self, registry: &RegistryId) -> bool {
        let scopes = self.state.freezes.keys().chain(self.state.releases.keys());
        let mut all = scopes.map(|scope| &scope.registry).chain(self.holds());
        all.any(|own| own == registry)
    }

    fn holds(&self) -> impl Iterator<Item = &RegistryId> {
        self.state.holds.keys().map(|key| &key.registry)
    }

    /// The services of a host name, also those that are only held or frozen.
    fn services(&self, named: &Named<'_>) -> BTreeSet<ServiceKey> {
        let host = Hostname::normalised(named.target);
        let decided = self.state.holds.keys().map(|HoldKey { service, .. }| service);
        let frozen = self.state.freezes.keys().filter_map(|scope| scope.service.as_ref());
        let all = self.snapshot.keys_of(&host).chain(decided).chain(frozen);
        let fits = |key: &&ServiceKey| {
            *key.hostname() == host
                && named.namespace.is_none_or(|namespace| namespace == key.namespace().as_str())
        };
        all.filter(fits).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
