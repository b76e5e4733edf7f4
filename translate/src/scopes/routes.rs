//! Scopes of route configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use mainstem_model::{Hostname, OutboundPolicy, Port, Protocol, Service};

use super::catalog::{Catalog, Redefined};
use super::catalogs::CatalogHandle;
use super::recipe::{Changes, Context, Recipe};
use super::state::Edit;
use crate::route::{self, Fallback};
use crate::{Kind, Resource, names};

/// The route configurations of the ports that a client sees.
pub(super) struct Routes {
    catalog: CatalogHandle,
    ports: BTreeMap<u16, PortRoutes>,
}

/// The route configuration of a port. Its body is also where its virtual hosts
/// are kept: those that did not change are taken from it.
struct PortRoutes {
    resource: Arc<Resource>,
    /// Whose virtual hosts they are, in order.
    hosts: Box<[Hostname]>,
}

impl Routes {
    pub(super) fn new(catalog: CatalogHandle) -> Self {
        Self { catalog, ports: BTreeMap::new() }
    }

    /// Builds the configuration of a port; none if nothing is routed there.
    /// Given what is `touched`, takes all other virtual hosts from the one before.
    fn build_port(
        &mut self,
        context: &mut Context<'_>,
        catalog: &Catalog,
        port: u16,
        touched: Option<&BTreeSet<Hostname>>,
    ) -> Option<Arc<Resource>> {
        let before = self.ports.remove(&port).filter(|_| touched.is_some());
        let mut kept = before.iter().flat_map(PortRoutes::virtual_hosts).peekable();
        let (mut hosts, mut bodies) = (Vec::new(), Vec::new());
        for host in catalog.routed(port) {
            while kept.next_if(|(other, _)| *other < host).is_some() {}
            let known = kept.next_if(|(other, _)| *other == host);
            let body = match known.filter(|_| touched.is_some_and(|all| !all.contains(host))) {
                Some((_, known)) => Some(known.clone()),
                None => virtual_host(context, catalog, host, port),
            };
            if let Some(body) = body {
                hosts.push(host.clone());
                bodies.push(body);
            }
        }
        catalog.routed(port).next()?;
        let fallback = context.part(route::fallback(fallback(context, catalog)));
        let body = route::configuration(&port.to_string(), bodies.into_iter().chain([fallback]));
        let resource = context.resource(Kind::Route, port.to_string(), body);
        self.ports.insert(port, PortRoutes { resource: resource.clone(), hosts: hosts.into() });
        Some(resource)
    }

    /// The configurations of the sniffed ports of a service.
    fn sniffed(
        context: &mut Context<'_>,
        catalog: &Catalog,
        service: &Service,
    ) -> Vec<Arc<Resource>> {
        let host = service.hostname();
        let ports = sniffed_ports(catalog, service);
        let resources = ports.map(|port| {
            let body = route::sniffed(host, port.number);
            context.resource(Kind::Route, names::host_port(host, port.number), body)
        });
        resources.collect()
    }
}

impl PortRoutes {
    fn virtual_hosts(&self) -> impl Iterator<Item = (&Hostname, &Bytes)> {
        self.hosts.iter().zip(route::virtual_hosts(&self.resource.body))
    }
}

/// The virtual host of a service; none if no domain is left to it, so that
/// nobody could mean it.
fn virtual_host(
    context: &mut Context<'_>,
    catalog: &Catalog,
    host: &Hostname,
    port: u16,
) -> Option<Bytes> {
    let domains = catalog.domains(host, port);
    let known = !domains.is_empty();
    known.then(|| context.part(route::virtual_host(host, port, domains)))
}

fn sniffed_ports<'a>(catalog: &Catalog, service: &'a Service) -> impl Iterator<Item = &'a Port> {
    service.ports.iter().filter(|port| {
        port.protocol == Protocol::Unspecified && !catalog.exposure(service, port).own.is_empty()
    })
}

/// Where listeners bind, nobody knows where an unknown request wanted to go.
fn fallback(context: &Context<'_>, catalog: &Catalog) -> Fallback {
    match context.snapshot.mesh().outbound_traffic_policy.mode {
        OutboundPolicy::AllowAny if catalog.key().bound().is_none() => Fallback::Passthrough,
        _ => Fallback::Block,
    }
}

impl Recipe for Routes {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        self.ports.clear();
        let mut all: Vec<Arc<Resource>> = Vec::new();
        for port in catalog.ports() {
            all.extend(self.build_port(context, &catalog, port, None));
        }
        for service in catalog.services() {
            all.extend(Self::sniffed(context, &catalog, service));
        }
        all
    }

    fn rebuild(&mut self, context: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let change = catalog.change();
        let mut ports = BTreeSet::new();
        let mut edits = Vec::new();
        for Redefined { before, after } in &change.services {
            if let Some(before) = before {
                ports.extend(before.ports.iter().map(|port| port.number));
                let host = before.hostname();
                let gone = sniffed_ports(&catalog, before)
                    .map(|port| Edit::Remove(names::host_port(host, port.number).into()));
                edits.extend(gone);
            }
            if let Some(after) = after {
                edits.extend(Self::sniffed(context, &catalog, after).into_iter().map(Edit::Put));
            }
        }
        let touched = change.domains.iter().filter_map(|host| catalog.service(host));
        ports.extend(touched.flat_map(|service| service.ports.iter().map(|port| port.number)));
        for port in ports {
            let resource = self.build_port(context, &catalog, port, Some(&change.domains));
            let name = || port.to_string().into();
            edits.push(resource.map_or_else(|| Edit::Remove(name()), Edit::Put));
        }
        edits
    }
}
