//! Scopes of clusters.

use std::sync::Arc;

use mainstem_model::{Hostname, NamespaceName, Protocol, Resolution, Service, Snapshot};

use super::inbound::InboundKey;
use super::memo::UnitView;
use super::recipe::{Changes, Context, Recipe, edits};
use super::state::Edit;
use crate::cluster::{self, OutboundView};
use crate::endpoint::Audience;
use crate::{Kind, Resource, names, visible};

/// The clusters of the services that a client sees; for proxies also
/// `BlackHoleCluster` and, where connections still know where they were going,
/// `PassthroughCluster`.
pub(super) struct OutboundClusters {
    namespace: NamespaceName,
    view: OutboundView,
    memo_key: Arc<UnitView>,
}

impl OutboundClusters {
    pub(super) fn new(namespace: NamespaceName, view: OutboundView) -> Self {
        let memo_key = Arc::new(UnitView::Clusters(view.clone()));
        Self { namespace, view, memo_key }
    }

    fn of_service(&self, context: &mut Context<'_>, service: &Service) -> Vec<Arc<Resource>> {
        if let Some(known) = context.shared.memo.get(&service.key, &self.memo_key) {
            return known;
        }
        let Context { snapshot, gateways, .. } = *context;
        let endpoints = snapshot.endpoints(&service.key).map(|set| &**set);
        let mut clusters = Vec::with_capacity(service.ports.len());
        for port in &service.ports {
            let cluster =
                cluster::outbound(service, port, endpoints, &self.view, gateways, snapshot.mesh());
            if let Some(body) = cluster {
                let name = names::outbound(port.number, service.hostname());
                clusters.push(context.resource(Kind::Cluster, name, body));
            }
        }
        context.shared.memo.put(&service.key, &self.memo_key, &clusters);
        clusters
    }

    /// The service that `host` stands for, and how this client finds its endpoints.
    fn meant<'a>(
        &self,
        snapshot: &'a Snapshot,
        host: &Hostname,
    ) -> Option<(&'a Arc<Service>, Resolution)> {
        let service = visible::chosen(snapshot, &self.namespace, host)?;
        let endpoints = snapshot.endpoints(&service.key).map(|set| &**set);
        Some((service, self.view.resolution(service, endpoints)))
    }

    fn rebuild_host(
        &self,
        context: &mut Context<'_>,
        changes: &Changes<'_>,
        host: &Hostname,
    ) -> Vec<Edit> {
        let before = self.meant(changes.before, host);
        let after = self.meant(context.snapshot, host);
        if let (Some((old, old_resolution)), Some((new, resolution))) = (before, after)
            && Arc::ptr_eq(old, new)
            && old_resolution == resolution
            && !matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
        {
            // Only its endpoints changed, and they do not stand in the cluster.
            return Vec::new();
        }
        let names = before.map_or_else(Vec::new, |(service, _)| names_of(service));
        let resources =
            after.map_or_else(Vec::new, |(service, _)| self.of_service(context, service));
        edits(names, resources).collect()
    }
}

/// The names that a service's clusters may have.
fn names_of(service: &Service) -> Vec<String> {
    let proxied = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
    proxied.map(|port| names::outbound(port.number, service.hostname())).collect()
}

impl Recipe for OutboundClusters {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let services = context.visible(&self.namespace).all;
        let mut all: Vec<_> =
            services.iter().flat_map(|service| self.of_service(context, service)).collect();
        if self.view.endpoints.audience == Audience::Grpc {
            return all;
        }
        let mesh = context.snapshot.mesh();
        all.push(context.resource(Kind::Cluster, names::BLACK_HOLE, cluster::black_hole(mesh)));
        if self.view.original_destination {
            let body = cluster::passthrough(mesh);
            all.push(context.resource(Kind::Cluster, names::PASSTHROUGH, body));
        }
        all
    }

    fn rebuild(&mut self, context: &mut Context<'_>, changes: &Changes<'_>) -> Vec<Edit> {
        let hosts = changes.touched.iter();
        hosts.flat_map(|host| self.rebuild_host(context, changes, host)).collect()
    }
}

/// The clusters that lead to a sidecar's own workload.
pub(super) struct InboundClusters(pub Arc<InboundKey>);

impl Recipe for InboundClusters {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let InboundKey { interception, families, ports, .. } = &*self.0;
        let mesh = context.snapshot.mesh();
        let mut all = Vec::with_capacity(ports.len() + 1);
        for port in ports {
            let body = cluster::inbound(port.number, port.protocol, *interception, *families, mesh);
            all.push(context.resource(Kind::Cluster, names::inbound(port.number), body));
        }
        if self.0.is_intercepted() {
            let body = cluster::inbound_passthrough(*interception, *families, mesh);
            all.push(context.resource(Kind::Cluster, names::INBOUND_PASSTHROUGH, body));
        }
        all
    }

    fn rebuild(&mut self, _: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        // All that a snapshot says of the workload stands in the key.
        Vec::new()
    }
}
