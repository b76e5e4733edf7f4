//! How a scope's resources are made, and made again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mainstem_model::{ChangeSet, Hostname, NamespaceName, Service, ServiceKey, Snapshot};
use mainstem_proto::Encoded;
use rustc_hash::FxHashMap;

use super::catalog::{Catalog, CatalogKey};
use super::catalogs::{CatalogHandle, Catalogs};
use super::memo::Memo;
use super::state::Edit;
use crate::endpoint::{Gateways, Needs};
use crate::intern::{Interner, Parts};
use crate::{Kind, Resource, visible};

/// The resources of one scope: a type of resource, and what of a proxy it depends on.
///
/// After any sequence of changes, what was built and edited equals what
/// [`build`](Self::build) gives.
pub(crate) trait Recipe: Send {
    /// All resources, from scratch.
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>>;

    /// What `changes` touch. Never called when mesh settings or gateways
    /// changed: then all is built from scratch.
    fn rebuild(&mut self, context: &mut Context<'_>, changes: &Changes<'_>) -> Vec<Edit>;
}

/// What changed between two snapshots.
pub(crate) struct Changes<'a> {
    /// The snapshot before.
    pub before: &'a Snapshot,
    /// The keys that differ.
    pub set: &'a ChangeSet,
    /// The host names whose definition changed.
    pub defined: Vec<Hostname>,
    /// The host names whose definition or endpoints changed.
    pub touched: Vec<Hostname>,
    /// Whether a service that depends on a client's place is among the touched,
    /// before or after.
    pub near: bool,
    /// The namespaces whose clients may see a difference; none is all of them.
    pub namespaces: Option<BTreeSet<NamespaceName>>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(before: &'a Snapshot, after: &Snapshot, set: &'a ChangeSet) -> Self {
        let hosts = |keys: &mut dyn Iterator<Item = &ServiceKey>| {
            let mut hosts: Vec<Hostname> = keys.map(|key| key.hostname().clone()).collect();
            hosts.sort();
            hosts.dedup();
            hosts
        };
        let touched = hosts(&mut set.services.union(&set.endpoints));
        let named = |snapshot: &Snapshot| {
            let services = touched.iter().flat_map(|host| snapshot.services_named(host));
            services.into_iter().any(|service| Needs::of(service).any())
        };
        let near = named(before) || named(after);
        let namespaces = namespaces(before, after, set);
        let defined = hosts(&mut set.services.iter());
        Self { before, set, defined, touched, near, namespaces }
    }
}

/// The namespaces that see any of the changed services, before or after.
fn namespaces(
    before: &Snapshot,
    after: &Snapshot,
    set: &ChangeSet,
) -> Option<BTreeSet<NamespaceName>> {
    let keys = set.services.union(&set.endpoints);
    let services = keys.flat_map(|key| [before.service(key), after.service(key)]).flatten();
    let mut all = BTreeSet::new();
    for service in services {
        all.extend(service.visibility.namespaces()?.iter().cloned());
    }
    Some(all)
}

/// What all recipes share while a snapshot is being translated.
pub(crate) struct Context<'a> {
    pub snapshot: &'a Snapshot,
    pub gateways: &'a Gateways,
    pub shared: &'a mut Shared,
}

/// For how many namespaces the visible services are kept at hand.
const CACHED_NAMESPACES: usize = 256;

/// What outlives a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub interner: Interner,
    pub parts: Parts,
    pub memo: Memo,
    /// The visible services per namespace; emptied when a service changes.
    pub visible: FxHashMap<NamespaceName, Visible>,
    pub catalogs: Catalogs,
}

impl Shared {
    /// Forgets what clients see where it may have changed.
    pub(super) fn forget_visible(&mut self, changes: &Changes<'_>) {
        match &changes.namespaces {
            _ if changes.defined.is_empty() => {}
            None => self.visible.clear(),
            Some(names) => self.visible.retain(|name, _| !names.contains(name)),
        }
    }
}

/// What a client in one namespace sees.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    /// In order of host name, each once.
    pub all: Arc<[Arc<Service>]>,
    /// Those of them that depend on the client's place.
    pub near: Arc<[Arc<Service>]>,
}

impl Context<'_> {
    /// The services that a client in `namespace` sees.
    pub(crate) fn visible(&mut self, namespace: &NamespaceName) -> Visible {
        if let Some(known) = self.shared.visible.get(namespace) {
            return known.clone();
        }
        let all: Arc<[_]> = visible::all(self.snapshot, namespace).into_iter().cloned().collect();
        let near = all.iter().filter(|service| Needs::of(service).any()).cloned().collect();
        let visible = Visible { all, near };
        // Only a cache, and proxies may name any number of namespaces.
        if self.shared.visible.len() >= CACHED_NAMESPACES {
            self.shared.visible.clear();
        }
        self.shared.visible.insert(namespace.clone(), visible.clone());
        visible
    }

    /// The catalog of this key, for all who build from it.
    pub(super) fn catalog(&mut self, key: &CatalogKey) -> CatalogHandle {
        if let Some(live) = self.shared.catalogs.live(key) {
            return live;
        }
        let services = self.visible(&key.namespace).all;
        self.shared.catalogs.share(Catalog::new(key.clone(), &services))
    }

    /// Brings the catalogs that changes may reach up to the snapshot. They are of
    /// definitions alone.
    pub(super) fn update_catalogs(&mut self, changes: Option<&Changes<'_>>) {
        if changes.is_some_and(|changes| changes.defined.is_empty()) {
            return;
        }
        let namespaces = changes.and_then(|changes| changes.namespaces.as_ref());
        for catalog in self.shared.catalogs.all(namespaces) {
            let mut catalog = catalog.write();
            if let Some(changes) = changes {
                catalog.update(self.snapshot, &changes.defined);
            } else {
                let key = catalog.key().clone();
                let services = self.visible(&key.namespace).all;
                *catalog = Catalog::new(key, &services);
            }
        }
    }

    /// A part of a resource, shared with every resource that has an equal one.
    pub(crate) fn part(&mut self, part: Vec<u8>) -> Bytes {
        self.shared.parts.share(part)
    }

    /// A resource, shared with every scope that has an equal one.
    pub(crate) fn resource(
        &mut self,
        kind: Kind,
        name: impl Into<Arc<str>>,
        body: impl Into<Encoded>,
    ) -> Arc<Resource> {
        self.shared.interner.intern(Resource::new(kind, name, body))
    }
}

/// The edits that lead from resources of these names to these resources.
pub(crate) fn edits(
    before: impl IntoIterator<Item = String>,
    after: Vec<Arc<Resource>>,
) -> impl Iterator<Item = Edit> {
    let gone: Vec<Edit> = before
        .into_iter()
        .filter(|name| after.iter().all(|resource| *resource.name != **name))
        .map(|name| Edit::Remove(name.into()))
        .collect();
    gone.into_iter().chain(after.into_iter().map(Edit::Put))
}
