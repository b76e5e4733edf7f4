//! Policies: those of the configuration file, and FederationPolicy objects.
//!
//! ```text
//! configuration ──────────────────────┐
//! API server ─ CustomObjects ─▶ follow ┴▶ Merging ─ judge ─▶ aggregate
//!                                 ▲          └─ verdicts ─▶ report ─ Lease? ─▶ status
//!            state.directory ─────┘
//! ```
//!
//! Invariants:
//! - The file's policies come first: an object that clashes with them, or with an object
//!   before it by namespace and name, is refused, and its status says why.
//! - An object that is refused for its own content stays in force as it last was.
//! - An API server that cannot be asked changes nothing. What it last said is kept in the
//!   state directory, for a start while it is down.
//! - Outside of the mesh's root namespace an object speaks of its own namespace alone.

mod crd;
mod follow;
mod judge;
mod report;

use std::sync::Arc;

use mainstem_aggregate::AggregateConfig;
use mainstem_kubernetes::custom::{CustomKind, CustomObject};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Config;

pub use crd::crd;
pub use follow::{follow, restore};
pub use judge::{Judged, Objects, Verdict};

/// The kind.
pub const KIND: CustomKind = CustomKind {
    group: "mainstem.io",
    version: "v1alpha1",
    kind: "FederationPolicy",
    plural: "federationpolicies",
};

/// What the aggregate is told: the configuration, with the policies of objects.
#[derive(Debug)]
pub struct Merging {
    state: Mutex<State>,
    aggregate: watch::Sender<AggregateConfig>,
    judged: watch::Sender<Arc<Judged>>,
}

#[derive(Debug)]
struct State {
    config: Arc<Config>,
    objects: Objects,
}

impl Merging {
    /// The configuration alone.
    pub fn new(config: Arc<Config>) -> Arc<Self> {
        let mut objects = Objects::default();
        let judged = objects.judge(&config);
        let aggregate = watch::Sender::new(aggregate(&config, &judged));
        let judged = watch::Sender::new(Arc::new(judged));
        Arc::new(Self { state: Mutex::new(State { config, objects }), aggregate, judged })
    }

    /// What the aggregate is told.
    pub fn aggregate(&self) -> watch::Receiver<AggregateConfig> {
        self.aggregate.subscribe()
    }

    /// What became of each policy.
    pub fn judged(&self) -> watch::Receiver<Arc<Judged>> {
        self.judged.subscribe()
    }

    /// Another configuration is in force.
    pub fn configure(&self, config: Arc<Config>) {
        self.change(|state| state.config = config);
    }

    /// These are all objects.
    pub fn take(&self, objects: Vec<CustomObject>) {
        self.change(|state| state.objects.take(objects, &state.config));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let State { config, objects } = &mut *state;
        let judged = objects.judge(config);
        let next = aggregate(config, &judged);
        self.aggregate.send_if_modified(|known| {
            let changed = *known != next;
            *known = next;
            changed
        });
        self.judged.send_replace(Arc::new(judged));
    }
}

fn aggregate(config: &Config, judged: &Judged) -> AggregateConfig {
    AggregateConfig { policies: judged.in_force.clone(), ..config.aggregate() }
}
