//! Scopes of ServiceEntries, for control planes that import services.

use std::sync::Arc;

use mainstem_model::{ClusterId, Hostname, NamespaceName, Service, Snapshot};

use super::recipe::{Changes, Context, Recipe, edits};
use super::state::Edit;
use crate::{Kind, Resource, entry, visible};

/// The entries of all services, or of those that a namespace sees.
pub(super) struct Entries {
    namespace: Option<NamespaceName>,
    home: ClusterId,
}

impl Entries {
    pub(super) fn new(namespace: Option<NamespaceName>, home: ClusterId) -> Self {
        Self { namespace, home }
    }

    fn of_service(&self, context: &mut Context<'_>, service: &Service) -> Arc<Resource> {
        let endpoints = context.snapshot.endpoints(&service.key).map(|set| &**set);
        let body = entry::resource(service, endpoints, &self.home);
        context.resource(Kind::ServiceEntry, entry::name(service), body)
    }

    /// The services that are exported under a host name.
    fn named<'a>(&self, snapshot: &'a Snapshot, host: &Hostname) -> Vec<&'a Arc<Service>> {
        match &self.namespace {
            Some(namespace) => visible::chosen(snapshot, namespace, host).into_iter().collect(),
            None => {
                let named = snapshot.services_named(host).into_iter();
                // The index lists a service under its aliases too.
                named.filter(|service| service.hostname() == host).collect()
            }
        }
    }
}

impl Recipe for Entries {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let services: Vec<Arc<Service>> = match &self.namespace {
            Some(namespace) => {
                visible::all(context.snapshot, namespace).into_iter().cloned().collect()
            }
            None => context.snapshot.services().cloned().collect(),
        };
        services.iter().map(|service| self.of_service(context, service)).collect()
    }

    fn rebuild(&mut self, context: &mut Context<'_>, changes: &Changes<'_>) -> Vec<Edit> {
        let mut all = Vec::new();
        for host in &changes.touched {
            let before = self.named(changes.before, host).into_iter();
            let before: Vec<String> = before.map(|service| entry::name(service)).collect();
            let snapshot = context.snapshot;
            let after = self.named(snapshot, host).into_iter();
            let after: Vec<_> = after.map(|service| self.of_service(context, service)).collect();
            all.extend(edits(before, after));
        }
        all
    }
}
