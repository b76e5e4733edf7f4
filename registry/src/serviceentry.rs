//! Istio's ServiceEntry and WorkloadEntry, for every registry that holds them.
//!
//! ```text
//! ServiceEntrySpec ─ convert::service_entry ──▶ Declared (one per host) ─┐
//! WorkloadEntrySpec ─ convert::workload_entry ─▶ Workload ───────────────┴─▶ EndpointSet
//!                                     (and pods)      selected by labels, same namespace
//! ```
//!
//! All of it is pure. An entry that breaks a rule is refused as a whole, with
//! every field that is wrong; it never harms another entry.

mod check;
pub mod convert;
mod select;
mod spec;

pub use check::{Hosts, host_problem, port_problem};
pub use convert::{Entry, Surroundings};
pub use select::{Declared, endpoints_of, selects};
pub use spec::{
    Location, ServiceEntryPort, ServiceEntryResolution, ServiceEntrySpec, WorkloadEntrySpec,
    WorkloadSelector,
};

#[cfg(test)]
mod tests;
