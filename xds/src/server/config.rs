//! Settings of a server.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::Limits;

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Names this server to its clients, in the first response of each stream.
    pub identifier: Arc<str>,
    /// Bounds per stream.
    pub limits: Arc<Limits>,
    /// Connections at a time; further ones are closed at once.
    pub max_connections: usize,
    /// Streams served at a time; further ones are told to come back.
    pub max_streams: usize,
    /// Streams at a time on one connection.
    pub max_streams_per_connection: u32,
    /// Streams that are prepared at a time; more wait their turn in the order in which
    /// they came, so that those that are there already wait for few of them.
    pub max_joining: usize,
    /// How long a connection may take to begin: TLS, and then HTTP/2.
    pub handshake: Duration,
    /// How long a connection may be without a stream.
    pub idle: Duration,
    /// How long a stream may be open without its first request.
    pub first_request: Duration,
    /// How long it may take to find out who a client is.
    pub authentication: Duration,
    /// How long a client may not read what is sent to it before its stream is ended.
    pub stall: Duration,
    /// Time between HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// How long a ping may go without an answer before the connection is closed.
    pub keepalive_timeout: Duration,
    /// After this time, give or take a tenth, a client is told to open no further streams
    /// on its connection (GOAWAY), so that it may find a less loaded server.
    pub max_connection_age: Option<Duration>,
    /// How long the streams of such a connection may go on.
    pub max_connection_age_grace: Duration,
    /// How often clients report their loads; without it they are told that
    /// nobody wants to know.
    pub load_reports: Option<Duration>,
    /// Time over which streams are ended at shutdown.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            identifier: "mainstem".into(),
            limits: Arc::default(),
            max_connections: 100_000,
            max_streams: 100_000,
            max_streams_per_connection: 100,
            max_joining: 32,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            first_request: Duration::from_secs(15),
            authentication: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(10),
            load_reports: None,
            drain: Duration::from_secs(1),
        }
    }
}
