//! The program `mainstem`: command line, configuration, wiring, registry manager,
//! admin API. Only this crate knows all others.
//!
//! ```text
//!  cli ─ serve ──▶ configuration ─┬─▶ registries ─▶ adapters ─▶ aggregate ─▶ xds (scopes) ─▶ xDS server
//!   │                             └─▶ policies ─▶ aggregate        │
//!   │                                                      admin, metrics
//!   └─ verbs ─ HTTP ──────────────────────────────────────────▶────┘
//! ```
//!
//! Invariants:
//! - Every task is supervised: a core task that ends early stops the process,
//!   an adapter that does is restarted and its registry says so.
//! - A configuration is used as a whole or not at all, at the start and later.
//! - The admin API changes nothing but control state, for who has the admin token, and
//!   registrations in a memory registry.

pub mod admin;
pub mod allocator;
pub mod api;
pub mod authentication;
pub mod cli;
pub mod config;
pub mod configuration;
mod conflict_events;
mod control_store;
pub mod listeners;
pub mod metrics;
pub mod policies;
pub mod registries;
pub mod serve;
pub mod shutdown;
pub mod spans;
pub mod supervise;
pub mod telemetry;
pub mod xds;
