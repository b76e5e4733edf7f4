//! The methods of the discovery services, by gRPC and by REST.

use crate::clients::Protocol;
use crate::names::TypeUrl;

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// A stream of one type, or of any.
    Stream(Protocol, Option<TypeUrl>),
    /// One answer of one type.
    Fetch(TypeUrl),
    /// The same over plain HTTP.
    Rest(TypeUrl),
}

/// The method of a path such as
/// `/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters` or
/// `/v3/discovery:clusters`.
pub(super) fn method(path: &str) -> Option<Method> {
    if let Some(noun) = path.strip_prefix("/v3/discovery:") {
        return rest(noun).map(Method::Rest);
    }
    let (service, method) = path.strip_prefix("/envoy.service.")?.split_once('/')?;
    let verb = ["Stream", "Delta", "Fetch"].into_iter().find(|verb| method.starts_with(verb))?;
    let implied = implied(service, &method[verb.len()..], verb == "Delta")?;
    match verb {
        "Stream" => Some(Method::Stream(Protocol::Sotw, implied)),
        "Delta" => Some(Method::Stream(Protocol::Delta, implied)),
        _ => implied.map(Method::Fetch),
    }
}

fn rest(noun: &str) -> Option<TypeUrl> {
    Some(match noun {
        "clusters" => TypeUrl::CLUSTER,
        "endpoints" => TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
        "listeners" => TypeUrl::LISTENER,
        "routes" => TypeUrl::ROUTE_CONFIGURATION,
        "scoped-routes" => TypeUrl::SCOPED_ROUTE_CONFIGURATION,
        "secrets" => TypeUrl::SECRET,
        "extension_configs" => TypeUrl::EXTENSION_CONFIG,
        "runtime" => TypeUrl::RUNTIME,
        _ => return None,
    })
}

/// The only type of a service; none for the aggregated one.
fn implied(service: &str, noun: &str, delta: bool) -> Option<Option<TypeUrl>> {
    Some(match (service, noun) {
        ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources") => None,
        ("cluster.v3.ClusterDiscoveryService", "Clusters") => Some(TypeUrl::CLUSTER),
        ("endpoint.v3.EndpointDiscoveryService", "Endpoints") => {
            Some(TypeUrl::CLUSTER_LOAD_ASSIGNMENT)
        }
        ("listener.v3.ListenerDiscoveryService", "Listeners") => Some(TypeUrl::LISTENER),
        ("route.v3.RouteDiscoveryService", "Routes") => Some(TypeUrl::ROUTE_CONFIGURATION),
        ("route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes") => {
            Some(TypeUrl::SCOPED_ROUTE_CONFIGURATION)
        }
        ("route.v3.VirtualHostDiscoveryService", "VirtualHosts") if delta => {
            Some(TypeUrl::VIRTUAL_HOST)
        }
        ("secret.v3.SecretDiscoveryService", "Secrets") => Some(TypeUrl::SECRET),
        ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs") => {
            Some(TypeUrl::EXTENSION_CONFIG)
        }
        ("runtime.v3.RuntimeDiscoveryService", "Runtime") => Some(TypeUrl::RUNTIME),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_services() {
        let aggregated = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
        let of = |path: &str| method(path);
        assert_eq!(
            of(&format!("{aggregated}/StreamAggregatedResources")),
            Some(Method::Stream(Protocol::Sotw, None))
        );
        assert_eq!(
            of(&format!("{aggregated}/DeltaAggregatedResources")),
            Some(Method::Stream(Protocol::Delta, None))
        );
        assert_eq!(of(&format!("{aggregated}/FetchAggregatedResources")), None);
        assert_eq!(
            of("/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime"),
            Some(Method::Stream(Protocol::Sotw, Some(TypeUrl::RUNTIME)))
        );
        assert_eq!(
            of("/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters"),
            Some(Method::Fetch(TypeUrl::CLUSTER))
        );
        assert_eq!(of("/v3/discovery:routes"), Some(Method::Rest(TypeUrl::ROUTE_CONFIGURATION)));
        assert_eq!(
            of("/envoy.service.route.v3.VirtualHostDiscoveryService/StreamVirtualHosts"),
            None
        );
        assert_eq!(of("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamSecrets"), None);
        assert_eq!(of("/v3/discovery:others"), None);
        assert_eq!(of("/"), None);
    }
}
