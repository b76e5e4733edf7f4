//! ServiceEntries and WorkloadEntries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{NamespaceName, Revision, ServiceKey, Workload};
use mainstem_registry::serviceentry::{Declared, ServiceEntrySpec, WorkloadEntrySpec, selects};

use super::Store;
use super::index::Index;
use crate::convert;
use crate::names::ObjectName;
use crate::objects::Entry;

/// The entries held, and by what they are found.
#[derive(Debug, Default)]
pub(super) struct Entries {
    services: BTreeMap<ObjectName, HeldService>,
    /// The ServiceEntries that declare a service, the oldest first.
    of_key: Index<ServiceKey, (String, ObjectName)>,
    /// Those that select workloads.
    selecting: BTreeSet<ObjectName>,
    workloads: BTreeMap<ObjectName, HeldWorkload>,
}

#[derive(Debug)]
struct HeldService {
    revision: Revision,
    entry: Entry<ServiceEntrySpec>,
    declared: Vec<Declared>,
}

#[derive(Debug)]
struct HeldWorkload {
    revision: Revision,
    entry: Entry<WorkloadEntrySpec>,
    workload: Arc<Workload>,
}

fn in_namespace<'a, T>(
    all: &'a BTreeMap<ObjectName, T>,
    namespace: &'a NamespaceName,
) -> impl Iterator<Item = (&'a ObjectName, &'a T)> {
    let first = ObjectName::new(namespace.clone(), "");
    all.range(first..).take_while(move |(name, _)| name.namespace == *namespace)
}

impl Entries {
    pub(super) fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    pub(super) fn workload_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.workloads.keys()
    }

    pub(super) fn workload(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        self.workloads.get(name).map(|held| &held.workload)
    }

    /// The workloads of one namespace, in order of name.
    pub(super) fn workloads_of<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        in_namespace(&self.workloads, namespace).map(|(_, held)| &held.workload)
    }

    /// The services that ServiceEntries of this namespace declare.
    pub(super) fn keys_of<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = ServiceKey> + 'a {
        in_namespace(&self.services, namespace).flat_map(|(_, held)| keys(&held.declared))
    }

    /// The services that ServiceEntries declare.
    pub(super) fn keys(&self) -> impl Iterator<Item = ServiceKey> + '_ {
        self.services.values().flat_map(|held| keys(&held.declared))
    }

    /// What ServiceEntries declare of a service, the oldest entry first.
    pub(super) fn declared(&self, key: &ServiceKey) -> impl Iterator<Item = &Declared> {
        let held = self.of_key.get(key).iter().filter_map(|(_, name)| self.services.get(name));
        held.flat_map(|held| &held.declared).filter(|declared| declared.service.key == *key)
    }
}

fn keys(declared: &[Declared]) -> impl Iterator<Item = ServiceKey> + '_ {
    declared.iter().map(|declared| declared.service.key.clone())
}

impl Store {
    pub(super) fn put_service_entry(
        &mut self,
        name: &ObjectName,
        revision: Revision,
        entry: Entry<ServiceEntrySpec>,
    ) -> Result<(), String> {
        let declared =
            convert::service_entry(&self.settings, &self.network, name, &revision, &entry)?;
        self.remove_service_entry(name);
        for one in &declared {
            let at = (entry.created.clone(), name.clone());
            self.entries.of_key.insert(one.service.key.clone(), at);
        }
        if entry.spec.workload_selector.is_some() {
            self.entries.selecting.insert(name.clone());
        }
        self.touch_declared(&declared);
        self.entries.services.insert(name.clone(), HeldService { revision, entry, declared });
        Ok(())
    }

    pub(super) fn remove_service_entry(&mut self, name: &ObjectName) {
        let Some(old) = self.entries.services.remove(name) else { return };
        for key in keys(&old.declared) {
            self.entries.of_key.remove(&key, &(old.entry.created.clone(), name.clone()));
        }
        self.entries.selecting.remove(name);
        self.touch_declared(&old.declared);
    }

    fn touch_declared(&mut self, declared: &[Declared]) {
        self.touched.services.extend(keys(declared));
        self.touched.endpoints.extend(keys(declared));
    }

    pub(super) fn put_workload_entry(
        &mut self,
        name: &ObjectName,
        revision: Revision,
        entry: Entry<WorkloadEntrySpec>,
    ) -> Result<(), String> {
        let workload =
            convert::workload_entry(&self.settings, &self.network, name, &revision, &entry)?;
        self.remove_workload_entry(name);
        self.touch_workload_entry(name, &workload);
        let workload = Arc::new(workload);
        self.entries.workloads.insert(name.clone(), HeldWorkload { revision, entry, workload });
        Ok(())
    }

    pub(super) fn remove_workload_entry(&mut self, name: &ObjectName) {
        let Some(old) = self.entries.workloads.remove(name) else { return };
        self.touch_workload_entry(name, &old.workload);
    }

    fn touch_workload_entry(&mut self, name: &ObjectName, workload: &Workload) {
        self.touched.workloads.insert(name.clone());
        self.touch_entries_selecting(workload);
        let services = self.services.of(&name.namespace).map(|(_, entry)| entry);
        let selecting = services.filter(|entry| {
            let selector = &entry.held.object.selector;
            !selector.is_empty() && workload.labels.matches(selector)
        });
        self.touched.endpoints.extend(selecting.map(|entry| entry.key.clone()));
    }

    /// Touches the endpoints of the ServiceEntries that select this workload.
    pub(super) fn touch_entries_selecting(&mut self, workload: &Workload) {
        let first = ObjectName::new(workload.key.namespace().clone(), "");
        let here = self.entries.selecting.range(first..);
        let here = here.take_while(|name| name.namespace == *workload.key.namespace());
        for held in here.filter_map(|name| self.entries.services.get(name)) {
            let selecting = held.declared.iter().filter(|one| selects(&one.service, workload));
            let keys = selecting.map(|declared| declared.service.key.clone());
            self.touched.endpoints.extend(keys);
        }
    }

    /// Converts all entries anew, as where they are has changed for all of them.
    /// What was good stays so.
    pub(super) fn replace_all_entries(&mut self) {
        let services = self
            .entries
            .services
            .iter()
            .map(|(name, held)| (name.clone(), held.revision.clone(), held.entry.clone()));
        let services: Vec<_> = services.collect();
        for (name, revision, entry) in services {
            let _ = self.put_service_entry(&name, revision, entry);
        }
        let workloads = self
            .entries
            .workloads
            .iter()
            .map(|(name, held)| (name.clone(), held.revision.clone(), held.entry.clone()));
        let workloads: Vec<_> = workloads.collect();
        for (name, revision, entry) in workloads {
            let _ = self.put_workload_entry(&name, revision, entry);
        }
    }
}
