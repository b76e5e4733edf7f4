//! Scopes of load assignments.

use std::sync::Arc;

use mainstem_model::{Hostname, NamespaceName, NetworkId, Protocol, Resolution, Service, Snapshot};

use super::memo::UnitView;
use super::recipe::{Changes, Context, Recipe, edits};
use super::state::Edit;
use crate::cluster::OutboundView;
use crate::endpoint::{self, Audience, EndpointView, Needs, Place};
use crate::{Kind, Resource, names, visible};

/// Which services a scope of load assignments is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Those whose endpoints are the same from every place of a network; no
    /// network where all are reached alike.
    Far(Option<NetworkId>),
    /// Those whose endpoints depend on the client's locality or node.
    Near(Place),
}

/// The load assignments of the services that a client sees.
pub(super) struct Endpoints {
    namespace: NamespaceName,
    original_destination: bool,
    reach: Reach,
    audience: Audience,
    /// The view of [`Reach::Far`], one for all its services.
    far: Arc<UnitView>,
}

impl Endpoints {
    pub(super) fn new(
        namespace: NamespaceName,
        original_destination: bool,
        reach: Reach,
        audience: Audience,
    ) -> Self {
        let network = match &reach {
            Reach::Far(network) => network.clone(),
            Reach::Near(_) => None,
        };
        let view = EndpointView { network, audience, ..EndpointView::default() };
        let far = Arc::new(UnitView::Endpoints(view));
        Self { namespace, original_destination, reach, audience, far }
    }

    /// The service, if its endpoints are this scope's to serve.
    fn serves(&self, snapshot: &Snapshot, service: &Service) -> bool {
        let near = matches!(self.reach, Reach::Near(_));
        let view = OutboundView {
            original_destination: self.original_destination,
            endpoints: EndpointView { audience: self.audience, ..EndpointView::default() },
        };
        let endpoints = snapshot.endpoints(&service.key).map(|set| &**set);
        Needs::of(service).any() == near
            && view.resolution(service, endpoints) == Resolution::ClientSide
    }

    fn meant<'a>(&self, snapshot: &'a Snapshot, host: &Hostname) -> Option<&'a Arc<Service>> {
        let service = visible::chosen(snapshot, &self.namespace, host);
        service.filter(|service| self.serves(snapshot, service))
    }

    fn view_on(&self, service: &Service) -> Arc<UnitView> {
        match &self.reach {
            Reach::Far(_) => self.far.clone(),
            Reach::Near(place) => {
                Arc::new(UnitView::Endpoints(EndpointView::of(service, place, self.audience)))
            }
        }
    }

    fn of_service(&self, context: &mut Context<'_>, service: &Service) -> Vec<Arc<Resource>> {
        let memo_key = self.view_on(service);
        if let Some(known) = context.shared.memo.get(&service.key, &memo_key) {
            return known;
        }
        let UnitView::Endpoints(view) = &*memo_key else {
            unreachable!("made of endpoints right above")
        };
        let set = context.snapshot.endpoints(&service.key).map(|set| &**set);
        let mut assignments = Vec::with_capacity(service.ports.len());
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let body = endpoint::load_assignment(service, port, set, view, context.gateways);
            let name = names::outbound(port.number, service.hostname());
            assignments.push(context.resource(Kind::LoadAssignment, name, body));
        }
        context.shared.memo.put(&service.key, &memo_key, &assignments);
        assignments
    }

    fn rebuild_host(
        &self,
        context: &mut Context<'_>,
        changes: &Changes<'_>,
        host: &Hostname,
    ) -> Vec<Edit> {
        let before = self.meant(changes.before, host);
        let after = self.meant(context.snapshot, host);
        let names = match (before, after) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => Vec::new(),
            (Some(old), _) => names_of(old),
            (None, _) => Vec::new(),
        };
        let resources = after.map_or_else(Vec::new, |service| self.of_service(context, service));
        edits(names, resources).collect()
    }
}

fn names_of(service: &Service) -> Vec<String> {
    let proxied = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
    proxied.map(|port| names::outbound(port.number, service.hostname())).collect()
}

impl Recipe for Endpoints {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let visible = context.visible(&self.namespace);
        let services = if let Reach::Near(_) = self.reach { visible.near } else { visible.all };
        let snapshot = context.snapshot;
        let served = services.iter().filter(|service| self.serves(snapshot, service));
        served.flat_map(|service| self.of_service(context, service)).collect()
    }

    fn rebuild(&mut self, context: &mut Context<'_>, changes: &Changes<'_>) -> Vec<Edit> {
        // Nearly all changes concern no service that depends on the place, and
        // there may be a scope per node.
        if matches!(self.reach, Reach::Near(_)) && !changes.near {
            return Vec::new();
        }
        let hosts = changes.touched.iter();
        hosts.flat_map(|host| self.rebuild_host(context, changes, host)).collect()
    }
}
