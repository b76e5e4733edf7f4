//! Catalogs shared by the scopes that are built from them.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::catalog::{Catalog, CatalogKey};

/// A catalog that lives as long as somebody builds from it.
pub(super) type CatalogHandle = Arc<RwLock<Catalog>>;

#[derive(Debug, Default)]
pub(crate) struct Catalogs(FxHashMap<CatalogKey, Weak<RwLock<Catalog>>>);

impl Catalogs {
    /// The catalog of this key; made by `make` if nobody has it.
    pub(super) fn get(
        &mut self,
        key: &CatalogKey,
        make: impl FnOnce() -> Catalog,
    ) -> CatalogHandle {
        if let Some(known) = self.live(key) {
            return known;
        }
        let made = Arc::new(RwLock::new(make()));
        self.0.insert(key.clone(), Arc::downgrade(&made));
        made
    }

    pub(super) fn live(&self, key: &CatalogKey) -> Option<CatalogHandle> {
        self.0.get(key).and_then(Weak::upgrade)
    }

    /// All that are in use. Forgets the others.
    pub(super) fn all(&mut self) -> Vec<CatalogHandle> {
        self.0.retain(|_, known| known.strong_count() > 0);
        self.0.values().filter_map(Weak::upgrade).collect()
    }
}
