//! Scopes of listeners.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{MeshSettings, Service};

use super::catalog::Catalog;
use super::catalogs::CatalogHandle;
use super::inbound::{InboundKey, UNPRIVILEGED};
use super::recipe::{Changes, Context, Recipe};
use super::state::Edit;
use crate::listener::{self, Bind, ListenerView};
use crate::{Kind, Resource, names};

/// Listeners for a sidecar's outbound traffic.
pub(super) struct OutboundListeners {
    catalog: CatalogHandle,
    view: ListenerView,
    closed: ClosedPorts,
}

/// Where listeners bind: the ports that they cannot have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ClosedPorts {
    /// The workload itself listens there.
    pub occupied: BTreeSet<u16>,
    /// Those below 1024 are not the proxy's to take.
    pub privileged: bool,
}

impl ClosedPorts {
    fn contain(&self, port: u16) -> bool {
        self.occupied.contains(&port) || self.privileged && port < UNPRIVILEGED
    }
}

/// One listener, by what decides whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// What services of a port share.
    Wildcard(u16),
    /// What listens at an address.
    Own(IpAddr, u16),
}

impl OutboundListeners {
    pub(super) fn new(catalog: CatalogHandle, view: ListenerView, closed: ClosedPorts) -> Self {
        Self { catalog, view, closed }
    }

    /// The listeners that a service has a part in.
    fn units(&self, catalog: &Catalog, service: &Service) -> Vec<Unit> {
        let mut units = Vec::new();
        for port in &service.ports {
            let exposure = catalog.exposure(service, port);
            if exposure.routed || exposure.wild {
                units.push(Unit::Wildcard(port.number));
            }
            let own = exposure.own.into_iter().filter(|ip| self.view.families.include(*ip));
            units.extend(own.map(|ip| Unit::Own(ip, port.number)));
        }
        units
    }

    fn name(&self, unit: Unit) -> String {
        match unit {
            Unit::Wildcard(port) => {
                names::listener(listener::any_address(self.view.families), port)
            }
            Unit::Own(ip, port) => names::listener(ip, port),
        }
    }

    fn build_unit(
        &self,
        context: &mut Context<'_>,
        catalog: &Catalog,
        unit: Unit,
    ) -> Option<Arc<Resource>> {
        let mesh = context.snapshot.mesh();
        let bind = catalog.key().bound().map_or(Bind::Intercepted, Bind::To);
        let body = match unit {
            Unit::Wildcard(port) | Unit::Own(_, port) if self.closed.contain(port) => None,
            Unit::Wildcard(port) if bind == Bind::Intercepted && is_virtual(port, mesh) => None,
            Unit::Wildcard(port) => {
                let routed = catalog.routed(port).next().is_some();
                listener::wildcard(port, routed, &catalog.wild(port), bind, self.view, mesh)
            }
            Unit::Own(ip, port) => listener::own(ip, &catalog.at(ip, port), bind, mesh),
        };
        Some(context.resource(Kind::Listener, self.name(unit), body?))
    }
}

/// Whether a virtual listener has the port at all addresses.
fn is_virtual(port: u16, mesh: &MeshSettings) -> bool {
    [mesh.proxy_listen_port, mesh.proxy_inbound_listen_port].contains(&port)
}

impl Recipe for OutboundListeners {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let units: BTreeSet<Unit> =
            catalog.services().flat_map(|service| self.units(&catalog, service)).collect();
        let mut all: Vec<_> =
            units.into_iter().filter_map(|unit| self.build_unit(context, &catalog, unit)).collect();
        if catalog.key().bound().is_none() {
            let body = listener::virtual_outbound(self.view, context.snapshot.mesh());
            all.push(context.resource(Kind::Listener, names::VIRTUAL_OUTBOUND, body));
        }
        all
    }

    fn rebuild(&mut self, context: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let services = catalog.change().services.iter();
        let touched = services.flat_map(|one| [&one.before, &one.after]).flatten();
        let units: BTreeSet<Unit> =
            touched.flat_map(|service| self.units(&catalog, service)).collect();
        let edits = units.into_iter().map(|unit| {
            let resource = self.build_unit(context, &catalog, unit);
            resource.map_or_else(|| Edit::Remove(self.name(unit).into()), Edit::Put)
        });
        edits.collect()
    }
}

/// Listeners for calls to a sidecar's own workload.
pub(super) struct InboundListeners(pub Arc<InboundKey>);

impl Recipe for InboundListeners {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let InboundKey { interception, families, addresses, ports } = &*self.0;
        let mesh = context.snapshot.mesh();
        if self.0.is_intercepted() {
            let view = ListenerView { interception: *interception, families: *families };
            let body = listener::virtual_inbound(ports, view, mesh);
            return vec![context.resource(Kind::Listener, names::VIRTUAL_INBOUND, body)];
        }
        let mut all = Vec::with_capacity(addresses.len() * ports.len());
        for ip in addresses {
            for port in ports {
                let body = listener::bound_inbound(*ip, port, mesh);
                all.push(context.resource(Kind::Listener, names::listener(*ip, port.number), body));
            }
        }
        all
    }

    fn rebuild(&mut self, _: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        // All that a snapshot says of the workload stands in the key.
        Vec::new()
    }
}
