//! Catalogs shared by the scopes that are built from them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use mainstem_model::NamespaceName;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::catalog::{Catalog, CatalogKey};

/// A catalog that lives as long as somebody builds from it.
pub(super) type CatalogHandle = Arc<RwLock<Catalog>>;

/// The catalogs in use, by the namespace of their clients.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    known: FxHashMap<NamespaceName, Known>,
    sweep_at: usize,
}

type Known = FxHashMap<CatalogKey, Weak<RwLock<Catalog>>>;

/// Below this many namespaces the table is not swept.
const SWEEP_FLOOR: usize = 64;

impl Catalogs {
    /// The catalog of this key, if somebody has it.
    pub(super) fn live(&self, key: &CatalogKey) -> Option<CatalogHandle> {
        self.known.get(&key.namespace)?.get(key).and_then(Weak::upgrade)
    }

    /// Shares a new catalog.
    pub(super) fn share(&mut self, catalog: Catalog) -> CatalogHandle {
        if self.known.len() >= self.sweep_at.max(SWEEP_FLOOR) {
            self.sweep();
            self.sweep_at = 2 * self.known.len();
        }
        let key = catalog.key().clone();
        let shared = Arc::new(RwLock::new(catalog));
        let known = self.known.entry(key.namespace.clone()).or_default();
        known.retain(|_, known| known.strong_count() > 0);
        known.insert(key, Arc::downgrade(&shared));
        shared
    }

    /// Those in use by clients in some namespaces, or in all.
    pub(super) fn all(&self, namespaces: Option<&BTreeSet<NamespaceName>>) -> Vec<CatalogHandle> {
        let live = |known: &Known| -> Vec<CatalogHandle> {
            known.values().filter_map(Weak::upgrade).collect()
        };
        match namespaces {
            Some(names) => {
                names.iter().filter_map(|name| self.known.get(name)).flat_map(live).collect()
            }
            None => self.known.values().flat_map(live).collect(),
        }
    }

    /// Forgets what nobody has.
    fn sweep(&mut self) {
        self.known.retain(|_, known| {
            known.retain(|_, known| known.strong_count() > 0);
            !known.is_empty()
        });
    }
}
