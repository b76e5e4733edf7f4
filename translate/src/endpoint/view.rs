//! What of a client its endpoints depend on.

use mainstem_model::{
    ClusterId, Endpoint, Locality, NetworkId, NodeName, Proxy, Service, Snapshot,
    TrafficDistribution,
};

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The network that it reaches directly.
    pub network: NetworkId,
    /// Where it runs.
    pub locality: Locality,
    /// The host that it runs on.
    pub node: Option<NodeName>,
}

impl Place {
    /// Where a proxy is: by its own word, else where its workload runs.
    pub(crate) fn of(proxy: &Proxy, snapshot: &Snapshot) -> Self {
        let workload = snapshot.workload_of(proxy);
        let locality = match workload {
            Some(workload) if proxy.locality.is_unknown() => workload.locality.clone(),
            _ => proxy.locality.clone(),
        };
        let node = proxy.metadata.node_name.clone();
        let node = node.or_else(|| workload.and_then(|workload| workload.node.clone()));
        Self { cluster: proxy.cluster.clone(), network: proxy.network.clone(), locality, node }
    }
}

/// What a service's endpoints depend on, beside the client's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// The client's locality.
    pub locality: bool,
    /// The client's node.
    pub node: bool,
    /// The client's cluster.
    pub cluster: bool,
}

impl Needs {
    pub(crate) fn of(service: &Service) -> Self {
        let distribution = distribution(service);
        Self {
            locality: distribution != TrafficDistribution::Unset,
            node: service.node_local || distribution == TrafficDistribution::PreferSameNode,
            cluster: service.cluster_local,
        }
    }

    pub(crate) fn any(self) -> bool {
        self.locality || self.node || self.cluster
    }
}

/// The part of a client's place that one service's endpoints depend on: clients
/// with equal views get equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct EndpointView {
    /// None where every network is reached alike.
    pub network: Option<NetworkId>,
    /// None where it does not matter.
    pub locality: Option<Locality>,
    /// None where it does not matter, or is unknown.
    pub node: Option<NodeName>,
    /// None where it does not matter.
    pub cluster: Option<ClusterId>,
    /// For whom it is.
    pub audience: Audience,
}

/// Who reads a load assignment, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Audience {
    /// Envoy as released.
    #[default]
    Envoy,
    /// Istio's proxy, whose telemetry reads an endpoint's workload; nobody else
    /// does, and it makes an endpoint three times as long.
    IstioProxy,
    /// A proxyless gRPC client. See [`grpc`](crate::grpc).
    Grpc,
}

impl Audience {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        match proxy.metadata.istio_version {
            _ if proxy.is_grpc() => Self::Grpc,
            Some(_) => Self::IstioProxy,
            None => Self::Envoy,
        }
    }
}

/// How the service prefers near endpoints. While weights are the shares of a
/// policy, nearness does not touch them.
fn distribution(service: &Service) -> TrafficDistribution {
    if service.exact_shares { TrafficDistribution::Unset } else { service.distribution }
}

impl EndpointView {
    /// The view from `place` on `service`.
    pub(crate) fn of(service: &Service, place: &Place, audience: Audience) -> Self {
        let needs = Needs::of(service);
        Self {
            audience,
            network: Some(place.network.clone()),
            locality: needs.locality.then(|| place.locality.clone()),
            node: if needs.node { place.node.clone() } else { None },
            cluster: needs.cluster.then(|| place.cluster.clone()),
        }
    }

    /// How far an endpoint is by the service's `trafficDistribution`: 0 is
    /// nearest. What counts, from the widest on: network, region, zone and, for
    /// the same node, subzone and node; each only if all before it agree.
    pub(crate) fn distance(&self, service: &Service, endpoint: &Endpoint) -> u8 {
        let (Some(here), there) = (&self.locality, &endpoint.place.locality) else { return 0 };
        let agreements = [
            self.network.as_ref().is_none_or(|network| *network == endpoint.place.network),
            here.region() == there.region(),
            here.zone() == there.zone(),
            here.subzone() == there.subzone(),
            self.node.is_some() && self.node == endpoint.place.node,
        ];
        let steps = match distribution(service) {
            TrafficDistribution::Unset => &[],
            TrafficDistribution::PreferSameZone => &agreements[..3],
            TrafficDistribution::PreferSameNode => &agreements[..],
        };
        let agreed = steps.iter().take_while(|agrees| **agrees).count();
        u8::try_from(steps.len() - agreed).expect("there are five steps at most")
    }
}
