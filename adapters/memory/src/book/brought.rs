//! What one registration brings.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{Endpoint, Health, ServiceKey, Sourced, Workload, WorkloadKey};
use mainstem_registry::own::{self, Around};
use mainstem_registry::serviceentry::Declared;
use mainstem_registry::{FieldPath, Problems};

use crate::api::Registration;

/// The values of one registration.
#[derive(Debug)]
pub(super) struct Brought {
    services: Vec<Declared>,
    workloads: Vec<Arc<Workload>>,
}

impl Brought {
    /// What the registration of this number brings.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub(super) fn of(
        around: &Around,
        asked: Registration,
        number: u64,
    ) -> Result<Self, Vec<String>> {
        let id = asked.id.clone();
        let document = asked.document();
        let around = around.within(&document.defaults);
        let registry = &around.entries.registry;
        let origins = Sourced::only(registry, "Registration", &id.to_string(), &number.to_string());
        let mut wrong = Vec::new();
        let services = each("services", &document.services, &mut wrong, |spec| {
            own::service(&around, spec, &origins)
        });
        let workloads = each("workloads", &document.workloads, &mut wrong, |spec| {
            own::workload(&around, spec, &origins)
        });
        if services.is_empty() && workloads.is_empty() && wrong.is_empty() {
            wrong.push("it brings neither services nor workloads: name what is registered".into());
        }
        twice(
            "service",
            services.iter().map(|declared| declared.service.key.to_string()),
            &mut wrong,
        );
        twice("workload", workloads.iter().map(|w| w.key.name().to_string()), &mut wrong);
        if wrong.is_empty() { Ok(Self { services, workloads }) } else { Err(wrong) }
    }

    /// The services.
    pub(super) fn services(&self) -> impl Iterator<Item = &Declared> {
        self.services.iter()
    }

    /// The service as this registration declares it.
    pub(super) fn service(&self, key: &ServiceKey) -> Option<&Declared> {
        self.services.iter().find(|declared| declared.service.key == *key)
    }

    /// Its endpoints of the service, all of this health unless each has its own.
    pub(super) fn endpoints(
        &self,
        key: &ServiceKey,
        health: Option<Health>,
    ) -> impl Iterator<Item = Arc<Endpoint>> {
        let all = self.service(key).into_iter().flat_map(|declared| &declared.endpoints);
        all.map(move |endpoint| match health {
            None => endpoint.clone(),
            Some(health) => Arc::new(Endpoint { health, ..Endpoint::clone(endpoint) }),
        })
    }

    /// The workloads, as they were registered.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.iter()
    }

    /// The workload, of this health unless it has its own.
    pub(super) fn workload(
        &self,
        key: &WorkloadKey,
        health: Option<Health>,
    ) -> Option<Arc<Workload>> {
        let workload = self.workloads.iter().find(|workload| workload.key == *key)?;
        Some(match health {
            None => workload.clone(),
            Some(health) => Arc::new(Workload { health, ..Workload::clone(workload) }),
        })
    }
}

/// What `make` makes of each item; what is wrong with any of them goes to `wrong`.
fn each<S, T>(
    field: &str,
    specs: &[S],
    wrong: &mut Vec<String>,
    make: impl Fn(&S) -> Result<T, Problems>,
) -> Vec<T> {
    let mut made = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        match make(spec) {
            Ok(value) => made.push(value),
            Err(problems) => {
                let place = FieldPath::root().field(field).index(at);
                wrong.extend(problems.all().iter().map(|problem| format!("{place}: {problem}")));
            }
        }
    }
    made
}

fn twice(what: &str, keys: impl Iterator<Item = String>, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for key in keys {
        if let Some(key) = seen.replace(key) {
            wrong.push(format!("{what} {key} stands in it twice"));
        }
    }
}

/// The first of all endpoints that have the same key.
pub(super) fn distinct(all: impl Iterator<Item = Arc<Endpoint>>) -> Vec<Arc<Endpoint>> {
    let mut seen = BTreeSet::new();
    let mut distinct: Vec<Arc<Endpoint>> = Vec::new();
    for endpoint in all {
        if seen.insert(format!("{:?}", endpoint.key())) {
            distinct.push(endpoint);
        }
    }
    distinct
}
