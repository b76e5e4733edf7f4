//! The withdrawal guard: when a registry loses much at once, what it lost is kept
//! for a while, in the last tier.
//!
//! ```text
//! batch ─▶ before, after of each service ─ compare ─▶ Moves ─▶ History ─ judge ─▶ holds
//! ```
//!
//! An endpoint *serves* while its registry says that it takes traffic. It is *lost*
//! when it served and is gone or unhealthy; draining is somebody's decision and no
//! loss. What is lost counts *net* of what came newly within the window, so that
//! rolling out replaces endpoints and loses none.
//!
//! Invariants:
//! - Deciding is a function of what a registry said before and says now, of the
//!   window's history, the holds, the settings and the time.
//! - The history is bounded by what the registry had: an endpoint is in it at most
//!   once, and nothing is for longer than the window.

mod history;
mod moves;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Guard, GuardMode};

pub(crate) use history::{History, Rules, Situation, Verdict};
pub(crate) use moves::{Moves, NewDemand, compare, serves};
