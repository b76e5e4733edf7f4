//! What keeping last good states costs: a write of everything, its size, and what
//! an event notices of writes that never stop.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use mainstem_aggregate::{AggregateConfig, LastGood, StateSettings};

use crate::events::{Mesh, everything, kubernetes_endpoint, quick};
use crate::world::{ENDPOINTS, REGISTRIES};

pub const HEADER: &str = "\
| endpoints | on disk, bytes an endpoint | writing all registries, s | event p50 / p99 µs without | while writing all the time |
|---:|---:|---:|---:|---:|";

pub fn measure(services: usize) {
    let directory = tempfile::tempdir().unwrap();
    let (bytes, took) = written(directory.path(), services);
    let mesh = Mesh::start(services, quick());
    let [p50, p99, _] = mesh.measure(0, kubernetes_endpoint);
    mesh.keep(directory.path());
    let [p50_beside, p99_beside, _] = mesh.measure(0, kubernetes_endpoint);
    let endpoints = services * ENDPOINTS;
    println!(
        "| {endpoints} | {} | {:.2} | {p50:.0} / {p99:.0} | {p50_beside:.0} / {p99_beside:.0} |",
        bytes / endpoints as u64,
        took.as_secs_f64(),
    );
}

/// Bytes on disk of all registries, and how long writing them took.
fn written(directory: &Path, services: usize) -> (u64, Duration) {
    let files = LastGood::new(directory);
    let mut sum = (0, Duration::ZERO);
    for (registry, id) in REGISTRIES.into_iter().enumerate() {
        let values = everything(registry, services);
        let start = Instant::now();
        sum.0 += files.write(&id.into(), values, SystemTime::now()).unwrap();
        sum.1 += start.elapsed();
    }
    sum
}

impl Mesh {
    /// Keeps last good states from now on, one write after the other.
    fn keep(&self, directory: &Path) {
        let state = StateSettings {
            directory: Some(directory.to_owned()),
            interval: Duration::from_millis(1),
        };
        self.replace_config(AggregateConfig { state, ..quick() });
    }
}
