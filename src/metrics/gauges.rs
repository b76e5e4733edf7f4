//! What is so at the moment of a scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use mainstem_model::{Freshness, RegistryId, RegistryState};
use mainstem_xds::Clients;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::pushes::{SHOWN, label};
use crate::admin::App;

/// Reads the snapshot, the registries' states and the scopes at each scrape.
pub(super) struct Gauges {
    app: App,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// One gauge with all its label sets, or a single value without labels.
struct Gauge<'a> {
    name: &'static str,
    help: &'static str,
    values: Vec<(Labels<'a>, f64)>,
}

impl Gauges {
    pub(super) fn new(app: App) -> Self {
        Self { app }
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.app.published.snapshots.load();
        whole(&self.app).into_iter().try_for_each(|gauge| gauge.write(&mut encoder))?;
        refused(&self.app.clients).write(&mut encoder)?;
        of_registries(&self.app, snapshot.registries())
            .into_iter()
            .try_for_each(|gauge| gauge.write(&mut encoder))
    }
}

impl Gauge<'_> {
    fn write(self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for (labels, value) in self.values {
            let gauge = ConstGauge::new(value);
            if labels.is_empty() {
                return gauge.encode(family);
            }
            gauge.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn one(name: &'static str, help: &'static str, value: f64) -> Gauge<'static> {
    Gauge { name, help, values: vec![(Vec::new(), value)] }
}

#[allow(clippy::cast_precision_loss)]
fn number(count: usize) -> f64 {
    count as f64
}

fn timestamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// What there is one of.
fn whole(app: &App) -> Vec<Gauge<'static>> {
    let snapshot = app.published.snapshots.load();
    let counts = app.source.counts();
    let uptime = app.started.elapsed().unwrap_or_default().as_secs_f64();
    let refused = app.current.borrow().error.is_some();
    let judged = app.policies.borrow().clone();
    let policies = judged.verdicts.iter().filter(|verdict| !verdict.problems.is_empty()).count();
    let control = app.published.control.shared().borrow().clone();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    vec![
        Gauge { name: "pilot_info", help: "The version", values: vec![(version, 1.0)] },
        one("istiod_uptime_seconds", "Seconds since the start", uptime),
        one("pilot_services", "Services", number(snapshot.service_count())),
        one("pilot_xds", "Connected clients", number(app.clients.len())),
        one(
            "mainstem_ready",
            "Whether proxies are served",
            f64::from(u8::from(app.published.readiness.is_ready())),
        ),
        one(
            "mainstem_snapshot_generation",
            "The newest snapshot's number",
            generation(snapshot.generation()),
        ),
        one(
            "mainstem_holds",
            "Services of which withdrawn endpoints are held",
            number(control.state.holds.len()),
        ),
        one(
            "mainstem_freezes",
            "Registries, services and groups of proxies that are frozen",
            number(control.state.freezes.len() + control.state.tracks.len()),
        ),
        one(
            "mainstem_control_store_failed",
            "Whether the store of the control state cannot be used",
            f64::from(u8::from(control.store.error.is_some())),
        ),
        one(
            "mainstem_control_changes_waiting",
            "Changes of the control state that its store does not have yet",
            number(control.store.waiting),
        ),
        one(
            "mainstem_conflicts",
            "Conflicts between registries",
            number(snapshot.conflicts().len()),
        ),
        one(
            "mainstem_proxy_groups",
            "Groups of proxies that are told the same",
            number(counts.groups),
        ),
        one("mainstem_scopes", "Scopes", number(counts.scopes)),
        one("mainstem_resources", "Distinct resources", number(counts.resources)),
        one(
            "mainstem_configuration_refused",
            "Whether the newest configuration could not be used",
            f64::from(u8::from(refused)),
        ),
        one(
            "mainstem_policies_refused",
            "FederationPolicies that are refused as they stand",
            number(policies),
        ),
    ]
}

/// What clients refuse. Zero is there to be seen before anything is.
fn refused(clients: &Clients) -> Gauge<'static> {
    let mut counts: BTreeMap<&str, usize> = SHOWN.map(|label| (label, 0)).into();
    for (type_url, count) in clients.refused() {
        *counts.entry(label(&type_url)).or_default() += count;
    }
    let value = |(label, count)| (vec![("type", label)], number(count));
    Gauge {
        name: "mainstem_xds_refused_resources",
        help: "Resources that clients refuse as they are now, each counted once a client",
        values: counts.into_iter().map(value).collect(),
    }
}

#[allow(clippy::cast_precision_loss)]
fn generation(generation: u64) -> f64 {
    generation as f64
}

/// A gauge's name, what it says, and its value of one registry.
type Figure<'f> =
    (&'static str, &'static str, &'f dyn Fn(&RegistryId, &RegistryState) -> Option<f64>);

fn of_registries<'a>(app: &App, states: &'a BTreeMap<RegistryId, RegistryState>) -> Vec<Gauge<'a>> {
    let state = Gauge {
        name: "mainstem_registry_state",
        help: "1 for the state that the registry is in: syncing, live, stale or expired",
        values: states.iter().flat_map(|(id, state)| in_states(id, state.freshness)).collect(),
    };
    let mut all = vec![state];
    all.extend(of_values(states));
    all.extend(of_times(app, states));
    all.extend(of_last_good(app, states));
    all
}

fn each<'a>(
    states: &'a BTreeMap<RegistryId, RegistryState>,
    figures: &[Figure<'_>],
) -> Vec<Gauge<'a>> {
    let gauge = |(name, help, value): &Figure<'_>| {
        let of = |(id, state): (&'a RegistryId, &RegistryState)| {
            Some((vec![("registry", id.as_str())], value(id, state)?))
        };
        Gauge { name, help, values: states.iter().filter_map(of).collect() }
    };
    figures.iter().map(gauge).collect()
}

/// What registries bring.
fn of_values(states: &BTreeMap<RegistryId, RegistryState>) -> Vec<Gauge<'_>> {
    each(
        states,
        &[
            ("mainstem_registry_services", "Services that the registry defines", &|_, state| {
                Some(number(state.services))
            }),
            (
                "mainstem_registry_unloaded_services",
                "Services that the registry has and that are not loaded, since nobody needs them",
                &|_, state| Some(number(state.unloaded)),
            ),
            ("mainstem_registry_endpoints", "Endpoints that the registry brings", &|_, state| {
                Some(number(state.endpoints))
            }),
            (
                "mainstem_registry_held_endpoints",
                "Endpoints that the registry withdrew and that are held all the same",
                &|_, state| Some(number(state.held)),
            ),
            ("mainstem_registry_workloads", "Workloads that the registry brings", &|_, state| {
                Some(number(state.workloads))
            }),
            (
                "mainstem_registry_rejected_objects",
                "Objects of the registry that could not be understood",
                &|_, state| Some(number(state.rejected.len())),
            ),
        ],
    )
}

/// Since when registries are as they are, how they got there, and what operators made of it.
fn of_times<'a>(app: &App, states: &'a BTreeMap<RegistryId, RegistryState>) -> Vec<Gauge<'a>> {
    let (statuses, now) = (app.published.statuses.all(), SystemTime::now());
    let control = app.published.control.shared().borrow().state.clone();
    each(
        states,
        &[
            (
                "mainstem_registry_index_resets",
                "How often the registry's index of changes was reset",
                &|id, _| Some(generation(app.updates.churn(id)?.resets())),
            ),
            (
                "mainstem_registry_index_jumps",
                "How often the registry's index went ahead though nothing had changed",
                &|id, _| Some(generation(app.updates.churn(id)?.jumps())),
            ),
            (
                "mainstem_registry_weight_percent",
                "How much of their weight the registry's endpoints have: less than 100 while drained",
                &|id, _| Some(f64::from(control.share(id, now.into()))),
            ),
            (
                "mainstem_registry_lag_seconds",
                "Seconds by which the registry's values may lag behind it: 0 while it is followed",
                &|id, _| Some(statuses.get(id)?.lag(now)?.as_secs_f64()),
            ),
            (
                "mainstem_registry_state_since_timestamp_seconds",
                "When the registry came into its present state",
                &|id, _| Some(timestamp(statuses.get(id)?.since)),
            ),
            (
                "mainstem_registry_last_update_timestamp_seconds",
                "When the registry last said anything about its values",
                &|id, _| Some(timestamp(statuses.get(id)?.last_update?)),
            ),
        ],
    )
}

/// What is kept of registries on disk.
fn of_last_good<'a>(app: &App, states: &'a BTreeMap<RegistryId, RegistryState>) -> Vec<Gauge<'a>> {
    let statuses = app.published.statuses.all();
    each(
        states,
        &[
            (
                "mainstem_registry_last_good_timestamp_seconds",
                "When the registry's last good state was last written to disk",
                &|id, _| Some(timestamp(statuses.get(id)?.last_good.written?)),
            ),
            (
                "mainstem_registry_last_good_bytes",
                "Size of the registry's last good state on disk",
                &|id, _| {
                    let last_good = &statuses.get(id)?.last_good;
                    last_good.written.map(|_| generation(last_good.bytes))
                },
            ),
            (
                "mainstem_registry_last_good_failed",
                "Whether the registry's last good state could not be used or written",
                &|id, _| Some(f64::from(u8::from(statuses.get(id)?.last_good.error.is_some()))),
            ),
        ],
    )
}

fn in_states<'a>(id: &'a RegistryId, freshness: Freshness) -> Vec<(Labels<'a>, f64)> {
    let all = Freshness::ALL.into_iter().map(|state| {
        let labels = vec![("registry", id.as_str()), ("state", state.word())];
        (labels, f64::from(u8::from(state == freshness)))
    });
    all.collect()
}

#[cfg(test)]
mod tests;
