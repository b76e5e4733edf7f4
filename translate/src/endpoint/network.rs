//! Endpoints in other networks: their gateways stand in for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::{
    Address, ClusterId, Endpoint, Health, NetworkGateway, NetworkGatewayKey, NetworkId, Snapshot,
};

use super::view::EndpointView;

/// The ways into other networks, in order. Gateways known by a host name are
/// not among them: an address is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways(BTreeMap<NetworkId, Vec<Arc<NetworkGateway>>>);

impl Gateways {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut by_network: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let known = snapshot.gateways().filter(|gateway| gateway.key.address.ip().is_some());
        for gateway in known {
            by_network.entry(gateway.key.network.clone()).or_default().push(gateway.clone());
        }
        Self(by_network)
    }

    /// Whether every network is reached directly, as far as known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The gateways to workloads of `cluster` in `network`: those that stand in
    /// that cluster, else all of the network.
    pub(crate) fn to(&self, network: &NetworkId, cluster: &ClusterId) -> Vec<&NetworkGateway> {
        let all = self.0.get(network).map_or(&[][..], |all| all);
        let own: Vec<_> = all.iter().filter(|g| g.key.cluster == *cluster).map(|g| &**g).collect();
        if own.is_empty() { all.iter().map(|gateway| &**gateway).collect() } else { own }
    }
}

/// One thing that the client connects to.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    /// The endpoint, or of those that the gateway stands for the first.
    pub endpoint: &'a Endpoint,
    /// The gateway that stands in.
    pub gateway: Option<&'a NetworkGatewayKey>,
    /// Share of traffic, comparable among the members.
    pub weight: u64,
}

impl Member<'_> {
    pub(crate) fn address(&self) -> (&Address, u16) {
        match self.gateway {
            Some(gateway) => (&gateway.address, gateway.port),
            None => (&self.endpoint.address, self.endpoint.target_port),
        }
    }
}

/// What the client connects to: endpoints that it reaches directly, and the
/// gateways of other networks, each with an equal part of the weight behind it.
///
/// All weights are multiplied by the same number, so that every part is whole.
/// An endpoint of a network without a gateway is left as it is.
pub(crate) fn members<'a>(
    endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
    view: &EndpointView,
    gateways: &'a Gateways,
) -> Vec<Member<'a>> {
    let ways = |endpoint: &Endpoint| match &view.network {
        Some(network) if !gateways.is_empty() && *network != endpoint.place.network => {
            gateways.to(&endpoint.place.network, &endpoint.place.cluster)
        }
        _ => Vec::new(),
    };
    let routed: Vec<_> = endpoints.map(|endpoint| (&**endpoint, ways(endpoint))).collect();
    let scale = routed
        .iter()
        .map(|(_, ways)| ways.len() as u64)
        .filter(|count| *count > 0)
        .fold(1, least_common_multiple);
    let mut members = Vec::with_capacity(routed.len());
    for (endpoint, ways) in &routed {
        let weight = u64::from(endpoint.weight.max(1)).saturating_mul(scale);
        if ways.is_empty() {
            members.push(Member { endpoint, gateway: None, weight });
        } else if matches!(endpoint.health, Health::Healthy | Health::Degraded) {
            let part = weight / ways.len() as u64;
            members.extend(ways.iter().map(|way| Member {
                endpoint,
                gateway: Some(&way.key),
                weight: part,
            }));
        }
    }
    members
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    // Too many different numbers of gateways for exact parts: parts are rounded.
    (a / x).checked_mul(b).filter(|multiple| *multiple <= u64::from(u32::MAX)).unwrap_or(a)
}
