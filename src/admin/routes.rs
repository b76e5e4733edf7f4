//! The API's paths, each with what it takes and answers: the router and its OpenAPI
//! description are both made of this table.

use std::collections::BTreeMap;

use axum::routing::{MethodRouter, get, post};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{App, dump, explain, handlers, registrations, verbs};
use crate::api;

type Describe = fn(&mut SchemaGenerator) -> Schema;

/// One path.
pub struct Route {
    /// The path.
    pub path: &'static str,
    /// What handles it.
    pub handler: MethodRouter<App>,
    summary: &'static str,
    /// Parameters in the path: name, and what it says.
    within: &'static [(&'static str, &'static str)],
    /// Parameters in the query: name, what it says, and whether it is required.
    query: &'static [(&'static str, &'static str, bool)],
    body: Option<Describe>,
    answer: Option<Describe>,
}

/// Something to read, answered as plain text until told otherwise.
fn read(path: &'static str, summary: &'static str, handler: MethodRouter<App>) -> Route {
    Route { path, handler, summary, within: &[], query: &[], body: None, answer: None }
}

/// A verb that changes something: takes `T` and answers with what that came to.
fn verb<T: JsonSchema>(
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<App>,
) -> Route {
    read(path, summary, handler).takes::<T>().answers::<api::Decided>()
}

/// Something about the registrations of a memory registry.
fn registrations(path: &'static str, summary: &'static str, handler: MethodRouter<App>) -> Route {
    let within = &[("cluster", "The memory registry's cluster")];
    Route { within, ..read(path, summary, handler) }
}

impl Route {
    fn answers<T: JsonSchema>(self) -> Self {
        Self { answer: Some(|generator| generator.subschema_for::<T>()), ..self }
    }

    fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(|generator| generator.subschema_for::<T>()), ..self }
    }

    fn asks(self, query: &'static [(&'static str, &'static str, bool)]) -> Self {
        Self { query, ..self }
    }
}

const SERVICE: &[(&str, &str, bool)] = &[
    ("host", "Only this host name", false),
    ("namespace", "Only services of this namespace", false),
];

const CONFLICTS: &[(&str, &str, bool)] = &[(
    "proxy",
    "Instead, where services clash at the proxy of this node id, name or name.namespace",
    false,
)];

const DUMP: &[(&str, &str, bool)] = &[
    ("proxy", "A node id, or a name or name.namespace that one proxy has", true),
    ("type", "Only this type: CDS, EDS, LDS or RDS, in any case", false),
    ("name", "Only the resource of this name", false),
];

const EXPLAIN: &[(&str, &str, bool)] = &[
    ("host", "The service's host name", true),
    ("endpoint", "An address, perhaps with a port; without it, all endpoints", false),
    ("proxy", "As this proxy sees it: a node id, or a name or name.namespace", false),
    ("namespace", "Only the service of this namespace", false),
];

const WHY_NOT: &[(&str, &str, bool)] = &[
    ("host", "The service's host name", true),
    ("endpoint", "An address, perhaps with a port", true),
    ("proxy", "A node id, or a name or name.namespace that one proxy has", true),
    ("namespace", "Only the service of this namespace", false),
];

type Dump = BTreeMap<String, Vec<dump::Dumped>>;

/// All paths.
pub fn all() -> Vec<Route> {
    [reading(), deciding(), registering(), debugging()].into_iter().flatten().collect()
}

/// What there is, and why.
fn reading() -> Vec<Route> {
    vec![
        read("/live", "200 while the process works", get(handlers::live)),
        read("/ready", "200 while proxies are served, else 503", get(handlers::ready)),
        read("/metrics", "Metrics, as OpenMetrics text", get(handlers::metrics)),
        read("/openapi.json", "This description", get(handlers::openapi)).answers::<Value>(),
        read("/api/v1/status", "How the control plane is", get(handlers::status))
            .answers::<api::Status>(),
        read("/api/v1/registries", "The registries", get(handlers::registries))
            .answers::<Vec<api::Registry>>(),
        read("/api/v1/services", "The merged services", get(handlers::services))
            .asks(SERVICE)
            .answers::<Vec<api::Service>>(),
        read("/api/v1/endpoints", "Endpoints by service", get(handlers::endpoints))
            .asks(SERVICE)
            .answers::<Vec<api::ServiceEndpoints>>(),
        read("/api/v1/proxies", "The connected clients", get(handlers::proxies))
            .answers::<Vec<api::Proxy>>(),
        read("/api/v1/conflicts", "Where registries disagree", get(handlers::conflicts))
            .asks(CONFLICTS)
            .answers::<Vec<api::Conflict>>(),
        read(
            "/api/v1/policies",
            "Merge policies, and what became of them",
            get(handlers::policies),
        )
        .answers::<Vec<api::Policy>>(),
        read("/api/v1/control", "Decisions in force", get(handlers::control))
            .answers::<api::Control>(),
        read("/api/v1/config", "The configuration in force", get(handlers::config))
            .answers::<Map<String, Value>>(),
        read("/api/v1/config_dump", "What one proxy is given, by type", get(dump::config_dump))
            .asks(DUMP)
            .answers::<Dump>(),
        read("/api/v1/explain", "How a service came to proxies", get(explain::explain))
            .asks(EXPLAIN)
            .answers::<api::Explanation>(),
        read("/api/v1/why-not", "Why a proxy lacks an endpoint", get(explain::why_not))
            .asks(WHY_NOT)
            .answers::<api::Explanation>(),
    ]
}

/// What operators decide.
fn deciding() -> Vec<Route> {
    vec![
        verb::<api::Release>(
            "/api/v1/release",
            "What the withdrawal guard holds goes at once",
            post(verbs::release),
        ),
        verb::<api::Freeze>(
            "/api/v1/freeze",
            "A registry or service keeps its members, or proxies what they have",
            post(verbs::freeze),
        ),
        verb::<api::Freeze>("/api/v1/unfreeze", "A freeze ends", post(verbs::unfreeze)),
        verb::<api::Drain>(
            "/api/v1/drain",
            "A registry's endpoints lose weight",
            post(verbs::drain),
        ),
        verb::<api::Undrain>(
            "/api/v1/undrain",
            "A drained registry gets its weight back",
            post(verbs::undrain),
        ),
    ]
}

/// What registers itself in memory registries.
fn registering() -> Vec<Route> {
    vec![
        registrations(
            "/api/v1/memory/{cluster}/registrations",
            "What registered itself",
            get(registrations::list),
        )
        .answers::<Vec<api::Registration>>(),
        registrations(
            "/api/v1/memory/{cluster}/register",
            "Services with their endpoints and workloads are there, under one name",
            post(registrations::register),
        )
        .takes::<mainstem_memory::Registration>()
        .answers::<mainstem_memory::Registered>(),
        registrations(
            "/api/v1/memory/{cluster}/heartbeat",
            "A registration is still there",
            post(registrations::heartbeat),
        )
        .takes::<mainstem_memory::Heartbeat>()
        .answers::<mainstem_memory::Registered>(),
        registrations(
            "/api/v1/memory/{cluster}/deregister",
            "A registration is gone",
            post(registrations::deregister),
        )
        .takes::<mainstem_memory::Deregistration>()
        .answers::<api::Deregistered>(),
    ]
}

/// The paths of Istio whose meaning is the same.
fn debugging() -> Vec<Route> {
    vec![
        read("/debug/registryz", "As /api/v1/services", get(handlers::services))
            .asks(SERVICE)
            .answers::<Vec<api::Service>>(),
        read("/debug/endpointz", "As /api/v1/endpoints", get(handlers::endpoints))
            .asks(SERVICE)
            .answers::<Vec<api::ServiceEndpoints>>(),
        read("/debug/syncz", "As /api/v1/proxies", get(handlers::proxies))
            .answers::<Vec<api::Proxy>>(),
        read("/debug/config_dump", "As /api/v1/config_dump", get(dump::config_dump))
            .asks(DUMP)
            .answers::<Dump>(),
    ]
}

/// The OpenAPI description of all paths.
pub fn openapi() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let failure = json!({
        "description": "Why not, and what helps",
        "content": media("application/json", generator.subschema_for::<api::Failure>()),
    });
    let mut paths = Map::new();
    for route in all() {
        let method = if route.body.is_some() { "post" } else { "get" };
        paths.insert(route.path.to_owned(), json!({ method: route.operation(&mut generator) }));
    }
    let mut schemas = generator.take_definitions(true);
    schemas
        .values_mut()
        .for_each(|schema| drop(schema.as_object_mut().map(|s| s.remove("$schema"))));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mainstem admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What reads is open to processes of the same host; what changes \
                            something, and reading from elsewhere, needs the admin token.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "failure": failure },
            "securitySchemes": { "adminToken": { "type": "http", "scheme": "bearer" } },
        },
    })
}

impl Route {
    fn operation(&self, generator: &mut SchemaGenerator) -> Value {
        let content = match self.answer {
            Some(answer) => media("application/json", answer(generator)),
            None => media("text/plain", String::json_schema(generator)),
        };
        let parameter = |place: &str, name: &str, says: &str, required: bool| {
            json!({
                "name": name, "in": place, "description": says, "required": required,
                "schema": { "type": "string" },
            })
        };
        let query = self.query.iter().map(|(name, says, req)| parameter("query", name, says, *req));
        let within = self.within.iter().map(|(name, says)| parameter("path", name, says, true));
        let parameters: Vec<Value> = within.chain(query).collect();
        let failure = json!({ "$ref": "#/components/responses/failure" });
        let mut operation = json!({
            "summary": self.summary,
            "responses": { "200": { "description": self.summary, "content": content }, "default": failure },
        });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            let content = media("application/json", body(generator));
            operation["requestBody"] = json!({ "required": true, "content": content });
            operation["security"] = json!([{ "adminToken": [] }]);
        }
        operation
    }
}

fn media(kind: &str, schema: Schema) -> Value {
    json!({ kind: { "schema": schema } })
}
