//! When things happen: one follower per kind, a probe, and the keeper of the store.
//!
//! ```text
//! follow(Service) ─┐
//! follow(Pod) … ───┼─ Event ─▶ keep: Store, Course ─▶ UpdateSender
//! probe ───────────┘             └─ generation ─▶ followers open their watches anew
//! ```
//!
//! All of it is one future: dropping that ends everything, mid-request or
//! mid-backoff.

mod course;
mod follow;
mod probe;

use std::error::Error;

use futures::future::join_all;
use mainstem_model::{Condition, RegistryUpdate};
use mainstem_registry::{Backoff, UpdateSender};
use tokio::sync::{mpsc, watch};

use crate::api::{Api, Kind};
use crate::config::KubernetesConfig;
use crate::convert::Settings;
use crate::names::ObjectName;
use crate::objects::Item;
use crate::store::Store;
use course::Course;
use follow::Follower;

/// How many events may wait; beyond it followers wait, and so the API server.
const EVENTS: usize = 1024;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// These are all objects of the kind.
    Listed(Kind, Vec<Item>),
    /// An object is new or changed.
    Changed(Kind, Box<Item>),
    /// An object was deleted.
    Deleted(Kind, ObjectName),
    /// A watch is open, since the generation of this number.
    Following(Kind, u64),
    /// The cluster does not define the kind.
    Absent(Kind),
    /// The kind cannot be listed or watched; whether the API server said so.
    Troubled { kind: Kind, reason: String, reached: bool },
    /// The probe found the API server well, or not.
    Probed(Result<(), String>),
}

/// Follows the cluster for ever.
pub(crate) async fn run(config: KubernetesConfig, updates: UpdateSender) {
    let api = connect(&config, &updates).await;
    let required = required(&config);
    let (events, inbox) = mpsc::channel(EVENTS);
    let generation = watch::Sender::new(0);
    let followers = Kind::ALL.map(|kind| {
        let follower = Follower::new(kind, &api, &config, events.clone(), updates.churn());
        follower.run(generation.subscribe())
    });
    let probe = probe::run(&api, &config, &required, events);
    let settings = Settings::new(updates.registry().clone(), &config);
    let store = Store::new(settings, &config);
    let keeper = keep(store, Course::new(&required), inbox, &updates, &generation);
    tokio::join!(join_all(followers), probe, keeper);
}

async fn connect(config: &KubernetesConfig, updates: &UpdateSender) -> Api {
    let mut backoff = Backoff::default();
    loop {
        match Api::connect(config).await {
            Ok(api) => return api,
            Err(error) => {
                updates.send(RegistryUpdate::Condition(Condition::Failed(reason(&error).into())));
                backoff.wait().await;
            }
        }
    }
}

/// The kinds without which nothing can be said: endpoints need all three, and
/// discovery selectors are asked of Namespaces.
fn required(config: &KubernetesConfig) -> Vec<Kind> {
    let mut kinds = vec![Kind::Service, Kind::EndpointSlice, Kind::Pod];
    if !config.discovery_selectors.is_empty() {
        kinds.push(Kind::Namespace);
    }
    kinds
}

/// Applies what happens and says what follows from it.
async fn keep(
    mut store: Store,
    mut course: Course,
    mut inbox: mpsc::Receiver<Event>,
    updates: &UpdateSender,
    generation: &watch::Sender<u64>,
) {
    let mut events = Vec::with_capacity(EVENTS);
    while inbox.recv_many(&mut events, EVENTS).await > 0 {
        for event in events.drain(..) {
            apply(&mut store, &mut course, event);
        }
        generation.send_if_modified(|known| {
            std::mem::replace(known, course.generation()) != course.generation()
        });
        let mut said = Vec::new();
        if course.replaces() {
            let (values, rejected) = store.all();
            said.push(RegistryUpdate::Replace { values, rejected });
        } else if course.is_synced() {
            said = store.drain();
        }
        said.extend(course.condition().map(RegistryUpdate::Condition));
        if !said.is_empty() {
            updates.send_all(said);
        }
    }
}

/// A whole kind, where an object's name would stand.
const ALL: &str = "*";

fn apply(store: &mut Store, course: &mut Course, event: Event) {
    match event {
        Event::Listed(kind, items) => {
            store.accept(kind, ALL);
            store.relist(kind, items);
            course.listed(kind);
        }
        Event::Changed(kind, item) => store.apply(kind, *item),
        Event::Deleted(kind, name) => store.remove(kind, &name),
        Event::Following(kind, generation) => {
            store.accept(kind, ALL);
            course.following(kind, generation);
        }
        Event::Absent(kind) => {
            store.accept(kind, ALL);
            store.relist(kind, Vec::new());
            course.absent(kind);
        }
        Event::Troubled { kind, reason, reached } => {
            if reached && !course.requires(kind) {
                store.reject(kind, ALL, reason.clone());
            }
            course.troubled(kind, reason, reached);
        }
        Event::Probed(answer) => course.probed(answer),
    }
}

/// The error with its causes; what a cause repeats of its effect is left out.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        source: Option<Box<Caused>>,
    }

    #[test]
    fn a_reason_names_each_cause_once() {
        let caused = |text, source: Option<Caused>| Caused { text, source: source.map(Box::new) };
        let refused = caused("refused", None);
        let connect = caused("connecting: refused", Some(refused));
        let watching = caused("watching pods", Some(connect));
        assert_eq!(reason(&watching), "watching pods: connecting: refused");
    }
}
