//! What one proxy is told, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use mainstem_proto::reflect;
use mainstem_xds::clients::Connected;
use mainstem_xds::{Resource, ResourceSource, TypeUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::handlers::{failure, json};

/// Whose resources, and which.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A node id, or a `name.namespace` that one proxy has.
    proxy: String,
    /// `CDS`, `EDS`, … in any case; without it, all types that it asked for.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only the resource of this name.
    name: Option<String>,
}

/// One resource.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Dumped {
    name: String,
    version: String,
    resource: Value,
}

/// The resources that a connected proxy is given, by type.
pub async fn config_dump(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    let connected = match find(&app, &wanted.proxy) {
        Ok(connected) => connected,
        Err(error) => return failure(StatusCode::NOT_FOUND, error),
    };
    match dump(&app, &connected, &wanted) {
        Ok(dump) => json(&dump),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

/// The newest stream of the proxy that is meant.
pub fn find(app: &App, wanted: &str) -> Result<Arc<Connected>, String> {
    let all = app.clients.all();
    let of_id = all.iter().rev().find(|connected| connected.client().node.id == wanted);
    if let Some(found) = of_id {
        return Ok(found.clone());
    }
    let named = |connected: &&Arc<Connected>| {
        let proxy = app.source.proxy(connected.client()).ok();
        proxy.is_some_and(|p| wanted == format!("{}.{}", p.name, p.namespace) || wanted == p.name)
    };
    let mut found: Vec<_> = all.iter().rev().filter(named).collect();
    found.dedup_by(|a, b| a.client().node.id == b.client().node.id);
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(format!("no proxy {wanted} is connected; `mainstem proxies` lists all")),
        _ => {
            let ids: Vec<_> = found.iter().map(|one| one.client().node.id.as_str()).collect();
            Err(format!("several proxies are called {wanted}; name one of {}", ids.join(", ")))
        }
    }
}

fn dump(
    app: &App,
    connected: &Connected,
    wanted: &Wanted,
) -> anyhow::Result<BTreeMap<String, Vec<Dumped>>> {
    let source: &dyn ResourceSource = &app.source;
    let given = connected.given(source)?;
    let kind = |type_url: &TypeUrl| {
        wanted.kind.as_ref().is_none_or(|kind| kind.eq_ignore_ascii_case(type_url.short()))
    };
    let name = |resource: &&Arc<Resource>| {
        wanted.name.as_ref().is_none_or(|name| **name == **resource.name())
    };
    let mut all = BTreeMap::new();
    for (type_url, resources) in given.iter().filter(|(type_url, _)| kind(type_url)) {
        let dumped: anyhow::Result<Vec<Dumped>> =
            resources.iter().filter(name).map(|resource| one(resource)).collect();
        all.insert(type_url.short().to_owned(), dumped?);
    }
    Ok(all)
}

fn one(resource: &Resource) -> anyhow::Result<Dumped> {
    Ok(Dumped {
        name: resource.name().to_string(),
        version: resource.version().to_string(),
        resource: reflect::body_to_json(&resource.any())?,
    })
}
