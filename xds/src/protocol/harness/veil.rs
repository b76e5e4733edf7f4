//! A view of which some is not known yet, or fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use crate::names::{Name, NameSet, TypeUrl};
use crate::resource::Resource;
use crate::source::{Changes, Lookup, ResourceView};
use crate::version::SetVersion;

const TYPES: [TypeUrl; 5] = [
    TypeUrl::CLUSTER,
    TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    TypeUrl::LISTENER,
    TypeUrl::ROUTE_CONFIGURATION,
    TypeUrl::VIRTUAL_HOST,
];

/// What stands between a source and its view.
#[derive(Clone, Default)]
pub(in crate::protocol) struct Veil {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    /// Nothing at all is known.
    whole: bool,
    lookups: BTreeMap<(TypeUrl, Name), Lookup>,
    changed: BTreeSet<(TypeUrl, Name)>,
    /// All that there is counts as changed.
    lifted: bool,
}

impl Veil {
    /// Hides everything.
    pub(in crate::protocol) fn draw(&self) {
        self.held.lock().whole = true;
    }

    /// Hides nothing any more.
    pub(in crate::protocol) fn lift(&self) {
        let mut held = self.held.lock();
        let hidden = std::mem::take(&mut held.lookups);
        held.changed.extend(hidden.into_keys());
        held.lifted |= std::mem::take(&mut held.whole);
    }

    /// Answers a name in another way than the source.
    pub(in crate::protocol) fn answer(&self, type_url: &TypeUrl, name: &str, lookup: Lookup) {
        let mut held = self.held.lock();
        let key = (type_url.clone(), Name::from(name));
        held.changed.insert(key.clone());
        held.lookups.insert(key, lookup);
    }

    pub(super) fn before(&self, view: Box<dyn ResourceView>) -> Box<dyn ResourceView> {
        Box::new(Veiled { view, veil: self.clone() })
    }
}

struct Veiled {
    view: Box<dyn ResourceView>,
    veil: Veil,
}

impl Veiled {
    fn whole(&self) -> bool {
        self.veil.held.lock().whole
    }
}

impl ResourceView for Veiled {
    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.view.poll_changed(context)
    }

    fn advance(&mut self) -> Changes {
        let changes = self.view.advance();
        let mut held = self.veil.held.lock();
        if held.whole {
            return Changes::default();
        }
        let mut names = std::mem::take(&mut held.changed);
        for (of, changed) in &changes.names {
            names.extend(changed.iter().map(|name| (of.clone(), name.clone())));
        }
        if std::mem::take(&mut held.lifted) {
            for of in TYPES {
                names.extend(self.view.list(&of).map(|all| (of.clone(), all.name().clone())));
            }
        }
        let mut by_type: BTreeMap<TypeUrl, Vec<Name>> = BTreeMap::new();
        for (of, name) in names {
            by_type.entry(of).or_default().push(name);
        }
        let names = by_type.into_iter().map(|(of, names)| (of, names.into())).collect();
        Changes { names, since: changes.since }
    }

    fn release(&mut self) {
        self.view.release();
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup {
        if self.whole() {
            return Lookup::Loading;
        }
        let held = self.veil.held.lock();
        let hidden = held.lookups.get(&(type_url.clone(), Name::from(name))).cloned();
        hidden.unwrap_or_else(|| self.view.get(type_url, name))
    }

    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        if self.whole() { Box::new(std::iter::empty()) } else { self.view.list(type_url) }
    }

    fn complete(&self, _: &TypeUrl) -> bool {
        !self.whole()
    }

    fn set_version(&self, type_url: &TypeUrl, names: Option<&NameSet>) -> SetVersion {
        self.view.set_version(type_url, names)
    }
}
