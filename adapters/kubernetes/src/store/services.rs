//! Services, and the names that lead to others.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_model::{Hostname, NamespaceName, ServiceKey};

use super::index::Index;
use super::{Held, Store};
use crate::names::ObjectName;
use crate::objects::{Addressing, Service};

/// The Services held.
#[derive(Debug, Default)]
pub(super) struct Services {
    held: BTreeMap<ObjectName, Entry>,
    /// The Services that are an external name for this host.
    names_for: Index<Hostname, ObjectName>,
    /// Those that lead into a network.
    pub(super) gateways: BTreeSet<ObjectName>,
}

/// A Service with its key, made once.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ServiceKey,
    pub(super) held: Held<Service>,
}

impl Services {
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.held.keys()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Entry)> {
        self.held.iter()
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Entry> {
        self.held.get(name)
    }

    /// Those of one namespace, in order.
    pub(super) fn of<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Entry)> {
        let first = ObjectName::new(namespace.clone(), "");
        self.held.range(first..).take_while(move |(name, _)| name.namespace == *namespace)
    }
}

/// A chain of external names that comes back to where it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loop;

impl Store {
    pub(super) fn put_service(&mut self, name: &ObjectName, new: Held<Service>) {
        let old = self.services.held.get(name);
        let same = old.is_some_and(|old| old.held.object == new.object);
        let key = old.map_or_else(|| self.settings.key(name), |old| old.key.clone());
        self.touched.services.insert(key.clone());
        if same {
            let entry = Entry { key, held: new };
            self.services.held.insert(name.clone(), entry);
            return;
        }
        self.touch_names(name);
        self.unindex_service(name);
        if let Addressing::External(target) = &new.object.addressing {
            self.services.names_for.insert(target.clone(), name.clone());
        }
        if new.object.gateway.is_some() {
            self.services.gateways.insert(name.clone());
            self.touched.gateways = true;
        }
        self.touched.endpoints.insert(key.clone());
        self.services.held.insert(name.clone(), Entry { key, held: new });
        self.touch_names(name);
    }

    pub(super) fn remove_service(&mut self, name: &ObjectName) {
        self.touch_names(name);
        self.unindex_service(name);
        let Some(old) = self.services.held.remove(name) else { return };
        self.touched.services.insert(old.key.clone());
        self.touched.endpoints.insert(old.key);
        self.touch_names(name);
    }

    fn unindex_service(&mut self, name: &ObjectName) {
        let Some(old) = self.services.held.get(name) else { return };
        if let Addressing::External(target) = &old.held.object.addressing {
            self.services.names_for.remove(target, name);
        }
        if self.services.gateways.remove(name) {
            self.touched.gateways = true;
        }
    }

    /// Touches what a chain of external names connects this Service with: every
    /// name that leads through it, and where the chain ends. Called before and
    /// after a change, it finds both ends.
    pub(super) fn touch_names(&mut self, name: &ObjectName) {
        let host = self.settings.hostname(name);
        let end = self.end_of(host.clone());
        let touched = self.names_leading_to(&host);
        self.touched.services.extend(touched.iter().map(|name| self.settings.key(name)));
        if let Ok(end) = end
            && end != host
        {
            self.touch_host(&end);
        }
    }

    fn touch_host(&mut self, host: &Hostname) {
        let Some(name) = self.settings.service_named(host) else { return };
        if let Some(entry) = self.services.held.get(&name) {
            self.touched.services.insert(entry.key.clone());
        }
    }

    /// Where the chain of external names that begins with this host ends.
    pub(super) fn end_of(&self, mut host: Hostname) -> Result<Hostname, Loop> {
        let mut seen = BTreeSet::new();
        while let Some(target) = self.target_of(&host) {
            if !seen.insert(host) {
                return Err(Loop);
            }
            host = target;
        }
        Ok(host)
    }

    /// What the host is an external name for, if it is one.
    fn target_of(&self, host: &Hostname) -> Option<Hostname> {
        let name = self.settings.service_named(host)?;
        match &self.services.held.get(&name)?.held.object.addressing {
            Addressing::External(target) => Some(target.clone()),
            _ => None,
        }
    }

    /// The external names whose chains lead to this host, over any number of steps.
    pub(super) fn names_leading_to(&self, host: &Hostname) -> BTreeSet<ObjectName> {
        let mut found = BTreeSet::new();
        let mut open = vec![host.clone()];
        while let Some(host) = open.pop() {
            for name in self.services.names_for.get(&host) {
                if found.insert(name.clone()) {
                    open.push(self.settings.hostname(name));
                }
            }
        }
        found
    }
}
