//! Scopes of what only proxyless gRPC clients are told: a listener per name of a
//! service port, and a route configuration per service port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mainstem_model::{Hostname, Port, Service};

use super::catalog::Catalog;
use super::catalogs::CatalogHandle;
use super::recipe::{Changes, Context, Recipe};
use super::state::Edit;
use crate::{Kind, Resource, grpc, names};

/// The listeners `name:port` of all names by which a client may call a service.
pub(super) struct GrpcListeners {
    catalog: CatalogHandle,
    /// The names of each service's listeners.
    names: BTreeMap<Hostname, Vec<Arc<str>>>,
}

impl GrpcListeners {
    pub(super) fn new(catalog: CatalogHandle) -> Self {
        Self { catalog, names: BTreeMap::new() }
    }

    fn of_service(
        &mut self,
        context: &mut Context<'_>,
        catalog: &Catalog,
        service: &Service,
    ) -> Vec<Arc<Resource>> {
        let host = service.hostname();
        let mut listeners = Vec::new();
        for port in callable(catalog, service) {
            for name in callable_names(catalog, host, port.number) {
                let name = format!("{name}:{}", port.number);
                let body = grpc::listener(&name, host, port.number);
                listeners.push(context.resource(Kind::Listener, name, body));
            }
        }
        let names = listeners.iter().map(|listener| listener.name.clone()).collect();
        self.names.insert(host.clone(), names);
        listeners
    }
}

/// The ports that a client can call.
fn callable<'a>(catalog: &Catalog, service: &'a Service) -> impl Iterator<Item = &'a Port> {
    service.ports.iter().filter(|port| catalog.exposure(service, port).routed)
}

/// The names that mean this service on this port. A listener has one name
/// exactly, so wildcards lead nowhere; and who knows an address needs no name.
fn callable_names(catalog: &Catalog, host: &Hostname, port: u16) -> impl Iterator<Item = String> {
    let is_address = |name: &str| name.starts_with('[') || name.parse::<IpAddr>().is_ok();
    let names = catalog.domains(host, port).into_iter();
    names.filter(move |name| !name.contains('*') && !is_address(name))
}

impl Recipe for GrpcListeners {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        self.names.clear();
        let services = catalog.services();
        services.flat_map(|service| self.of_service(context, &catalog, service)).collect()
    }

    fn rebuild(&mut self, context: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let change = catalog.change();
        let redefined = change.services.iter().flat_map(|one| [&one.before, &one.after]).flatten();
        let redefined = redefined.map(|service| service.hostname());
        let hosts: BTreeSet<&Hostname> = redefined.chain(&change.domains).collect();
        // All that go before all that come: a name may move from one to another.
        let gone = hosts.iter().filter_map(|host| self.names.remove(*host)).flatten();
        let mut edits: Vec<Edit> = gone.map(Edit::Remove).collect();
        for service in hosts.iter().filter_map(|host| catalog.service(host)) {
            edits.extend(self.of_service(context, &catalog, service).into_iter().map(Edit::Put));
        }
        edits
    }
}

/// The route configurations of all service ports that a client can call.
pub(super) struct GrpcRoutes {
    catalog: CatalogHandle,
}

impl GrpcRoutes {
    pub(super) fn new(catalog: CatalogHandle) -> Self {
        Self { catalog }
    }

    fn of_service(
        context: &mut Context<'_>,
        catalog: &Catalog,
        service: &Service,
    ) -> Vec<Arc<Resource>> {
        let host = service.hostname();
        let routes = callable(catalog, service).map(|port| {
            let body = grpc::routes(host, port.number);
            context.resource(Kind::Route, names::outbound(port.number, host), body)
        });
        routes.collect()
    }
}

impl Recipe for GrpcRoutes {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let services = catalog.services();
        services.flat_map(|service| Self::of_service(context, &catalog, service)).collect()
    }

    fn rebuild(&mut self, context: &mut Context<'_>, _: &Changes<'_>) -> Vec<Edit> {
        let handle = self.catalog.clone();
        let catalog = handle.read();
        let services = &catalog.change().services;
        let before = services.iter().filter_map(|one| one.before.as_ref());
        let gone = before.flat_map(|service| {
            let ports = callable(&catalog, service);
            ports.map(|port| names::outbound(port.number, service.hostname()))
        });
        let mut edits: Vec<Edit> = gone.map(|name| Edit::Remove(name.into())).collect();
        for service in services.iter().filter_map(|one| one.after.as_ref()) {
            edits.extend(Self::of_service(context, &catalog, service).into_iter().map(Edit::Put));
        }
        edits
    }
}
