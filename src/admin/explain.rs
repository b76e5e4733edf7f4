//! `explain` and `why-not`: the way of a service, or of one endpoint, from the
//! registries to a client, step by step.
//!
//! ```text
//!  registries ─ origins ─▶ snapshot ─ standing ─▶ takes traffic? ─ delivery ─▶ the proxy
//!   registry, export,       hosts, joins,          guard, drain,     connected, visible,
//!   accepted, ready,        policy, port,          health, tier      cluster, network, …,
//!   synced, expired         freeze, published                        subscribed, sent, acked
//! ```
//!
//! A [`Ground`] is all that the steps look at, gathered beforehand; the steps are pure.
//!
//! Invariant: the steps come in the order in which the program takes them, and the one
//! that removes the endpoint is the last. They ask the rules of the merge and of the
//! translation themselves, and what those left behind: conflicts, the snapshot, the
//! resource as it is sent.

mod answer;
mod delivery;
mod exported;
mod handler;
mod origins;
mod question;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;

use mainstem_aggregate::{ControlState, Testimony};
use mainstem_model::{Endpoint, Proxy, RegistryId, ServiceKey};
use mainstem_proto::Encoded;
use mainstem_translate::Kind;
use mainstem_xds::clients::TypeStatus;
use std::sync::Arc;

use crate::api::{Outcome, Step, Verdict};

pub use exported::Exporting;
pub use handler::{explain, why_not};
pub use question::{Question, Target};

/// All that the steps look at.
pub struct Ground<'a> {
    /// What is asked.
    pub question: &'a Question,
    /// What registries said, and the snapshot that was made of it.
    pub testimony: &'a Testimony,
    /// What the guard and operators decided.
    pub control: &'a ControlState,
    /// The registries without which nobody is served yet.
    pub waiting_for: &'a [RegistryId],
    /// The registries' own rules, where they have some.
    pub exports: &'a [Exporting],
    /// The proxy asked about.
    pub client: Asked<'a>,
}

/// The proxy asked about.
pub enum Asked<'a> {
    /// None.
    Nobody,
    /// One that is not connected, and why that is thought.
    Absent(String),
    /// This one.
    Client(Client<'a>),
}

/// A connected proxy, and what it is told.
pub struct Client<'a> {
    /// Who it is.
    pub proxy: &'a Proxy,
    /// The frozen group that it belongs to.
    pub track: Option<String>,
    /// How far it has come.
    pub types: &'a [TypeStatus],
    /// Whether it asked for a resource.
    pub asks_for: &'a dyn Fn(Kind, &str) -> bool,
    /// The resource that it is given by this name.
    pub given: &'a dyn Fn(Kind, &str) -> Option<Encoded>,
}

/// The steps so far.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<Step>,
}

/// A step's name and its reason for the end.
pub(super) struct Removed;

type Passed<T> = Result<T, Removed>;

impl Trace {
    fn add(&mut self, name: &str, verdict: Verdict, because: impl Into<String>) {
        self.steps.push(Step { name: name.to_owned(), verdict, because: because.into() });
    }

    fn passed(&mut self, name: &str, because: impl Into<String>) {
        self.add(name, Verdict::Passed, because);
    }

    fn idle(&mut self, name: &str, because: impl Into<String>) {
        self.add(name, Verdict::Idle, because);
    }

    fn removed<T>(&mut self, name: &str, because: impl Into<String>) -> Passed<T> {
        self.add(name, Verdict::Removed, because);
        Err(Removed)
    }

    /// What the steps come to: the one that removed it, else the first that leaves it
    /// without traffic.
    pub fn outcome(&self) -> Outcome {
        let of = |verdict| self.steps.iter().find(|step| step.verdict == verdict);
        match of(Verdict::Removed).or_else(|| of(Verdict::Idle)) {
            Some(step) => Outcome {
                verdict: step.verdict,
                step: Some(step.name.clone()),
                because: step.because.clone(),
            },
            None => Outcome {
                verdict: Verdict::Passed,
                step: None,
                because: "nothing removes it: it is there".to_owned(),
            },
        }
    }
}

/// What the steps found.
#[derive(Debug, Default)]
pub struct Found {
    /// The steps.
    pub trace: Trace,
    /// The service that is meant.
    pub key: Option<ServiceKey>,
    /// The endpoints that are meant, as the snapshot has them.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// Walks the steps.
pub fn walk(ground: &Ground<'_>) -> Found {
    let mut found = Found::default();
    // That it was removed is the last step's to say.
    drop(follow(ground, &mut found));
    found
}

fn follow(ground: &Ground<'_>, found: &mut Found) -> Passed<()> {
    let brought = origins::brought(ground, found)?;
    found.endpoints = snapshot::merged(ground, &brought, &mut found.trace)?;
    standing::judge(ground, &brought, &found.endpoints, &mut found.trace);
    delivery::deliver(ground, &brought.key, &found.endpoints, &mut found.trace)
}
