//! Small messages that many resources contain.

use std::net::IpAddr;

use mainstem_model::TimeSpan;
use mainstem_proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address,
    config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
};
use mainstem_proto::google::protobuf::{Duration, ListValue, Struct, Value, value::Kind};

/// A time span; what is too long for protobuf is cut.
pub(crate) fn duration(span: TimeSpan) -> Duration {
    let span = span.duration();
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Duration { seconds, nanos: span.subsec_nanos().cast_signed() }
}

/// No time: in routes, no limit.
pub(crate) const ZERO: Duration = Duration { seconds: 0, nanos: 0 };

/// The stream that brought the resource brings this too. Envoy waits for it as
/// long as it takes: with a timeout it would go on with nothing.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(ZERO),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

pub(crate) fn socket(ip: IpAddr, port: u16) -> SocketAddress {
    SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    }
}

pub(crate) fn address(ip: IpAddr, port: u16) -> Address {
    Address { address: Some(address::Address::SocketAddress(socket(ip, port))) }
}

pub(crate) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
    Struct { fields: fields.collect() }
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

pub(crate) fn nested(object: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(object)) }
}

pub(crate) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    let values = values.into_iter().collect();
    Value { kind: Some(Kind::ListValue(ListValue { values })) }
}
