//! One set of endpoints out of several.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{
    ConflictKind, Endpoint, EndpointSet, Origins, RegistryId, Service, ServiceAccount, Sourced,
};

use super::{Contribution, Disputes, shares};
use crate::policy::Sharing;

/// All members' endpoints on the ports of `service`, shared as the policy says, by
/// key. A set that one member brings alone and that fits as it is, is shared.
pub(super) fn merge(
    sharing: &Sharing,
    service: &Service,
    members: &[&Contribution<'_>],
    disputes: &mut Disputes<'_>,
) -> Option<Arc<EndpointSet>> {
    let mut sets: Vec<Portion<'_>> = Vec::new();
    for member in members {
        if let Some(set) = member.endpoints {
            let endpoints = fit(service, member, set, disputes);
            let share = member.share;
            sets.push(Portion { registry: &member.registry.id, endpoints, share });
        }
    }
    match shares::drained(shares::apply(sharing, sets)).as_slice() {
        [] => None,
        [Portion { endpoints: Fitted::AsItIs(set), .. }] => Some(Arc::clone(set)),
        several => Some(Arc::new(united(service, several))),
    }
}

/// What one registry brings of a service's endpoints.
pub(super) struct Portion<'a> {
    pub(super) registry: &'a RegistryId,
    pub(super) endpoints: Fitted<'a>,
    /// How much of their weight they have, in percent.
    pub(super) share: u8,
}

/// Endpoints on the service's own ports.
pub(super) enum Fitted<'a> {
    AsItIs(&'a Arc<EndpointSet>),
    Changed(Vec<Arc<Endpoint>>),
}

impl Fitted<'_> {
    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        match self {
            Self::AsItIs(set) => set.endpoints(),
            Self::Changed(endpoints) => endpoints,
        }
    }
}

/// One member's endpoints with the service's port numbers, and without
/// identities that it may not bring to another's service.
fn fit<'a>(
    service: &Service,
    member: &Contribution<'a>,
    set: &'a Arc<EndpointSet>,
    disputes: &mut Disputes<'_>,
) -> Fitted<'a> {
    let foreign = member.registry.id != disputes.winner.id;
    let admitted = |identity: &ServiceAccount| {
        !foreign
            || service.service_accounts.contains(identity)
            || member.registry.may_add_account(identity)
    };
    let fits = |endpoint: &Arc<Endpoint>| {
        service.port(endpoint.port).is_some() && endpoint.identity.as_ref().is_none_or(admitted)
    };
    if set.endpoints().iter().all(fits) {
        return Fitted::AsItIs(set);
    }
    let mut unknown = BTreeSet::new();
    let mut fitted = Vec::with_capacity(set.len());
    for endpoint in set.endpoints() {
        let Some(port) = service_port(service, endpoint) else {
            unknown.insert((endpoint.port, &endpoint.port_name));
            continue;
        };
        let identity = endpoint.identity.clone().filter(admitted);
        if let (Some(dropped), None) = (&endpoint.identity, &identity) {
            let detail = format!("identity {dropped} of an endpoint");
            disputes.record(ConflictKind::ForeignServiceAccount, member.registry, detail);
        }
        fitted.push(if port == endpoint.port && identity == endpoint.identity {
            endpoint.clone()
        } else {
            Arc::new(Endpoint { port, identity, ..Endpoint::clone(endpoint) })
        });
    }
    for (port, name) in unknown {
        let named = if name.is_empty() { String::new() } else { format!(" ({name})") };
        let detail = format!("the service has no port {port}{named}");
        disputes.record(ConflictKind::UnknownPort, member.registry, detail);
    }
    Fitted::Changed(fitted)
}

/// The service port that an endpoint belongs to: the one of its number; else the
/// one of its name; else, where it names no number, the service's only port.
fn service_port(service: &Service, endpoint: &Endpoint) -> Option<u16> {
    if service.port(endpoint.port).is_some() {
        return Some(endpoint.port);
    }
    let named = (!endpoint.port_name.is_empty())
        .then(|| service.port_named(endpoint.port_name.as_str()))
        .flatten();
    match (named, service.ports.as_slice()) {
        (Some(port), _) => Some(port.number),
        (None, [only]) if endpoint.port == 0 => Some(only.number),
        _ => None,
    }
}

fn united(service: &Service, portions: &[Portion<'_>]) -> EndpointSet {
    let all = portions.iter().flat_map(|portion| portion.endpoints.endpoints());
    let mut all: Vec<Arc<Endpoint>> = all.cloned().collect();
    // Stable: endpoints of one key stay in the order of registries.
    all.sort_by(|a, b| a.key().cmp(&b.key()));
    let groups = all.chunk_by(|a, b| a.key() == b.key());
    EndpointSet::new(service.key.clone(), groups.map(one).collect())
}

/// One endpoint out of those of one key: the first that is not held, on the
/// lowest tier of all, with everybody's origins.
fn one(same: &[Arc<Endpoint>]) -> Arc<Endpoint> {
    let live = same.iter().position(|endpoint| !endpoint.held).unwrap_or_default();
    let first = &same[live];
    if same.len() == 1 {
        return first.clone();
    }
    let further = same.iter().flat_map(|endpoint| endpoint.origins.iter());
    let origins = with_further(&first.origins, further);
    let tier = same.iter().map(|endpoint| endpoint.tier).min().unwrap_or_default();
    Arc::new(Endpoint { origins, tier, ..Endpoint::clone(first) })
}

fn with_further<'a>(first: &Origins, further: impl Iterator<Item = &'a Sourced>) -> Origins {
    let mut all = first.to_vec();
    for sourced in further {
        if all.iter().all(|earlier| earlier.origin != sourced.origin) {
            all.push(sourced.clone());
        }
    }
    all.into()
}
