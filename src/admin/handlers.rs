//! One function per path.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Extension, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use mainstem_model::{Conflict, Hostname, ServiceKey};
use serde::{Deserialize, Serialize};

use super::{App, control, dump, routes, views};
use crate::api;
use crate::metrics::Metrics;

/// An indented JSON answer, fit for people as well.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// An answer that says why there is none.
pub fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    let mut response = json(&api::Failure { error: error.into() });
    *response.status_mut() = status;
    response
}

/// Which services are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only this host name.
    host: Option<String>,
    /// Only this namespace.
    namespace: Option<String>,
}

impl Filter {
    fn matches(&self, key: &ServiceKey) -> bool {
        let host = self.host.as_deref().map(Hostname::normalised);
        host.is_none_or(|host| host == *key.hostname())
            && self.namespace.as_deref().is_none_or(|name| name == key.namespace().as_str())
    }
}

/// The process runs.
pub async fn live() -> &'static str {
    "live\n"
}

/// Proxies are served; else 503 with the registries that are waited for.
pub async fn ready(State(app): State<App>) -> Response {
    let readiness = &app.published.readiness;
    if readiness.is_ready() {
        return "ready\n".into_response();
    }
    let names: Vec<String> = readiness.waiting_for().iter().map(ToString::to_string).collect();
    let text = format!("waiting for {}\n", names.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

pub async fn metrics(Extension(metrics): Extension<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub async fn status(State(app): State<App>) -> Response {
    json(&views::status(&app))
}

pub async fn registries(State(app): State<App>) -> Response {
    json(&views::registries(&app))
}

pub async fn services(State(app): State<App>, Query(filter): Query<Filter>) -> Response {
    let snapshot = app.published.snapshots.load();
    let mut found: Vec<_> = snapshot.services().filter(|s| filter.matches(&s.key)).collect();
    found.sort_by(|a, b| (a.hostname(), a.namespace()).cmp(&(b.hostname(), b.namespace())));
    let views: Vec<_> = found.into_iter().map(|s| views::service(&snapshot, s)).collect();
    json(&views)
}

/// Endpoints by service; 404 for a host name that no registry knows.
pub async fn endpoints(State(app): State<App>, Query(filter): Query<Filter>) -> Response {
    let snapshot = app.published.snapshots.load();
    let mut keys: Vec<_> =
        snapshot.services().map(|s| s.key.clone()).filter(|key| filter.matches(key)).collect();
    if keys.is_empty()
        && let Some(host) = &filter.host
    {
        return failure(StatusCode::NOT_FOUND, format!("no registry knows a service {host}"));
    }
    keys.sort_by(|a, b| (a.hostname(), a.namespace()).cmp(&(b.hostname(), b.namespace())));
    let views: Vec<_> = keys.iter().map(|key| views::endpoints(&snapshot, key)).collect();
    json(&views)
}

pub async fn proxies(State(app): State<App>) -> Response {
    let connected = app.clients.all();
    let views = connected.iter().map(|connected| {
        views::proxy(&app, connected.status(), app.source.proxy(connected.client()).ok())
    });
    json(&views.collect::<Vec<_>>())
}

/// Which proxy is meant, if one is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtProxy {
    proxy: Option<String>,
}

/// Those of the mesh; or of services at one proxy, 404 if it is not connected.
pub async fn conflicts(State(app): State<App>, Query(at): Query<AtProxy>) -> Response {
    let found = match at.proxy {
        None => Ok(app.published.snapshots.load().conflicts()),
        Some(wanted) => clashes(&app, &wanted),
    };
    match found {
        Ok(all) => json(&all.iter().map(views::conflict).collect::<Vec<_>>()),
        Err(error) => failure(StatusCode::NOT_FOUND, error),
    }
}

fn clashes(app: &App, wanted: &str) -> Result<Vec<Conflict>, String> {
    let connected = dump::find(app, wanted)?;
    let proxy = app.source.proxy(connected.client()).map_err(|refusal| refusal.to_string())?;
    Ok(app.source.clashes(&proxy))
}

/// Merge policies, and what became of them.
pub async fn policies(State(app): State<App>) -> Response {
    json(&views::policies(&app.policies.borrow()))
}

/// What the guard and operators decided.
pub async fn control(State(app): State<App>) -> Response {
    let shared = app.published.control.shared().borrow().clone();
    json(&control::control(&shared, SystemTime::now().into()))
}

/// The configuration in force; secrets are not shown.
pub async fn config(State(app): State<App>) -> Response {
    let config = app.current.borrow().config.clone();
    json(&*config)
}

/// The description of this API.
pub async fn openapi() -> Response {
    json(&routes::openapi())
}

pub async fn unknown(uri: Uri) -> Response {
    let known: Vec<_> = routes::all().iter().map(|route| route.path).collect();
    let known = known.join(", ");
    failure(StatusCode::NOT_FOUND, format!("there is no {}; there are {known}", uri.path()))
}
