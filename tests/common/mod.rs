//! A running `mainstem serve` with real registries and a real Envoy, for
//! end-to-end tests.
//!
//! ```text
//! Kubernetes ─┐                               host "client"
//! Consul ─────┼─▶ mainstem serve ──ADS──▶ Envoy (NONE: binds what it listens on)
//! file ───────┘                               │
//!                 hosts "kubernetes-1", … ◀───┘   one EchoBackend each, on 8080
//! ```
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod mainstem;
mod world;

/// The definitions of Istio's kinds.
pub const ISTIO_CRDS: &str = include_str!("../../adapters/kubernetes/tests/common/crds.yaml");

pub use mainstem::Mainstem;
pub use world::{Sidecar, TARGET, Workload, World, throughout};
