//! Who brings it.

use std::sync::Arc;

use mainstem_model::{Endpoint, Health, RegistryId, ServiceKey, Sourced};

use super::{Asked, Found, Ground, Passed, Trace, exported};

/// What registries bring of a service.
pub struct Brought {
    /// The service.
    pub key: ServiceKey,
    /// The endpoints meant, by registry, in the order of registries; none where all
    /// of the service is meant.
    pub endpoints: Vec<(RegistryId, Vec<Arc<Endpoint>>)>,
}

impl Brought {
    /// Whether the registry brings it.
    pub fn by(&self, registry: &RegistryId) -> bool {
        self.endpoints.iter().any(|(own, _)| own == registry)
    }

    fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

/// Steps `registry`, `export`, `accepted`, `ready`, `port`, `loaded`, `synced`, `expired`.
pub fn brought(ground: &Ground<'_>, found: &mut Found) -> Passed<Brought> {
    let brought = chosen(ground);
    found.key = brought.as_ref().map(|brought| brought.key.clone());
    let trace = &mut found.trace;
    match brought {
        Some(brought) if !brought.is_empty() => {
            trace.passed("registry", who(&brought));
            if let Some(rules) = exported::given(ground, &brought) {
                trace.passed("export", rules);
            }
            unexpired(ground, &brought, trace)?;
            Ok(brought)
        }
        other => missing(ground, other.map(|brought| brought.key), trace),
    }
}

/// Of the services that the host name may mean the one with the endpoint: the one that
/// the proxy sees, else one in the snapshot, else the first.
fn chosen(ground: &Ground<'_>) -> Option<Brought> {
    let (testimony, question) = (ground.testimony, ground.question);
    let snapshot = testimony.snapshot();
    let seen = match &ground.client {
        Asked::Client(client) => {
            mainstem_translate::seen(snapshot, &client.proxy.namespace, &question.host)
        }
        _ => None,
    };
    let published: Vec<_> = match &question.namespace {
        Some(_) => testimony.keys(&question.host, question.namespace.as_ref()),
        None => snapshot.keys_of(&question.host).cloned().collect(),
    };
    let rank = |brought: &Brought| {
        let empty = brought.is_empty();
        (empty, seen.as_ref() != Some(&brought.key), snapshot.service(&brought.key).is_none())
    };
    let best = |keys: Vec<ServiceKey>| {
        keys.into_iter().map(|key| of(ground, key)).min_by_key(|brought| rank(brought))
    };
    let first = best(published);
    if first.as_ref().is_some_and(|brought| !brought.is_empty()) || question.namespace.is_some() {
        return first;
    }
    // Nothing of it may have been let in: what registries say is looked through.
    best(testimony.keys(&question.host, None)).or(first)
}

/// What is brought of one service: as registries say, held or kept by a freeze.
fn of(ground: &Ground<'_>, key: ServiceKey) -> Brought {
    let control = ground.control;
    let of_registry = |id: &RegistryId| {
        let said = ground.testimony.said(id, &key);
        let live = said.and_then(|said| said.endpoints).map(|set| &**set);
        let held = control.held(id, &key).map(|hold| &*hold.endpoints);
        let frozen = control.frozen(id, &key).map(|frozen| &*frozen.endpoints);
        let all = [live, held, frozen].into_iter().flatten().flat_map(|set| set.endpoints());
        let meant = |endpoint: &&Arc<Endpoint>| {
            ground.question.target.as_ref().is_none_or(|target| target.is(endpoint))
        };
        let endpoints: Vec<_> = all.filter(meant).cloned().collect();
        let defined = said.is_some_and(|said| said.service.is_some());
        let there = !endpoints.is_empty() || defined && ground.question.target.is_none();
        there.then(|| (id.clone(), endpoints))
    };
    let registries = ground.testimony.rules().registries().iter();
    let endpoints = registries.filter_map(|registry| of_registry(&registry.id)).collect();
    Brought { key, endpoints }
}

fn who(brought: &Brought) -> String {
    let each = brought.endpoints.iter().map(|(registry, endpoints)| {
        match endpoints.first().and_then(|endpoint| endpoint.origins.first()) {
            Some(Sourced { origin, revision }) if endpoints.len() == 1 => {
                let via = origin.via.iter().map(|via| format!(", handed on as {via}"));
                let via: String = via.collect();
                format!("{registry} brings it: {} at revision {revision}{via}", origin.object)
            }
            Some(_) => format!("{registry} brings {} endpoints", endpoints.len()),
            None => format!("{registry} defines it"),
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Step `expired`.
fn unexpired(ground: &Ground<'_>, brought: &Brought, trace: &mut Trace) -> Passed<()> {
    let rules = ground.testimony.rules().registries().iter();
    let mut bringing = rules.filter(|registry| brought.by(&registry.id)).peekable();
    let first = bringing.peek().map(|registry| registry.id.clone());
    match first {
        Some(first) if bringing.all(|registry| ground.testimony.left_out(registry)) => {
            trace.removed("expired", format!("{first} has not answered for too long, and expired"))
        }
        _ => Ok(()),
    }
}

/// Nobody brings it: why.
fn missing<T>(ground: &Ground<'_>, key: Option<ServiceKey>, trace: &mut Trace) -> Passed<T> {
    let (question, testimony) = (ground.question, ground.testimony);
    let what = question.target.as_ref().map_or_else(
        || format!("a service {}", question.host),
        |target| format!("{target} of {}", question.host),
    );
    if let Some((registry, why)) = rejected(ground) {
        return trace.removed("accepted", format!("{registry} brings an object {why}"));
    }
    if let Some(because) = key.as_ref().and_then(|key| other_port(ground, key)) {
        return trace.removed("port", because);
    }
    if let Some(because) = not_ready(ground) {
        return trace.removed("ready", because);
    }
    if let Some(rule) = exported::left_out(ground, key.as_ref()) {
        return trace.removed("export", rule);
    }
    if let Some(because) = unloaded(ground) {
        return trace.removed("loaded", because);
    }
    for registry in testimony.rules().registries() {
        let may = registry.may_join(&question.host)
            || key
                .as_ref()
                .is_some_and(|key| registry.may_define(key) || said(ground, &registry.id, key))
            || key.is_none() && may_define_some(ground, registry);
        if let Some(why) = testimony.unsure_of(&registry.id).filter(|_| may) {
            let because = format!("no registry brings {what}, but {} {why}", registry.id);
            return trace.removed("synced", because);
        }
    }
    if let Some(alias) = alias(ground) {
        return trace.removed("registry", alias);
    }
    trace.removed("registry", format!("no registry brings {what}"))
}

fn said(ground: &Ground<'_>, registry: &RegistryId, key: &ServiceKey) -> bool {
    ground.testimony.said(registry, key).is_some()
}

/// Whether the registry may define the host name in some namespace.
fn may_define_some(ground: &Ground<'_>, registry: &mainstem_aggregate::RegistryRules) -> bool {
    let namespace = ground.question.namespace.clone();
    let namespaces = namespace.into_iter().chain(["default".into()]);
    namespaces.into_iter().any(|namespace| {
        registry.may_define(&ServiceKey::new(ground.question.host.clone(), namespace))
    })
}

/// The first rejected object that names what is asked about.
fn rejected(ground: &Ground<'_>) -> Option<(RegistryId, String)> {
    let host = ground.question.host.as_str();
    let short = host.split('.').next().unwrap_or(host);
    let target = ground.question.target.as_ref().map(|target| target.address.to_string());
    let names = |text: &str, name: &str| {
        let parts = text.split(|c: char| !(c.is_alphanumeric() || "-_.:".contains(c)));
        parts.into_iter().any(|part| part.trim_matches(['.', ':']) == name)
    };
    let speaks = |text: &str| {
        names(text, host)
            || names(text, short)
            || target.as_ref().is_some_and(|address| names(text, address))
    };
    let states = ground.testimony.snapshot().registries().iter();
    let mut all = states.flat_map(|(id, state)| state.rejected.iter().map(move |r| (id, r)));
    let found = all.find(|(_, r)| speaks(&r.object.name) || names(&r.reason, host));
    found.map(|(id, r)| {
        (id.clone(), format!("that cannot be understood, {}: {}", r.object, r.reason))
    })
}

/// The address is there on other ports.
fn other_port(ground: &Ground<'_>, key: &ServiceKey) -> Option<String> {
    let target = ground.question.target.as_ref()?;
    let port = target.port?;
    for registry in ground.testimony.rules().registries() {
        let set = ground.testimony.said(&registry.id, key).and_then(|said| said.endpoints);
        let here = set.into_iter().flat_map(|set| set.endpoints()).filter(|e| target.is_at(e));
        let ports: Vec<_> =
            here.map(|e| format!("{} for port {}", e.target_port, e.port)).collect();
        if !ports.is_empty() {
            let (id, address, ports) = (&registry.id, &target.address, ports.join(", "));
            return Some(format!("{id} has {address} at {ports}, not at {port}"));
        }
    }
    None
}

/// A workload has the address, and is no endpoint.
fn not_ready(ground: &Ground<'_>) -> Option<String> {
    let target = ground.question.target.as_ref()?;
    let snapshot = ground.testimony.snapshot();
    let found = snapshot.workloads().filter(|w| w.addresses.contains(&target.address));
    let workload = found.min_by_key(|workload| workload.key.to_string())?;
    Some(match workload.health {
        Health::Healthy => format!(
            "workload {} has the address and is ready; the service's selector leaves it out",
            workload.key
        ),
        _ => format!("workload {} has the address and is not ready", workload.key),
    })
}

/// A registry has the service, and nobody needs it.
fn unloaded(ground: &Ground<'_>) -> Option<String> {
    let (testimony, question) = (ground.testimony, ground.question);
    let meant = |key: &&ServiceKey| {
        question.namespace.as_ref().is_none_or(|namespace| key.namespace() == namespace)
    };
    let key = testimony.snapshot().unloaded().named(&question.host).find(meant)?;
    let mut registries = testimony.rules().registries().iter();
    let registry = registries.find(|registry| testimony.unloaded(&registry.id, key))?;
    let id = &registry.id;
    Some(format!("{id} has {key} and loads it on demand: no client has asked for it"))
}

fn alias(ground: &Ground<'_>) -> Option<String> {
    let host = &ground.question.host;
    let named = ground.testimony.snapshot().services_named(host);
    let service = named.into_iter().find(|service| service.hostname() != host)?;
    Some(format!("{host} is another name of {}: ask about that", service.hostname()))
}
