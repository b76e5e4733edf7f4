//! What is generated is accepted by Envoy, the newest and the oldest promised.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::bootstrap::bootstrap;
use common::random::{after, mesh, proxies};
use common::told;
use mainstem_model::{MeshSettings, Snapshot};
use mainstem_test_support::{Envoy, EnvoyVersion, full_matrix};
use mainstem_translate::{Scopes, Settings};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same random meshes in every run.
fn meshes(count: usize) -> Vec<Arc<Snapshot>> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let start = Snapshot::new(MeshSettings::default());
    let mesh = (mesh(), mesh()).prop_map(|(a, b)| a.into_iter().chain(b).collect());
    let changes = (0..count).map(|_| mesh.new_tree(&mut runner).unwrap().current());
    changes.map(|changes| Arc::new(after(&start, changes))).collect()
}

#[tokio::test]
async fn envoy_accepts_whatever_a_mesh_is_translated_to() {
    let count = if full_matrix() { 40 } else { 4 };
    for (n, snapshot) in meshes(count).into_iter().enumerate() {
        let scopes = Scopes::new(Settings::default(), snapshot);
        let proxies = proxies().into_iter().filter(|proxy| !proxy.is_grpc());
        for (m, proxy) in proxies.enumerate() {
            let attached = scopes.attach(proxy.clone());
            let bootstrap = bootstrap(&proxy, &told(&attached));
            let versions = EnvoyVersion::ALL;
            // Each version meets each kind of proxy, in one mesh or another.
            let version = versions[(n + m) % versions.len()];
            if let Err(error) = Envoy::validate(&bootstrap, version).await {
                panic!("mesh {n}, {}, Envoy {}: {error}\n{bootstrap}", proxy.id, version.number());
            }
        }
    }
}
