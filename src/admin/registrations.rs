//! Registering in a memory registry.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use mainstem_memory::{
    Deregistration, Heartbeat, Listed, MemoryConfig, Owner, PROVIDER, Refused, Store,
};
use mainstem_model::RegistryId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::App;
use super::access::Caller;
use super::audit::Record;
use super::decide::Refusal;
use super::handlers::{failure, json};
use super::views::{time, word};
use crate::api;
use crate::config::{AdapterConfig, Config};

const PATHS: &str = "/api/v1/memory/";

/// The registry that a path is about.
pub fn registry_of(path: &str) -> Option<RegistryId> {
    let (cluster, _) = path.strip_prefix(PATHS)?.split_once('/')?;
    Some(RegistryId::new(PROVIDER, cluster))
}

/// The settings of a memory registry that is configured.
pub fn settings<'a>(config: &'a Config, registry: &RegistryId) -> Option<&'a MemoryConfig> {
    let found = config.registries.iter().find(|known| known.id == *registry)?;
    match &found.adapter {
        AdapterConfig::Memory(settings) => Some(settings),
        _ => None,
    }
}

pub async fn list(app: State<App>, cluster: Path<String>) -> Response {
    answer(
        store(&app, &cluster)
            .map(|store| store.list().into_iter().map(view).collect::<Vec<api::Registration>>()),
    )
}

pub async fn register(
    app: State<App>,
    cluster: Path<String>,
    caller: Extension<Caller>,
    body: Bytes,
) -> Response {
    let registered = change(&app, &cluster, |store| {
        let body = std::str::from_utf8(&body)
            .map_err(|error| Refused::Invalid(format!("the registration: {error}")))?;
        store.register(body, &owner(&caller))
    });
    if let Ok(done) = &registered {
        write_down(&app, &caller, "register", &cluster, &done.id.to_string());
    }
    answer(registered)
}

pub async fn heartbeat(
    app: State<App>,
    cluster: Path<String>,
    caller: Extension<Caller>,
    body: Bytes,
) -> Response {
    answer(change(&app, &cluster, |store| {
        store.heartbeat(&read::<Heartbeat>("heartbeat", &body)?, &owner(&caller))
    }))
}

pub async fn deregister(
    app: State<App>,
    cluster: Path<String>,
    caller: Extension<Caller>,
    body: Bytes,
) -> Response {
    let gone = change(&app, &cluster, |store| {
        let asked = read::<Deregistration>("deregistration", &body)?;
        store.deregister(&asked, &owner(&caller))?;
        Ok(api::Deregistered { id: asked.id.to_string() })
    });
    if let Ok(gone) = &gone {
        write_down(&app, &caller, "deregister", &cluster, &gone.id);
    }
    answer(gone)
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response {
    match result {
        Ok(done) => json(&done),
        Err(Refusal(status, message)) => failure(status, message),
    }
}

/// Heartbeats are not written down: there are too many.
fn write_down(app: &App, caller: &Caller, verb: &str, cluster: &str, id: &str) {
    app.audit(Record::done(caller, verb, "").about(&format!("{PROVIDER}/{cluster} {id}"), ""));
}

fn read<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::Invalid(format!("the {what}: {error}")))
}

fn owner(caller: &Caller) -> Owner {
    let name: Arc<str> = caller.token.as_deref().unwrap_or_default().into();
    if caller.operator { Owner::Operator(name) } else { Owner::Registrant(name) }
}

/// The store of a cluster's registry, if there is one.
fn store(app: &App, cluster: &str) -> Result<Arc<Store>, Refusal> {
    let registry = RegistryId::new(PROVIDER, cluster);
    let config = app.current.borrow().config.clone();
    if settings(&config, &registry).is_some() {
        return Ok(app.registrations.open(&registry));
    }
    let known = config.registries.iter().filter(|r| r.id.provider() == PROVIDER);
    let known: Vec<_> = known.map(|registry| registry.id.to_string()).collect();
    let message = match known.is_empty() {
        true => format!("there is no memory registry: configure one with `type: {PROVIDER}`"),
        false => format!("there is no registry {registry}; there are {}", known.join(", ")),
    };
    Err(Refusal(StatusCode::NOT_FOUND, message))
}

fn change<T>(
    app: &App,
    cluster: &str,
    change: impl FnOnce(&Store) -> Result<T, Refused>,
) -> Result<T, Refusal> {
    let store = store(app, cluster)?;
    change(&store).map_err(|refused| Refusal(status(&refused), refused.to_string()))
}

fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Invalid(_) => StatusCode::BAD_REQUEST,
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Taken(_) => StatusCode::CONFLICT,
        Refused::Foreign { .. } => StatusCode::FORBIDDEN,
        Refused::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}

fn view(listed: Listed) -> api::Registration {
    let Listed { id, owner, registered, ttl, left, lapsed, health, services, workloads } = listed;
    api::Registration {
        id: id.to_string(),
        owner: owner.to_string(),
        registered: time(registered),
        state: if lapsed { "lapsed" } else { "live" }.to_owned(),
        ttl: ttl.to_string(),
        until: time(SystemTime::now() + left),
        health: health.as_ref().map(word),
        services: services
            .iter()
            .map(|key| format!("{}/{}", key.namespace(), key.hostname()))
            .collect(),
        workloads: workloads
            .iter()
            .map(|key| format!("{}/{}", key.namespace(), key.name()))
            .collect(),
    }
}
