//! `/api/v1/explain` and `/api/v1/why-not`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use mainstem_aggregate::{ControlState, Testimony};
use mainstem_model::{Hostname, RegistryId};
use mainstem_translate::Kind;
use mainstem_xds::clients::Connected;
use mainstem_xds::{Lookup, ResourceSource, TypeUrl};
use serde::Deserialize;

use super::{Asked, Client, Exporting, Found, Ground, Question, Target, answer, walk};
use crate::admin::handlers::{failure, json};
use crate::admin::{App, dump};
use crate::api;

/// How many carriers are listed.
const LISTED: usize = 20;

/// What is asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The service's host name.
    host: String,
    /// Its namespace, where several have one of that name.
    namespace: Option<String>,
    /// An address, perhaps with a port; without it, all endpoints.
    endpoint: Option<String>,
    /// A node id, or a `name.namespace` that one proxy has.
    proxy: Option<String>,
}

impl Wanted {
    fn question(&self) -> Question {
        Question {
            host: Hostname::normalised(&self.host),
            namespace: self.namespace.as_deref().map(Into::into),
            target: self.endpoint.as_deref().map(Target::parse),
        }
    }
}

/// How it came to clients, and which of them have it.
pub async fn explain(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    explained(&app, &wanted).await
}

/// Why a proxy does not have an endpoint.
pub async fn why_not(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    let Wanted { endpoint: Some(_), proxy: Some(_), .. } = &wanted else {
        let why = "why-not asks about one endpoint and one proxy: give endpoint and proxy";
        return failure(StatusCode::BAD_REQUEST, why);
    };
    explained(&app, &wanted).await
}

async fn explained(app: &App, wanted: &Wanted) -> Response {
    let Some(testimony) = app.published.questions.ask().await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the control plane is stopping");
    };
    match explanation(app, wanted, &testimony) {
        Ok(explanation) => json(&explanation),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn explanation(
    app: &App,
    wanted: &Wanted,
    testimony: &Testimony,
) -> Result<api::Explanation, String> {
    let asked = Gathered::of(app, wanted, testimony);
    let proxy = wanted.proxy.as_deref();
    match proxy.map(|proxy| dump::find(app, proxy)) {
        None => Ok(carried(app, &asked.ground(Asked::Nobody), None)),
        Some(Err(why)) => Ok(carried(app, &asked.ground(Asked::Absent(why)), proxy)),
        Some(Ok(connected)) => with_client(app, &connected, |client| {
            carried(app, &asked.ground(Asked::Client(client)), proxy)
        }),
    }
}

/// What the steps look at, but for the proxy.
struct Gathered<'a> {
    question: Question,
    testimony: &'a Testimony,
    control: Arc<ControlState>,
    waiting_for: Vec<RegistryId>,
    exports: Vec<Exporting>,
}

impl<'a> Gathered<'a> {
    fn of(app: &App, wanted: &Wanted, testimony: &'a Testimony) -> Self {
        let readiness = &app.published.readiness;
        let config = app.current.borrow().config.clone();
        let exporting = config.registries.iter().filter(|one| !one.common.export.is_default());
        Self {
            question: wanted.question(),
            testimony,
            control: app.published.control.shared().borrow().state.clone(),
            waiting_for: match readiness.is_ready() {
                true => Vec::new(),
                false => readiness.waiting_for(),
            },
            exports: exporting.map(|one| (one.id.clone(), one.common.export.clone())).collect(),
        }
    }

    fn ground<'b>(&'b self, client: Asked<'b>) -> Ground<'b> {
        let Self { question, testimony, control, waiting_for, exports } = self;
        Ground { question, testimony, control, waiting_for, exports, client }
    }
}

/// Looks at what a proxy is told through a view of its own.
fn with_client<T>(
    app: &App,
    connected: &Connected,
    then: impl FnOnce(Client<'_>) -> T,
) -> Result<T, String> {
    let refused = |refusal: mainstem_xds::Refusal| refusal.to_string();
    let proxy = app.source.proxy(connected.client()).map_err(refused)?;
    let mut view = app.source.connect(connected.client()).map_err(refused)?;
    view.advance();
    let given = |kind: Kind, name: &str| match view.get(&TypeUrl::from(kind.type_url()), name) {
        Lookup::Found(resource) => Some(resource.body().clone()),
        _ => None,
    };
    let asks_for = |kind: Kind, name: &str| connected.asks_for(kind.type_url(), name);
    Ok(then(Client {
        proxy: &proxy,
        track: app.source.track(&proxy).map(|(group, _)| group),
        types: &connected.status().types,
        asks_for: &asks_for,
        given: &given,
    }))
}

fn carried(app: &App, ground: &Ground<'_>, proxy: Option<&str>) -> api::Explanation {
    let found = walk(ground);
    let mut explanation = answer::answer(ground, proxy, &found);
    for connected in app.clients.all() {
        if let Some(carrier) = carrier(app, &connected, ground, &found) {
            let carriers = &mut explanation.carriers;
            carriers.total += 1;
            carriers.acked += usize::from(carrier.state == "synced");
            if carriers.first.len() < LISTED {
                carriers.first.push(carrier);
            }
        }
    }
    explanation
}

/// A connected proxy that is given one of the endpoints, and whether it accepted it.
fn carrier(
    app: &App,
    connected: &Arc<Connected>,
    ground: &Ground<'_>,
    found: &Found,
) -> Option<api::Carrier> {
    let proxy = app.source.proxy(connected.client()).ok()?;
    let (cluster, eds) = answer::given(ground.testimony.snapshot(), &proxy, found)?;
    let kind = if eds { Kind::LoadAssignment } else { Kind::Cluster };
    if !connected.asks_for(kind.type_url(), &cluster) {
        return None;
    }
    let status = connected.status();
    let of_type = status.types.iter().find(|of| of.type_url == kind.type_url())?;
    let state = of_type.state_of(&cluster).word();
    Some(api::Carrier { proxy: status.node, state: state.to_owned() })
}
