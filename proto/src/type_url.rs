//! The type URLs of xDS resources.

use prost::Name;

/// Listeners (LDS).
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// Route configurations (RDS).
pub const ROUTE_CONFIGURATION: &str =
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// Scoped route configurations (SRDS).
pub const SCOPED_ROUTE_CONFIGURATION: &str =
    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// Virtual hosts on demand (VHDS).
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// Clusters (CDS).
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Load assignments (EDS).
pub const CLUSTER_LOAD_ASSIGNMENT: &str =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Secrets (SDS).
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// Extension configurations (ECDS).
pub const EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// Runtime layers (RTDS).
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

/// The type URL under which a message travels in an `Any`.
pub fn of<T: Name>() -> String {
    T::type_url()
}

/// The name by which people know a resource type (`CDS`), else the message's full name.
///
/// ```
/// # use mainstem_proto::type_url;
/// assert_eq!(type_url::short(type_url::CLUSTER), "CDS");
/// assert_eq!(type_url::short("type.googleapis.com/a.b.C"), "a.b.C");
/// ```
pub fn short(type_url: &str) -> &str {
    match type_url {
        LISTENER => "LDS",
        ROUTE_CONFIGURATION => "RDS",
        SCOPED_ROUTE_CONFIGURATION => "SRDS",
        VIRTUAL_HOST => "VHDS",
        CLUSTER => "CDS",
        CLUSTER_LOAD_ASSIGNMENT => "EDS",
        SECRET => "SDS",
        EXTENSION_CONFIG => "ECDS",
        RUNTIME => "RTDS",
        other => other.rsplit('/').next().unwrap_or(other),
    }
}
