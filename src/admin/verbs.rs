//! The verbs that change something: each decides, is written down, and takes effect.

use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use mainstem_aggregate::{Change, Moment};
use serde::de::DeserializeOwned;

use super::access::Caller;
use super::audit::Record;
use super::decide::{self, Ground, Refusal};
use super::handlers::{failure, json};
use super::{App, control};
use crate::api;

/// What a verb is told: on what, and why.
pub trait Asked: DeserializeOwned {
    /// What the audit log says of it.
    fn about(&self) -> (String, String);
}

impl Asked for api::Release {
    fn about(&self) -> (String, String) {
        (self.target.clone(), self.reason.clone())
    }
}

impl Asked for api::Freeze {
    fn about(&self) -> (String, String) {
        let proxies = self.proxies.as_ref().map(|group| format!("proxies {group}"));
        (self.target.clone().or(proxies).unwrap_or_default(), self.reason.clone())
    }
}

impl Asked for api::Drain {
    fn about(&self) -> (String, String) {
        (self.registry.clone(), self.reason.clone())
    }
}

impl Asked for api::Undrain {
    fn about(&self) -> (String, String) {
        (self.registry.clone(), self.reason.clone())
    }
}

type Decide<T> = fn(&Ground<'_>, &T) -> Result<Vec<Change>, Refusal>;

pub async fn release(app: State<App>, caller: Extension<Caller>, body: Bytes) -> Response {
    change(&app, &caller, "release", &body, decide::release).await
}

pub async fn freeze(app: State<App>, caller: Extension<Caller>, body: Bytes) -> Response {
    change(&app, &caller, "freeze", &body, decide::freeze).await
}

pub async fn unfreeze(app: State<App>, caller: Extension<Caller>, body: Bytes) -> Response {
    change(&app, &caller, "unfreeze", &body, decide::unfreeze).await
}

pub async fn drain(app: State<App>, caller: Extension<Caller>, body: Bytes) -> Response {
    change(&app, &caller, "drain", &body, decide::drain).await
}

pub async fn undrain(app: State<App>, caller: Extension<Caller>, body: Bytes) -> Response {
    change(&app, &caller, "undrain", &body, decide::undrain).await
}

/// Decides, writes that down, and waits until it is in force here.
async fn change<T: Asked>(
    app: &App,
    caller: &Caller,
    verb: &str,
    body: &[u8],
    decide: Decide<T>,
) -> Response {
    let asked: T = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => {
            let why = format!("what is asked cannot be read: {error}");
            app.audit(Record::refused(caller, verb, &why));
            return failure(StatusCode::BAD_REQUEST, why);
        }
    };
    let (target, reason) = asked.about();
    let changes = match decided(app, &asked, decide) {
        Ok(changes) => changes,
        Err(Refusal(status, why)) => {
            app.audit(Record::refused(caller, verb, &why).about(&target, &reason));
            return failure(status, why);
        }
    };
    let detail = serde_json::to_string(&asked_again(body)).unwrap_or_default();
    let record = Record::done(caller, verb, &detail).about(&target, &reason);
    if let Err(error) = app.try_audit(record) {
        let why = format!("nothing was changed, since the audit log cannot be written: {error}");
        return failure(StatusCode::INTERNAL_SERVER_ERROR, why);
    }
    json(&effect(app, changes).await)
}

fn decided<T>(app: &App, asked: &T, decide: Decide<T>) -> Result<Vec<Change>, Refusal> {
    let state = app.published.control.shared().borrow().state.clone();
    let config = app.current.borrow().config.clone();
    let ground = Ground {
        state: &state,
        snapshot: &app.published.snapshots.load(),
        registries: config.registries.iter().map(|registry| registry.id.clone()).collect(),
        now: SystemTime::now().into(),
    };
    decide(&ground, asked)
}

/// The request as it was read, for the log: on one line, without what it left out.
fn asked_again(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// Puts changes in force; what began and what ended by them.
async fn effect(app: &App, changes: Vec<Change>) -> api::Decided {
    let shared = app.published.control.shared();
    let before = shared.borrow().state.clone();
    let mut after = (*before).clone();
    for change in changes {
        after.apply(&change);
        app.published.control.change(change).await;
    }
    let now = Moment::from(SystemTime::now());
    api::Decided {
        begun: control::difference(&after, &before, now),
        ended: control::difference(&before, &after, now),
        store: control::store(&shared.borrow().store),
    }
}
