//! Application protocols, and the rules by which a port gets one.
//!
//! Sources: Istio's protocol selection (port name prefix, `appProtocol`) and
//! Kubernetes' standard `kubernetes.io/*` application protocols (KEP-3726).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is spoken on a port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    Http,
    /// HTTP/1.1 to a forward proxy.
    HttpProxy,
    /// HTTP/2, in clear text.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// TLS that carries HTTP; passed through by SNI.
    Https,
    /// TLS; passed through by SNI.
    Tls,
    /// Opaque TCP.
    Tcp,
    /// MongoDB wire protocol, treated as TCP with its own statistics.
    Mongo,
    /// Redis, treated as TCP.
    Redis,
    /// MySQL, treated as TCP; the server speaks first.
    Mysql,
    /// UDP; not proxied.
    Udp,
    /// Nothing declared: sniffed by the proxy.
    Unspecified,
}

/// What a registry knows about a port, from which its protocol follows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProtocolHint<'a> {
    /// The port's name, `http-web` for instance.
    pub name: &'a str,
    /// The declared application protocol; replaces the name's prefix.
    pub app_protocol: Option<&'a str>,
    /// Whether the transport is UDP.
    pub udp: bool,
    /// The port's number: some are known to be server-first.
    pub number: u16,
}

impl Protocol {
    /// The protocol of a port, in this order:
    /// 1. UDP transport is UDP.
    /// 2. `appProtocol`, where given, replaces the port's name; its
    ///    `kubernetes.io/` values are HTTP/2 (`h2c`), HTTP (`ws`) and HTTPS (`wss`).
    /// 3. The text before the first `-` of the name; `grpc-web` as a whole first.
    /// 4. Otherwise 25, 53, 3306 and 27017 are TCP, since there the server may
    ///    speak first and sniffing would wait; every other port is sniffed.
    pub fn of(hint: ProtocolHint<'_>) -> Self {
        if hint.udp {
            return Self::Udp;
        }
        let declared = match hint.app_protocol {
            Some("kubernetes.io/h2c") => Self::Http2,
            Some("kubernetes.io/ws") => Self::Http,
            Some("kubernetes.io/wss") => Self::Https,
            Some(other) => Self::from_name(other),
            None => Self::from_name(hint.name),
        };
        match (declared, hint.number) {
            (Self::Unspecified, 25 | 53 | 3306 | 27017) => Self::Tcp,
            (declared, _) => declared,
        }
    }

    /// The protocol that a name or its prefix up to the first `-` stands for, in any case.
    pub fn from_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name.starts_with("grpc-web") {
            return Self::GrpcWeb;
        }
        match name.split('-').next().unwrap_or_default() {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "grpc" => Self::Grpc,
            "http" => Self::Http,
            "http_proxy" => Self::HttpProxy,
            "http2" => Self::Http2,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            _ => Self::Unspecified,
        }
    }

    /// Its name, as in a port's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpProxy => "http-proxy",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Https => "https",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Mongo => "mongo",
            Self::Redis => "redis",
            Self::Mysql => "mysql",
            Self::Udp => "udp",
            Self::Unspecified => "unspecified",
        }
    }

    /// Whether requests can be routed one by one.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::HttpProxy | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether the upstream speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether connections carry TLS with SNI from the application itself.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether connections are passed as opaque bytes.
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Mongo | Self::Redis | Self::Mysql) || self.is_tls()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn named(name: &str) -> ProtocolHint<'_> {
        ProtocolHint { name, number: 8080, ..ProtocolHint::default() }
    }

    #[rstest]
    #[case("http", Protocol::Http)]
    #[case("HTTP-web", Protocol::Http)]
    #[case("http2-api", Protocol::Http2)]
    #[case("grpc-web-ui", Protocol::GrpcWeb)]
    #[case("grpc-api", Protocol::Grpc)]
    #[case("tcp", Protocol::Tcp)]
    #[case("https-443", Protocol::Https)]
    #[case("tls-db", Protocol::Tls)]
    #[case("mongo", Protocol::Mongo)]
    #[case("web", Protocol::Unspecified)]
    #[case("", Protocol::Unspecified)]
    fn a_port_name_gives_the_protocol(#[case] name: &str, #[case] expected: Protocol) {
        assert_eq!(Protocol::of(named(name)), expected);
    }

    #[rstest]
    #[case("kubernetes.io/h2c", Protocol::Http2)]
    #[case("kubernetes.io/ws", Protocol::Http)]
    #[case("kubernetes.io/wss", Protocol::Https)]
    #[case("TCP", Protocol::Tcp)]
    #[case("example.com/own", Protocol::Unspecified)]
    fn app_protocol_replaces_the_name(#[case] app_protocol: &str, #[case] expected: Protocol) {
        let hint = ProtocolHint { app_protocol: Some(app_protocol), ..named("http") };
        assert_eq!(Protocol::of(hint), expected);
    }

    #[test]
    fn udp_wins_and_server_first_ports_are_tcp() {
        assert_eq!(Protocol::of(ProtocolHint { udp: true, ..named("http") }), Protocol::Udp);
        for number in [25, 53, 3306, 27017] {
            assert_eq!(Protocol::of(ProtocolHint { number, ..named("db") }), Protocol::Tcp);
            assert_eq!(Protocol::of(ProtocolHint { number, ..named("http") }), Protocol::Http);
        }
    }
}
