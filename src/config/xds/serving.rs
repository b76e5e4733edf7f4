//! How clients are served: how long what they open may last, and what it may cost.

use std::sync::Arc;
use std::time::Duration;

use mainstem_model::TimeSpan;
use mainstem_xds::{Limits, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::XdsConfig;

/// How it is found out that a client is gone: HTTP/2 pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeepaliveConfig {
    /// Time between pings. Default: `30s`.
    pub interval: TimeSpan,
    /// How long one may go without an answer before the connection is closed. Default: `10s`.
    pub timeout: TimeSpan,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self { interval: TimeSpan::from_secs(30), timeout: TimeSpan::from_secs(10) }
    }
}

/// What one stream may cost; one that asks for more is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Types of resources that it may ask for. Default: 32.
    pub types: u32,
    /// Names that it may ask for, by type. Default: 100000.
    pub names: u32,
    /// Bytes of all these names, by type. Default: 4194304.
    pub name_bytes: u32,
    /// Bytes of one request. Default: 4194304.
    pub request_bytes: u32,
    /// Bytes of the client's node. Default: 1048576.
    pub node_bytes: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            types: 32,
            names: 100_000,
            name_bytes: 4 << 20,
            request_bytes: 4 << 20,
            node_bytes: 1 << 20,
        }
    }
}

/// What clients report of what they sent where, for `/metrics`. A client reports only
/// if its own configuration says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadReportsConfig {
    /// Whether reports are taken. Default: true.
    pub enabled: bool,
    /// How often clients are to report. Default: `10s`.
    pub interval: TimeSpan,
}

impl Default for LoadReportsConfig {
    fn default() -> Self {
        Self { enabled: true, interval: TimeSpan::from_secs(10) }
    }
}

/// The longest identifier: it goes into the first response of every stream.
const MOST_IDENTIFIER: usize = 256;

impl XdsConfig {
    /// The same as the server wants it.
    pub fn server(&self) -> ServerConfig {
        let reports = self.load_reports;
        ServerConfig {
            identifier: self.identifier.clone().unwrap_or_else(own_identifier).into(),
            limits: Arc::new(self.limits.limits()),
            max_streams: size(self.max_streams),
            max_streams_per_connection: self.max_streams_per_connection,
            max_connection_age: Some(self.max_connection_age.duration())
                .filter(|age| !age.is_zero()),
            max_connection_age_grace: self.max_connection_age_grace.duration(),
            stall: self.stall.duration(),
            keepalive_interval: self.keepalive.interval.duration(),
            keepalive_timeout: self.keepalive.timeout.duration(),
            load_reports: reports.enabled.then_some(reports.interval.duration()),
            drain: self.drain.duration(),
            ..ServerConfig::default()
        }
    }

    /// Whether the server would be another, which it becomes after a restart.
    pub fn serves_alike(&self, other: &Self) -> bool {
        let part = |config: &Self| {
            let Self { identifier, max_streams, max_streams_per_connection, limits, .. } = config;
            let ages = [config.max_connection_age, config.max_connection_age_grace];
            let times = [config.stall, config.drain];
            let counts = (*max_streams, *max_streams_per_connection, *limits);
            (identifier.clone(), ages, times, counts, config.keepalive, config.load_reports)
        };
        part(self) == part(other)
    }
}

impl LimitsConfig {
    fn limits(&self) -> Limits {
        Limits {
            types: size(self.types),
            names: size(self.names),
            name_bytes: size(self.name_bytes),
            request_bytes: size(self.request_bytes),
            node_bytes: size(self.node_bytes),
            ..Limits::default()
        }
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).expect("this is built for 32 bits at least")
}

/// Tells replicas apart where operators see it: in a proxy's statistics and dumps.
fn own_identifier() -> String {
    let host = nix::unistd::gethostname().ok();
    let host = host.map(|host| format!(" {}", host.to_string_lossy())).unwrap_or_default();
    format!("mainstem/{}{host}", env!("CARGO_PKG_VERSION"))
}

/// What is wrong with these settings: where below the section, what, and what to do.
pub(super) fn check(config: &XdsConfig, wrong: &mut impl FnMut(&str, String, &str)) {
    check_times(config, wrong);
    check_counts(config, wrong);
    let length = config.identifier.as_ref().map_or(0, String::len);
    if length > MOST_IDENTIFIER {
        let message = format!("`xds.identifier` has {length} bytes");
        wrong("identifier", message, "give it 256 at most: each stream is told it");
    }
}

fn check_times(config: &XdsConfig, wrong: &mut impl FnMut(&str, String, &str)) {
    const SECOND: Duration = Duration::from_secs(1);
    const TENTH: Duration = Duration::from_millis(100);
    let times = [
        ("keepalive.interval", config.keepalive.interval, SECOND),
        ("keepalive.timeout", config.keepalive.timeout, SECOND),
        ("stall", config.stall, SECOND),
        ("loadReports.interval", config.load_reports.interval, TENTH),
    ];
    for (name, time, least) in times {
        if time.duration() < least {
            let message = format!("`xds.{name}` is {time}");
            let advice = format!("make it {} at least", TimeSpan::from(least));
            wrong(name, message, &advice);
        }
    }
    let age = config.max_connection_age;
    if !age.is_zero() && age.duration() < SECOND {
        let message =
            format!("`xds.maxConnectionAge` is {age}: clients would do nothing but connect");
        wrong("maxConnectionAge", message, "make it 1s at least, or 0s for no end");
    }
}

fn check_counts(config: &XdsConfig, wrong: &mut impl FnMut(&str, String, &str)) {
    let limits = &config.limits;
    let counts = [
        ("maxStreams", config.max_streams, 1),
        ("maxStreamsPerConnection", config.max_streams_per_connection, 1),
        // Clusters, load assignments, listeners and routes are asked for together.
        ("limits.types", limits.types, 4),
        ("limits.names", limits.names, 1),
        ("limits.nameBytes", limits.name_bytes, 1024),
        ("limits.requestBytes", limits.request_bytes, 1024),
        ("limits.nodeBytes", limits.node_bytes, 1024),
    ];
    for (name, count, least) in counts {
        if count < least {
            let message = format!("`xds.{name}` is {count}: no client could be served");
            wrong(name, message, &format!("make it {least} at least"));
        }
    }
    if limits.node_bytes > limits.request_bytes {
        let message = format!(
            "`xds.limits.nodeBytes` is {}, more than the {} of a request that brings the node",
            limits.node_bytes, limits.request_bytes
        );
        wrong("limits.nodeBytes", message, "lower it, or raise `xds.limits.requestBytes`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_server_but_for_age_reports_and_name() {
        let (own, library) = (XdsConfig::default().server(), ServerConfig::default());
        assert_eq!(*own.limits, *library.limits);
        let shared = |config: &ServerConfig| {
            let counts = (config.max_streams, config.max_streams_per_connection);
            let pings = (config.keepalive_interval, config.keepalive_timeout);
            (counts, pings, config.stall, config.drain, config.max_connection_age_grace)
        };
        assert_eq!(shared(&own), shared(&library));
        assert_eq!(own.max_connection_age, Some(Duration::from_secs(1800)));
        assert_eq!(own.load_reports, Some(Duration::from_secs(10)));
        assert!(own.identifier.starts_with("mainstem/0."), "{}", own.identifier);
    }

    #[test]
    fn no_age_and_no_reports_are_what_they_say() {
        let reports = LoadReportsConfig { enabled: false, ..LoadReportsConfig::default() };
        let config = XdsConfig {
            max_connection_age: TimeSpan::from_secs(0),
            load_reports: reports,
            ..XdsConfig::default()
        };
        let server = config.server();
        assert_eq!((server.max_connection_age, server.load_reports), (None, None));
        assert!(!config.serves_alike(&XdsConfig::default()));
    }
}
