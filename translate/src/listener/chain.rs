//! Filter chains and what they match, and the listener filters that find it out.

use std::collections::BTreeSet;

use ipnet::IpNet;
use mainstem_proto::any;
use mainstem_proto::envoy::config::core::v3::CidrRange;
use mainstem_proto::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, ListenerFilter, ListenerFilterChainMatchPredicate,
    listener_filter,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use mainstem_proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use mainstem_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use mainstem_proto::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use mainstem_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use mainstem_proto::envoy::r#type::v3::Int32Range;

/// What the HTTP inspector says of clear-text HTTP.
const HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];
const RAW: &str = "raw_buffer";

/// The mark that the usual interception rules leave alone.
const OWN_MARK: u32 = 1337;

pub(super) fn chain(
    name: impl Into<String>,
    matches: Option<FilterChainMatch>,
    filter: Filter,
) -> FilterChain {
    FilterChain {
        name: name.into(),
        filter_chain_match: matches,
        filters: vec![filter],
        ..FilterChain::default()
    }
}

/// Connections that turn out to be clear-text HTTP.
pub(super) fn sniffed_http() -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: RAW.to_owned(),
        application_protocols: HTTP.map(str::to_owned).into(),
        ..FilterChainMatch::default()
    }
}

pub(super) fn to_port(port: u16) -> FilterChainMatch {
    FilterChainMatch { destination_port: Some(port.into()), ..FilterChainMatch::default() }
}

pub(super) fn range(prefix: &IpNet) -> CidrRange {
    CidrRange {
        address_prefix: prefix.network().to_string(),
        prefix_len: Some(prefix.prefix_len().into()),
    }
}

/// What is needed to decide between `chains`. Where ports are told apart too,
/// only the ports that are sniffed wait for the first bytes.
pub(super) fn inspectors(chains: &[FilterChain]) -> Vec<ListenerFilter> {
    let matches = || chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref());
    let mut filters = Vec::new();
    if matches().any(|m| !m.server_names.is_empty()) {
        let config = any(&TlsInspector::default());
        filters.push(listener_filter("envoy.filters.listener.tls_inspector", config));
    }
    let sniffed: Vec<_> = matches().filter(|m| !m.application_protocols.is_empty()).collect();
    if !sniffed.is_empty() {
        let ports: Option<BTreeSet<u32>> = sniffed.iter().map(|m| m.destination_port).collect();
        let config = any(&HttpInspector::default());
        filters.push(ListenerFilter {
            filter_disabled: ports.map(|ports| not(to_one_of(ports))),
            ..listener_filter("envoy.filters.listener.http_inspector", config)
        });
    }
    filters
}

/// Finds out where an intercepted connection was going.
pub(super) fn original_destination() -> ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", any(&OriginalDst {}))
}

/// Makes the workload see the client's address.
pub(super) fn original_source() -> ListenerFilter {
    let config = OriginalSrc { mark: OWN_MARK, ..OriginalSrc::default() };
    listener_filter("envoy.filters.listener.original_src", any(&config))
}

fn listener_filter(name: &str, config: mainstem_proto::google::protobuf::Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}

fn not(rule: ListenerFilterChainMatchPredicate) -> ListenerFilterChainMatchPredicate {
    ListenerFilterChainMatchPredicate { rule: Some(Rule::NotMatch(Box::new(rule))) }
}

fn to_one_of(ports: BTreeSet<u32>) -> ListenerFilterChainMatchPredicate {
    let rule = |port: u32| {
        let start = port.cast_signed();
        let range = Int32Range { start, end: start + 1 };
        ListenerFilterChainMatchPredicate { rule: Some(Rule::DestinationPortRange(range)) }
    };
    let mut rules: Vec<_> = ports.into_iter().map(rule).collect();
    // A set of one rule is refused.
    match rules.pop() {
        Some(only) if rules.is_empty() => only,
        last => {
            rules.extend(last);
            ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }
        }
    }
}
