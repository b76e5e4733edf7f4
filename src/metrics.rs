//! Metrics, under Istio's names where the meaning is the same.

mod auth;
mod gauges;
mod loads;
mod pushes;
mod total;

use std::fmt;

use mainstem_xds::Loads;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::admin::App;
pub use auth::AuthMetrics;
pub use pushes::Pushes;

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The media type of what [`encode`](Self::encode) writes.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// The metrics of what `app` reads, of what happened on streams, of who was let in,
    /// and of what clients report to have sent where.
    pub fn new(app: App, pushes: &Pushes, auth: &AuthMetrics, loads: Loads) -> Self {
        let mut registry = Registry::default();
        pushes.register(&mut registry);
        auth.register(&mut registry);
        registry.register_collector(Box::new(loads::LoadMetrics(loads)));
        registry.register_collector(Box::new(gauges::Gauges::new(app)));
        Self { registry }
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// When a metric cannot be written, which would be a bug.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
