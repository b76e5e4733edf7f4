//! Which scopes a proxy is in.

use std::sync::Arc;

use mainstem_model::{
    ChangeSet, Interception, NamespaceName, NetworkId, Proxy, ProxyType, Service, Snapshot,
};

use super::clusters::{InboundClusters, OutboundClusters};
use super::endpoints::{Endpoints, Reach};
use super::inbound::InboundKey;
use super::recipe::Recipe;
use crate::Kind;
use crate::cluster::OutboundView;
use crate::endpoint::{EndpointView, Needs, Place};

/// A scope by what it depends on: proxies with equal keys share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ScopeKey {
    OutboundClusters { namespace: NamespaceName, view: OutboundView },
    InboundClusters(Arc<InboundKey>),
    Endpoints { namespace: NamespaceName, original_destination: bool, reach: Reach },
}

impl ScopeKey {
    /// The type of its resources.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::OutboundClusters { .. } | Self::InboundClusters(_) => Kind::Cluster,
            Self::Endpoints { .. } => Kind::LoadAssignment,
        }
    }

    /// How its resources are made.
    pub(super) fn recipe(&self) -> Box<dyn Recipe> {
        match self.clone() {
            Self::OutboundClusters { namespace, view } => {
                Box::new(OutboundClusters::new(namespace, view))
            }
            Self::InboundClusters(key) => Box::new(InboundClusters(key)),
            Self::Endpoints { namespace, original_destination, reach } => {
                Box::new(Endpoints::new(namespace, original_destination, reach))
            }
        }
    }
}

/// The scopes of a proxy: at most two of a type, which have no name in common.
pub(super) type Placement = Arc<[ScopeKey]>;

/// What of a proxy's place matters at all in a snapshot. Where nobody asks for
/// the node, proxies on different nodes share their scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Relevance {
    /// Some network has a gateway.
    pub network: bool,
    /// Some service depends on the client's locality.
    pub locality: bool,
    /// Some service depends on the client's node.
    pub node: bool,
}

/// How many services depend on which part of a client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct NeedCounts {
    locality: usize,
    node: usize,
}

impl NeedCounts {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut counts = Self::default();
        for service in snapshot.services() {
            counts.add(service);
        }
        counts
    }

    /// The counts after `changes`.
    pub(super) fn after(
        mut self,
        before: &Snapshot,
        after: &Snapshot,
        changes: &ChangeSet,
    ) -> Self {
        for key in &changes.services {
            if let Some(gone) = before.service(key) {
                let needs = Needs::of(gone);
                self.locality -= usize::from(needs.locality);
                self.node -= usize::from(needs.node);
            }
            if let Some(new) = after.service(key) {
                self.add(new);
            }
        }
        self
    }

    pub(super) fn relevance(self, network: bool) -> Relevance {
        Relevance { network, locality: self.locality > 0, node: self.node > 0 }
    }

    fn add(&mut self, service: &Service) {
        let needs = Needs::of(service);
        self.locality += usize::from(needs.locality);
        self.node += usize::from(needs.node);
    }
}

/// The scopes of `proxy` in `snapshot`.
pub(super) fn placement(proxy: &Proxy, snapshot: &Snapshot, relevance: Relevance) -> Placement {
    let namespace = &proxy.namespace;
    let sidecar = proxy.kind == ProxyType::Sidecar;
    let intercepted = sidecar && proxy.interception() != Interception::None;
    let network = relevance.network.then(|| proxy.network.clone());
    let view = OutboundView {
        original_destination: intercepted,
        endpoints: EndpointView { network: network.clone(), ..EndpointView::default() },
    };
    let mut keys = vec![
        ScopeKey::OutboundClusters { namespace: namespace.clone(), view },
        ScopeKey::Endpoints {
            namespace: namespace.clone(),
            original_destination: intercepted,
            reach: Reach::Far(network),
        },
    ];
    if relevance.locality || relevance.node {
        keys.push(ScopeKey::Endpoints {
            namespace: namespace.clone(),
            original_destination: intercepted,
            reach: Reach::Near(relevant(Place::of(proxy, snapshot), relevance)),
        });
    }
    if sidecar {
        let inbound = Arc::new(InboundKey::of(proxy, &snapshot.targets_of(proxy)));
        keys.push(ScopeKey::InboundClusters(inbound));
    }
    keys.into()
}

/// A place without what does not matter.
fn relevant(place: Place, relevance: Relevance) -> Place {
    let Place { network, locality, node } = place;
    let by_network = relevance.network || relevance.locality;
    Place {
        network: if by_network { network } else { NetworkId::default() },
        locality: if relevance.locality { locality } else { Default::default() },
        node: node.filter(|_| relevance.node),
    }
}
