//! Which scopes a proxy is in.

use std::sync::Arc;

use mainstem_model::{
    ChangeSet, ClusterId, Interception, NamespaceName, NetworkId, Proxy, ProxyType, Service,
    Snapshot,
};

use super::catalog::{CatalogKey, Reception};
use super::clusters::{InboundClusters, OutboundClusters};
use super::configs::Configs;
use super::domain::SearchDomain;
use super::endpoints::{Endpoints, Reach};
use super::entries::Entries;
use super::grpc::{GrpcListeners, GrpcRoutes};
use super::inbound::{self, InboundKey};
use super::listeners::{ClosedPorts, InboundListeners, OutboundListeners};
use super::recipe::{Context, Recipe};
use super::routes::Routes;
use crate::cluster::OutboundView;
use crate::endpoint::{Audience, EndpointView, Needs, Place};
use crate::listener::ListenerView;
use crate::{Kind, Settings};

/// A scope by what it depends on: proxies with equal keys share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ScopeKey {
    OutboundClusters {
        namespace: NamespaceName,
        view: OutboundView,
    },
    InboundClusters(Arc<InboundKey>),
    Endpoints {
        namespace: NamespaceName,
        original_destination: bool,
        reach: Reach,
        audience: Audience,
    },
    OutboundListeners {
        catalog: Arc<CatalogKey>,
        view: ListenerView,
        closed: ClosedPorts,
    },
    InboundListeners(Arc<InboundKey>),
    Routes(Arc<CatalogKey>),
    GrpcListeners(Arc<CatalogKey>),
    GrpcRoutes(Arc<CatalogKey>),
    /// Those that the namespace sees, or all.
    Entries {
        namespace: Option<NamespaceName>,
        home: ClusterId,
    },
    /// As [`Entries`](Self::Entries).
    Configs {
        namespace: Option<NamespaceName>,
        home: ClusterId,
    },
}

impl ScopeKey {
    /// The type of its resources.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::OutboundClusters { .. } | Self::InboundClusters(_) => Kind::Cluster,
            Self::Endpoints { .. } => Kind::LoadAssignment,
            Self::OutboundListeners { .. } | Self::InboundListeners(_) | Self::GrpcListeners(_) => {
                Kind::Listener
            }
            Self::Routes(_) | Self::GrpcRoutes(_) => Kind::Route,
            Self::Entries { .. } => Kind::ServiceEntry,
            Self::Configs { .. } => Kind::Config,
        }
    }

    /// Whose services concern it.
    pub(super) fn concern(&self) -> Concern<'_> {
        match self {
            Self::Entries { namespace: None, .. } | Self::Configs { .. } => Concern::All,
            Self::OutboundListeners { catalog, .. }
            | Self::Routes(catalog)
            | Self::GrpcListeners(catalog)
            | Self::GrpcRoutes(catalog) => Concern::Defined(&catalog.namespace),
            _ => self.namespace().map_or(Concern::None, Concern::Seen),
        }
    }

    /// The namespace by whose eyes its clients see services, as far as it matters.
    fn namespace(&self) -> Option<&NamespaceName> {
        match self {
            Self::Entries { namespace, .. } => namespace.as_ref(),
            Self::OutboundClusters { namespace, .. } | Self::Endpoints { namespace, .. } => {
                Some(namespace)
            }
            Self::OutboundListeners { catalog, .. }
            | Self::Routes(catalog)
            | Self::GrpcListeners(catalog)
            | Self::GrpcRoutes(catalog) => Some(&catalog.namespace),
            Self::InboundClusters(_) | Self::InboundListeners(_) | Self::Configs { .. } => None,
        }
    }

    /// How its resources are made.
    pub(super) fn recipe(&self, context: &mut Context<'_>) -> Box<dyn Recipe> {
        match self.clone() {
            Self::OutboundClusters { namespace, view } => {
                Box::new(OutboundClusters::new(namespace, view))
            }
            Self::InboundClusters(key) => Box::new(InboundClusters(key)),
            Self::Endpoints { namespace, original_destination, reach, audience } => {
                Box::new(Endpoints::new(namespace, original_destination, reach, audience))
            }
            Self::OutboundListeners { catalog, view, closed } => {
                Box::new(OutboundListeners::new(context.catalog(&catalog), view, closed))
            }
            Self::InboundListeners(key) => Box::new(InboundListeners(key)),
            Self::Routes(catalog) => Box::new(Routes::new(context.catalog(&catalog))),
            Self::GrpcListeners(catalog) => Box::new(GrpcListeners::new(context.catalog(&catalog))),
            Self::GrpcRoutes(catalog) => Box::new(GrpcRoutes::new(context.catalog(&catalog))),
            Self::Entries { namespace, home } => Box::new(Entries::new(namespace, home)),
            Self::Configs { namespace, home } => Box::new(Configs::new(namespace, home)),
        }
    }
}

/// The services whose changes reach a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concern<'a> {
    None,
    /// Those that this namespace sees.
    Seen(&'a NamespaceName),
    /// The same, by their definitions alone: endpoints do not matter.
    Defined(&'a NamespaceName),
    All,
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
    /// Some service depends on the client's cluster.
    pub cluster: bool,
}

impl Relevance {
    /// Whether some service's endpoints depend on the client's place.
    fn near(self) -> bool {
        self.locality || self.node || self.cluster
    }
}

/// How many services depend on which part of a client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct NeedCounts {
    locality: usize,
    node: usize,
    cluster: usize,
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
                self.cluster -= usize::from(needs.cluster);
            }
            if let Some(new) = after.service(key) {
                self.add(new);
            }
        }
        self
    }

    pub(super) fn relevance(self, network: bool) -> Relevance {
        Relevance {
            network,
            locality: self.locality > 0,
            node: self.node > 0,
            cluster: self.cluster > 0,
        }
    }

    fn add(&mut self, service: &Service) {
        let needs = Needs::of(service);
        self.locality += usize::from(needs.locality);
        self.node += usize::from(needs.node);
        self.cluster += usize::from(needs.cluster);
    }
}

/// The scopes of `proxy` in `snapshot`, of whose services it sees what `seer` sees.
pub(super) fn placement(
    proxy: &Proxy,
    seer: &NamespaceName,
    snapshot: &Snapshot,
    relevance: Relevance,
    settings: &Settings,
) -> Placement {
    if proxy.is_importer() {
        // As in Istio, whoever is in the root namespace speaks for the whole mesh.
        let root = proxy.namespace == snapshot.mesh().root_namespace;
        let namespace = (!root).then(|| proxy.namespace.clone());
        let home = settings.home.clone();
        return [
            ScopeKey::Entries { namespace: namespace.clone(), home: home.clone() },
            ScopeKey::Configs { namespace, home },
        ]
        .into();
    }
    let sidecar = proxy.kind == ProxyType::Sidecar && !proxy.is_grpc();
    let intercepted = sidecar && proxy.interception() != Interception::None;
    let audience = Audience::of(proxy);
    let network = relevance.network.then(|| proxy.network.clone());
    let view = OutboundView {
        original_destination: intercepted,
        endpoints: EndpointView { network: network.clone(), audience, ..EndpointView::default() },
    };
    let mut keys = vec![
        ScopeKey::OutboundClusters { namespace: seer.clone(), view },
        ScopeKey::Endpoints {
            namespace: seer.clone(),
            original_destination: intercepted,
            reach: Reach::Far(network),
            audience,
        },
    ];
    if relevance.near() {
        keys.push(ScopeKey::Endpoints {
            namespace: seer.clone(),
            original_destination: intercepted,
            reach: Reach::Near(relevant(Place::of(proxy, snapshot), relevance)),
            audience,
        });
    }
    if sidecar {
        keys.extend(sidecar_keys(proxy, snapshot, settings));
    }
    if proxy.is_grpc() {
        let catalog = Arc::new(catalog_key(proxy, Reception::Proxyless));
        keys.extend([ScopeKey::GrpcListeners(catalog.clone()), ScopeKey::GrpcRoutes(catalog)]);
    }
    keys.into()
}

fn catalog_key(proxy: &Proxy, reception: Reception) -> CatalogKey {
    CatalogKey {
        namespace: proxy.namespace.clone(),
        cluster: proxy.cluster.clone(),
        domain: SearchDomain::parse(&proxy.domain),
        reception,
    }
}

/// What listeners and routes of a proxy depend on; none for a router, which has
/// neither.
pub(super) fn catalog_of(proxy: &Proxy, settings: &Settings) -> Option<CatalogKey> {
    let bound = proxy.interception() == Interception::None;
    let reception = match proxy.kind {
        _ if proxy.is_importer() => return None,
        _ if proxy.is_grpc() => Reception::Proxyless,
        ProxyType::Sidecar if bound => Reception::Bound(settings.bound_address),
        ProxyType::Sidecar => Reception::Intercepted,
        _ => return None,
    };
    Some(catalog_key(proxy, reception))
}

/// The scopes that only sidecars are in.
fn sidecar_keys(proxy: &Proxy, snapshot: &Snapshot, settings: &Settings) -> [ScopeKey; 4] {
    let targets = snapshot.targets_of(proxy);
    let key = Arc::new(InboundKey::of(proxy, &targets));
    let bound = (!key.is_intercepted()).then_some(settings.bound_address);
    let closed = match bound {
        Some(_) => ClosedPorts {
            occupied: targets.iter().map(|target| target.target_port).collect(),
            privileged: inbound::is_unprivileged(proxy),
        },
        None => ClosedPorts::default(),
    };
    let reception = bound.map_or(Reception::Intercepted, Reception::Bound);
    let catalog = Arc::new(catalog_key(proxy, reception));
    let view = ListenerView { interception: key.interception, families: key.families };
    [
        ScopeKey::InboundClusters(key.clone()),
        ScopeKey::OutboundListeners { catalog: catalog.clone(), view, closed },
        ScopeKey::InboundListeners(key),
        ScopeKey::Routes(catalog),
    ]
}

/// A place without what does not matter.
fn relevant(place: Place, relevance: Relevance) -> Place {
    let Place { cluster, network, locality, node } = place;
    let by_network = relevance.network || relevance.locality;
    Place {
        cluster: if relevance.cluster { cluster } else { Default::default() },
        network: if by_network { network } else { NetworkId::default() },
        locality: if relevance.locality { locality } else { Default::default() },
        node: node.filter(|_| relevance.node),
    }
}
