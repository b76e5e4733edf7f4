//! Kubernetes registry adapter.
//!
//! Follows Services, EndpointSlices, Pods, Nodes and Namespaces of one cluster,
//! and Istio's ServiceEntries and WorkloadEntries while their definitions exist
//! there, each by a list and then a watch from where the list ended.
//!
//! ```text
//!            api ── list, watch, probe ──▶ API server
//!             │
//!  watch: follow (one per kind) ─ items ─▶ store ─ touched keys ─▶ convert ─▶ UpdateSender
//!         probe ────── reachable? ───────▶ condition ──────────────────────▶ UpdateSender
//!
//!  entries: ConfigMaps, for replicas that share control state
//!  custom: objects of a custom kind that tell the control plane what to do
//!  events: what operators should hear of
//!  lease: which of several replicas does what only one should
//!  tokens: TokenReview, for whoever authenticates clients of this cluster
//! ```
//!
//! How it resumes: a watch that ends goes on from the last resource version seen,
//! bookmarks included; 410 Gone lists anew, and what differs from the list goes
//! out as one replacement. State is complete once every required kind (Service,
//! EndpointSlice, Pod; Namespace where discovery selectors need it) has listed
//! and every other kind has listed or been refused; then the first replacement
//! goes out.
//!
//! Invariants:
//! - A failed request removes nothing, whatever its reason. Only a complete list,
//!   a watched deletion, or the removal of a kind's definition does.
//! - Silence is noticed by a probe of its own, which asks what the watches ask
//!   and so sees a hanging store and missing rights too; after it recovers, every
//!   watch is opened anew.
//! - An object that cannot be understood is rejected by name and its last good
//!   version stays in force; its neighbours do not notice.
//! - A change costs what it touches: a Pod its own workload and the services
//!   whose slices or selectors name it.

mod adapter;
mod api;
mod check;
mod config;
mod convert;
pub mod custom;
pub mod entries;
pub mod events;
pub mod lease;
mod names;
mod objects;
mod store;
mod tokens;
mod watch;

pub use adapter::KubernetesAdapter;
pub use check::{Checked, check};
pub use config::{KubernetesConfig, LabelRequirement, LabelSelector, Operator};
pub use tokens::{TokenReviewError, TokenReviews, TokenVerdict};

/// The provider's name in registry identities: `kubernetes/CLUSTER`.
pub const PROVIDER: &str = "kubernetes";
