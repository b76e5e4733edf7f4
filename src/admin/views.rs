//! From the model to what the admin API says.

use std::time::SystemTime;

use mainstem_kubernetes::custom::CustomName;
use mainstem_model as model;
use mainstem_xds::ClientStatus;
use mainstem_xds::clients::{Protocol, Refused, TypeStatus};
use serde::Serialize;
use serde_json::Value;

use super::{App, control};
use crate::api;
use crate::policies::{Judged, KIND, Verdict};

/// A moment as RFC 3339.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// A value's name as its JSON form has it: `clientSide`, `healthy`.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter().map(|one| one.to_string()).collect()
}

fn named(text: &impl ToString) -> Option<String> {
    Some(text.to_string()).filter(|text| !text.is_empty())
}

fn labels(labels: &model::Labels) -> std::collections::BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// How the control plane is.
pub fn status(app: &App) -> api::Status {
    let snapshot = app.published.snapshots.load();
    let mut registries = std::collections::BTreeMap::new();
    for state in snapshot.registries().values() {
        *registries.entry(state.freshness.word().to_owned()).or_default() += 1;
    }
    let restored = snapshot.registries().iter().filter(|(_, state)| state.restored);
    let counts = app.source.counts();
    let current = app.current.borrow();
    let shared = app.published.control.shared().borrow().clone();
    let mut decisions = std::collections::BTreeMap::new();
    for decision in control::decisions(&shared.state, SystemTime::now().into()) {
        *decisions.entry(decision.kind).or_default() += 1;
    }
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: current.config.cluster.to_string(),
        ready: app.published.readiness.is_ready(),
        waiting_for: texts(app.published.readiness.waiting_for()),
        started: time(app.started),
        xds_address: app.xds_address.borrow().clone(),
        generation: snapshot.generation(),
        services: snapshot.service_count(),
        conflicts: snapshot.conflicts().len(),
        registries,
        restored: texts(restored.map(|(id, _)| id)),
        proxies: app.clients.len(),
        proxy_groups: counts.groups,
        resources: counts.resources,
        configuration: api::Configuration {
            file: current.file.as_ref().map(|file| file.display().to_string()),
            since: time(current.since),
            error: current.error.clone(),
        },
        decisions,
        control_store: control::store(&shared.store),
    }
}

/// All configured registries.
pub fn registries(app: &App) -> Vec<api::Registry> {
    let snapshot = app.published.snapshots.load();
    let statuses = app.published.statuses.all();
    let in_force = app.published.control.shared().borrow().state.clone();
    let decisions = control::decisions(&in_force, SystemTime::now().into());
    let current = app.current.borrow();
    let mut configured: Vec<_> = current.config.registries.iter().collect();
    configured.sort_by(|a, b| a.id.cmp(&b.id));
    let unknown = model::RegistryState::default();
    let view = |config: &crate::config::RegistryConfig| {
        let state = snapshot.registries().get(&config.id).unwrap_or(&unknown);
        let mut view = registry(config, state, statuses.get(&config.id));
        view.last_good = view.last_good.filter(|_| current.config.state.directory.is_some());
        if let Some(churn) = app.updates.churn(&config.id) {
            (view.index_resets, view.index_jumps) = (churn.resets(), churn.jumps());
        }
        view.holds = holds(&in_force, &config.id);
        let own = decisions.iter().filter(|d| d.registry.as_deref() == Some(&*view.name));
        view.decisions = own.filter(|d| d.kind != "hold").cloned().collect();
        view
    };
    configured.into_iter().map(view).collect()
}

fn holds(
    control: &mainstem_aggregate::ControlState,
    registry: &model::RegistryId,
) -> Vec<api::Hold> {
    let own = control.holds.iter().filter(|(key, _)| key.registry == *registry);
    let each = own.map(|(key, hold)| api::Hold {
        hostname: key.service.hostname().to_string(),
        namespace: key.service.namespace().to_string(),
        endpoints: hold.endpoints.len(),
        since: time(hold.since.time()),
        until: time(hold.until.time()),
        cause: word(&hold.cause),
    });
    each.collect()
}

fn registry(
    config: &crate::config::RegistryConfig,
    state: &model::RegistryState,
    status: Option<&mainstem_aggregate::RegistryStatus>,
) -> api::Registry {
    let reason = match &state.condition {
        model::Condition::Failed(reason) => Some(reason.to_string()),
        _ => None,
    };
    let last_error = status.and_then(|status| status.last_error.as_ref());
    let rejected = state.rejected.iter().map(|rejected| api::Rejected {
        kind: rejected.object.kind.to_string(),
        name: rejected.object.name.to_string(),
        reason: rejected.reason.clone(),
    });
    api::Registry {
        name: config.id.to_string(),
        state: state.freshness.word().to_owned(),
        reason,
        since: status.map(|status| time(status.since)),
        synced: state.synced,
        restored: state.restored,
        lag_seconds: status
            .and_then(|status| status.lag(SystemTime::now()))
            .map(|lag| lag.as_secs_f64()),
        last_update: status.and_then(|status| status.last_update).map(time),
        last_error: last_error
            .map(|(at, why)| api::LastError { at: time(*at), reason: why.to_string() }),
        index_resets: 0,
        index_jumps: 0,
        updates: status.map_or(0, |status| status.batches),
        services: state.services,
        unloaded: state.unloaded,
        endpoints: state.endpoints,
        held: state.held,
        holds: Vec::new(),
        decisions: Vec::new(),
        workloads: state.workloads,
        rejected: rejected.collect(),
        last_good: status.map(|status| api::LastGood {
            written: status.last_good.written.map(time),
            bytes: status.last_good.bytes,
            error: status.last_good.error.as_ref().map(ToString::to_string),
        }),
        settings: serde_json::to_value(config).unwrap_or_default(),
    }
}

/// A service with what is known about it besides.
pub fn service(snapshot: &model::Snapshot, service: &model::Service) -> api::Service {
    let set = snapshot.endpoints(&service.key);
    let endpoints = set.map_or(&[][..], |set| set.endpoints());
    let healthy = endpoints.iter().filter(|e| e.health == model::Health::Healthy).count();
    let ports = service.ports.iter().map(|port| api::Port {
        number: port.number,
        name: port.name.to_string(),
        protocol: word(&port.protocol),
    });
    let addresses = service.addresses.iter().filter(|(_, own)| !own.is_empty());
    api::Service {
        hostname: service.hostname().to_string(),
        namespace: service.namespace().to_string(),
        ports: ports.collect(),
        resolution: word(&service.resolution),
        addresses: addresses.map(|(cluster, own)| (cluster.to_string(), texts(own))).collect(),
        visible_to: service.visibility.namespaces().map(texts),
        alias_of: service.alias_of.as_ref().map(ToString::to_string),
        selector: labels(&service.selector),
        endpoints: endpoints.len(),
        healthy,
        conflicts: snapshot.conflicts_of(&service.key).len(),
        origins: origins(&service.origins),
    }
}

/// Who says it.
pub fn origins(origins: &model::Origins) -> Vec<api::Origin> {
    let each = origins.iter().map(|sourced| api::Origin {
        registry: sourced.origin.registry.to_string(),
        kind: sourced.origin.object.kind.to_string(),
        name: sourced.origin.object.name.to_string(),
        revision: sourced.revision.to_string(),
        via: sourced.origin.via.as_ref().map(ToString::to_string),
    });
    each.collect()
}

/// The endpoints of a service.
pub fn endpoints(snapshot: &model::Snapshot, key: &model::ServiceKey) -> api::ServiceEndpoints {
    let set = snapshot.endpoints(key);
    let endpoints = set.map_or(&[][..], |set| set.endpoints());
    api::ServiceEndpoints {
        hostname: key.hostname().to_string(),
        namespace: key.namespace().to_string(),
        endpoints: endpoints.iter().map(|each| endpoint(each)).collect(),
    }
}

/// One endpoint.
pub fn endpoint(endpoint: &model::Endpoint) -> api::Endpoint {
    api::Endpoint {
        port: endpoint.port,
        port_name: endpoint.port_name.to_string(),
        addresses: texts(endpoint.addresses()),
        target_port: endpoint.target_port,
        health: word(&endpoint.health),
        weight: endpoint.weight,
        tier: endpoint.tier,
        held: endpoint.held,
        locality: endpoint.place.locality.to_string(),
        network: endpoint.place.network.to_string(),
        cluster: endpoint.place.cluster.to_string(),
        workload: endpoint.workload.as_ref().and_then(named),
        identity: endpoint.identity.as_ref().and_then(named),
        mesh_tls: endpoint.tls_mode == model::TlsMode::Istio,
        labels: labels(&endpoint.labels),
        origins: origins(&endpoint.origins),
    }
}

/// What the client is: a gRPC client stands for no proxy.
fn kind_of(proxy: &model::Proxy) -> String {
    if proxy.is_grpc() { "grpc".to_owned() } else { proxy.kind.to_string() }
}

/// A connected client; what its node says beyond its id comes from `proxy`.
pub fn proxy(app: &App, status: ClientStatus, proxy: Option<model::Proxy>) -> api::Proxy {
    let known = proxy.as_ref();
    let track = known.and_then(|proxy| app.source.track(proxy));
    api::Proxy {
        stream: status.stream,
        name: known.map(|p| format!("{}.{}", p.name, p.namespace)).unwrap_or_default(),
        kind: known.map(kind_of).unwrap_or_default(),
        cluster: known.map(|p| p.cluster.to_string()).unwrap_or_default(),
        peer: status.peer.map(|peer| peer.to_string()),
        agent: status.agent,
        identity: status.identity.names.first().map(|name| api::Identity {
            method: status.identity.method.to_owned(),
            name: name.to_string(),
        }),
        protocol: match status.protocol {
            Protocol::Sotw => "sotw".to_owned(),
            Protocol::Delta => "delta".to_owned(),
        },
        since: time(status.since),
        track: track.map(|(proxies, since)| api::Track { proxies, since: time(since) }),
        types: status.types.into_iter().map(proxy_type).collect(),
        id: status.node,
    }
}

/// How many refusals of a type are listed.
const REFUSALS: usize = 20;

fn proxy_type(of: TypeStatus) -> api::ProxyType {
    api::ProxyType {
        kind: mainstem_xds::TypeUrl::from(of.type_url.as_str()).short().to_owned(),
        state: of.state().word().to_owned(),
        names: (!of.wildcard).then_some(of.names),
        pending: of.pending,
        stale_since: of.stale_since.map(time),
        sent: of.sent.map(|push| time(push.at)),
        acked: of.acked.map(|answer| time(answer.at)),
        nacked: of.nacked.map(|nack| api::Nack {
            at: time(nack.answer.at),
            message: nack.rejection.message,
            culprits: texts(nack.rejection.culprits),
        }),
        refused: of.refused.len(),
        refusals: of.refused.iter().take(REFUSALS).map(refusal).collect(),
    }
}

fn refusal(refused: &Refused) -> api::Refusal {
    api::Refusal {
        name: refused.name.to_string(),
        version: refused.version.to_string(),
        at: time(refused.at),
        message: refused.message.to_string(),
    }
}

/// A conflict.
pub fn conflict(conflict: &model::Conflict) -> api::Conflict {
    api::Conflict {
        hostname: conflict.hostname.to_string(),
        namespace: conflict.namespace.to_string(),
        kind: word(&conflict.kind),
        winner: conflict.winner.as_ref().map(ToString::to_string),
        loser: conflict.loser.to_string(),
        detail: conflict.detail.clone(),
    }
}

/// Those in force in their order of precedence, then objects that are not.
pub fn policies(judged: &Judged) -> Vec<api::Policy> {
    let named = |name: &CustomName| format!("{}/{}", name.namespace, name.name);
    let (taken, refused): (Vec<&Verdict>, Vec<&Verdict>) =
        judged.verdicts.iter().partition(|v| v.problems.is_empty() || v.earlier);
    let verdict = |name: &str| taken.iter().find(|v| named(&v.object.name) == name);
    let in_force = judged.in_force.iter().map(|policy| {
        let verdict = verdict(&policy.name);
        api::Policy {
            name: policy.name.clone(),
            source: verdict.map_or("configuration", |_| KIND.kind).to_owned(),
            in_force: true,
            hosts: texts(&policy.hosts),
            sharing: serde_json::to_value(&policy.sharing).unwrap_or_default(),
            fields: match serde_json::to_value(policy).unwrap_or_default() {
                Value::Object(mut all) => all.remove("fields").unwrap_or_default(),
                _ => Value::Null,
            },
            problems: verdict.map(|verdict| verdict.problems.clone()).unwrap_or_default(),
        }
    });
    let refused = refused.into_iter().map(|verdict| api::Policy {
        name: named(&verdict.object.name),
        source: KIND.kind.to_owned(),
        in_force: false,
        hosts: texts(
            verdict.object.spec["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str),
        ),
        sharing: verdict.object.spec["sharing"].clone(),
        fields: verdict.object.spec["fields"].clone(),
        problems: verdict.problems.clone(),
    });
    in_force.chain(refused).collect()
}
