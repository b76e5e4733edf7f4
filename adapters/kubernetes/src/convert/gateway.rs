//! Network gateways from Services that carry a network's label.

use mainstem_model::{Labels, NetworkGateway, NetworkGatewayKey, Origins};

use super::Settings;
use crate::objects::{Gateway, Node};

/// The ways into a network that a Service offers: its external addresses and its
/// load balancer's, and the external addresses of the nodes that it selects. A
/// Node is left out while it is not known.
pub(crate) fn gateways<'a>(
    settings: &Settings,
    gateway: &Gateway,
    nodes: impl Iterator<Item = &'a Node>,
    origins: &Origins,
) -> Vec<NetworkGateway> {
    let at = |address: &_, port| NetworkGateway {
        key: NetworkGatewayKey {
            network: gateway.network.clone(),
            cluster: settings.cluster.clone(),
            address: Clone::clone(address),
            port,
        },
        origins: origins.clone(),
    };
    let mut all: Vec<_> =
        gateway.addresses.iter().map(|address| at(address, gateway.port)).collect();
    if let Some((selector, port)) = &gateway.node_port {
        let selected = nodes.filter(|node| selects(selector, node));
        all.extend(selected.flat_map(|node| &node.external).map(|address| at(address, *port)));
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    all
}

fn selects(selector: &Labels, node: &Node) -> bool {
    node.labels.matches(selector)
}
