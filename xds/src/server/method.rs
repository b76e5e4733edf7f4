//! The methods of the discovery services.

use crate::clients::Protocol;
use crate::names::TypeUrl;

/// One streaming method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) protocol: Protocol,
    /// The only type of its streams; any type on aggregated ones.
    pub(super) implied: Option<TypeUrl>,
}

/// The method of a gRPC path such as
/// `/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters`.
pub(super) fn method(path: &str) -> Option<Method> {
    let (service, method) = path.strip_prefix("/envoy.service.")?.split_once('/')?;
    let (protocol, noun) = match (method.strip_prefix("Stream"), method.strip_prefix("Delta")) {
        (Some(noun), _) => (Protocol::Sotw, noun),
        (_, Some(noun)) => (Protocol::Delta, noun),
        _ => return None,
    };
    let implied = match (service, noun) {
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
        ("route.v3.VirtualHostDiscoveryService", "VirtualHosts") if protocol == Protocol::Delta => {
            Some(TypeUrl::VIRTUAL_HOST)
        }
        ("secret.v3.SecretDiscoveryService", "Secrets") => Some(TypeUrl::SECRET),
        ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs") => {
            Some(TypeUrl::EXTENSION_CONFIG)
        }
        ("runtime.v3.RuntimeDiscoveryService", "Runtime") => Some(TypeUrl::RUNTIME),
        _ => return None,
    };
    Some(Method { protocol, implied })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(Protocol, Option<TypeUrl>)> {
        method(path).map(|method| (method.protocol, method.implied))
    }

    #[test]
    fn paths_are_those_of_the_services() {
        let aggregated = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
        assert_eq!(
            of(&format!("{aggregated}/StreamAggregatedResources")),
            Some((Protocol::Sotw, None))
        );
        assert_eq!(
            of(&format!("{aggregated}/DeltaAggregatedResources")),
            Some((Protocol::Delta, None))
        );
        assert_eq!(
            of("/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime"),
            Some((Protocol::Sotw, Some(TypeUrl::RUNTIME)))
        );
        assert_eq!(
            of("/envoy.service.route.v3.VirtualHostDiscoveryService/StreamVirtualHosts"),
            None
        );
        assert_eq!(of("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamSecrets"), None);
        assert_eq!(of("/"), None);
    }
}
