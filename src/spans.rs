//! Traces of changes, from a registry's word to the ACKs of proxies, by OpenTelemetry.
//!
//! ```text
//!  change ──────────────────── said … everybody who is concerned was woken
//!    ├ snapshot ────────────── said … published
//!    ├ translate ──────────── published … woken
//!    └ push, one a response ── sent … answered
//! ```
//!
//! Built with the feature `otel` only, and silent unless the environment names a
//! collector, by the variables that OpenTelemetry's SDKs have in common.

#[cfg(not(feature = "otel"))]
mod absent;
#[cfg(feature = "otel")]
mod otlp;

#[cfg(not(feature = "otel"))]
pub use self::absent::{Change, Spans};
#[cfg(feature = "otel")]
pub use self::otlp::{Change, Spans};

/// The variables that name a collector: for traces, and for everything.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Whether the environment names a collector, and does not switch tracing off.
fn wanted() -> bool {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|off| off.eq_ignore_ascii_case("true"));
    ENDPOINTS.into_iter().any(set) && !off
}
