//! The program `mainstem`: command line, configuration, wiring, registry manager,
//! admin API. Only this crate knows all others.

pub mod config;
pub mod registries;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;
