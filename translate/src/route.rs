//! Route configurations: which cluster a request goes to.
//!
//! ```text
//!  80            all services with HTTP on port 80, one virtual host each, then the fallback
//!  host:80       a sniffed port that has an address of its own: one virtual host for all
//!  inbound|80||  the workload's own port, inside its listener
//! ```

use bytes::Bytes;
use mainstem_model::Hostname;
use mainstem_proto::envoy::config::route::v3::{
    Decorator, DirectResponseAction, RetryPolicy, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost,
    retry_policy::{RetryHostPredicate, retry_host_predicate},
    route::Action,
    route_action::{ClusterSpecifier, MaxStreamDuration},
    route_match::PathSpecifier,
};
use mainstem_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use mainstem_proto::{Encoded, any};
use prost::Message;

use crate::message::ZERO;
use crate::names;
use crate::wire::Writer;

/// Where requests go that no virtual host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fallback {
    /// To where the client wanted (`ALLOW_ANY`).
    Passthrough,
    /// Nowhere: they are answered with 502 (`REGISTRY_ONLY`).
    Block,
}

/// The virtual host of a service port, as a field of an encoded
/// `RouteConfiguration`.
pub(crate) fn virtual_host(host: &Hostname, port: u16, domains: Vec<String>) -> Vec<u8> {
    let name = names::host_port(host, port);
    let action =
        RouteAction { retry_policy: Some(retries()), ..to_cluster(names::outbound(port, host)) };
    let route = route("default", Action::Route(action));
    field(&VirtualHost { domains, ..with_route(name, route) })
}

/// The virtual host for all that no other takes, as [`virtual_host`].
pub(crate) fn fallback(fallback: Fallback) -> Vec<u8> {
    let (name, action) = match fallback {
        Fallback::Passthrough => {
            ("allow_any", Action::Route(to_cluster(names::PASSTHROUGH.to_owned())))
        }
        Fallback::Block => {
            let answer = DirectResponseAction { status: 502, ..DirectResponseAction::default() };
            ("block_all", Action::DirectResponse(answer))
        }
    };
    field(&with_route(name.to_owned(), route(name, action)))
}

/// An encoded route configuration. Its parts are those before virtual hosts,
/// each of the `virtual_hosts`, and those after.
///
/// The port of a Host header does not count: `web:80` is `web`. The listener
/// has seen to the port.
pub(crate) fn configuration(name: &str, virtual_hosts: impl Iterator<Item = Bytes>) -> Encoded {
    let mut before = Writer::default();
    before.bytes(1, name.as_bytes());
    let mut after = Writer::default();
    // `validate_clusters: false`: a route may come before its cluster.
    after.message(7, |_| ());
    after.number(14, 1);
    let own = |part: Writer| std::iter::once(Bytes::from(part.into_bytes()));
    Encoded::of_parts(own(before).chain(virtual_hosts).chain(own(after)).collect::<Vec<_>>())
}

/// The virtual hosts of a [`configuration`], in order.
pub(crate) fn virtual_hosts(configuration: &Encoded) -> &[Bytes] {
    match configuration.parts() {
        [_, virtual_hosts @ .., _] => virtual_hosts,
        _ => &[],
    }
}

/// The route configuration of a sniffed port, encoded: whatever the Host header
/// says, the address has decided.
pub(crate) fn sniffed(host: &Hostname, port: u16) -> Bytes {
    let only = virtual_host(host, port, vec!["*".to_owned()]);
    configuration(&names::host_port(host, port), std::iter::once(only.into())).to_bytes()
}

/// The route configuration inside a listener for the workload's own port, which
/// the service calls `host:service_port`.
pub(crate) fn inbound(port: u16, host: &Hostname, service_port: u16) -> RouteConfiguration {
    let cluster = names::inbound(port);
    let operation = format!("{}/*", names::host_port(host, service_port));
    let route = Route {
        decorator: Some(Decorator { operation, propagate: None }),
        ..route("default", Action::Route(to_cluster(cluster.clone())))
    };
    RouteConfiguration {
        name: cluster,
        virtual_hosts: vec![with_route(format!("inbound|http|{service_port}"), route)],
        validate_clusters: Some(false),
        ..RouteConfiguration::default()
    }
}

/// A virtual host as a field of a `RouteConfiguration`.
fn field(virtual_host: &VirtualHost) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(2, &virtual_host.encode_to_vec());
    out.into_bytes()
}

/// A virtual host for every domain.
fn with_route(name: String, route: Route) -> VirtualHost {
    VirtualHost {
        name,
        domains: vec!["*".to_owned()],
        routes: vec![route],
        include_request_attempt_count: true,
        ..VirtualHost::default()
    }
}

/// A route for every request.
fn route(name: &str, action: Action) -> Route {
    let every = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    Route { name: name.to_owned(), r#match: Some(every), action: Some(action), ..Route::default() }
}

/// Without a time limit: how long an answer may take is the application's
/// business, also for gRPC, whose own deadline is not enforced by proxies.
fn to_cluster(cluster: String) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        timeout: Some(ZERO),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: Some(ZERO),
            grpc_timeout_header_max: Some(ZERO),
            grpc_timeout_header_offset: None,
        }),
        ..RouteAction::default()
    }
}

/// Two retries of what surely did not reach the application, on other endpoints.
fn retries() -> RetryPolicy {
    let elsewhere = RetryHostPredicate {
        // Any name will do: the type of the configuration says what it is.
        name: "previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(
            &PreviousHostsPredicate {},
        ))),
    };
    RetryPolicy {
        retry_on: "connect-failure,refused-stream,unavailable,cancelled".to_owned(),
        num_retries: Some(2),
        retry_host_predicate: vec![elsewhere],
        host_selection_retry_max_attempts: 5,
        ..RetryPolicy::default()
    }
}
