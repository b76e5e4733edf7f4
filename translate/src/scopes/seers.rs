//! Which namespaces see what all see.
//!
//! Most namespaces see the public services and no others, so that their clients share
//! scopes of clusters and load assignments. *Peculiar* are the namespaces that a service
//! is shown to which not all may see, and those with a service whose host name another
//! one has, too: a client means its own namespace's.

use std::collections::BTreeSet;

use mainstem_model::{ChangeSet, Hostname, NamespaceName, Snapshot};
use rustc_hash::{FxHashMap, FxHashSet};

/// In place of a namespace that sees what all see. No namespace is called that, nor may
/// a service be shown to it alone.
const EVERYBODY: &str = "*";

/// The peculiar namespaces of a snapshot, each with the number of reasons.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seers {
    peculiar: FxHashMap<NamespaceName, usize>,
}

impl Seers {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut seers = Self::default();
        let hosts: FxHashSet<&Hostname> = snapshot.services().map(|one| one.hostname()).collect();
        for host in hosts {
            reasons(snapshot, host).into_iter().for_each(|namespace| seers.add(namespace));
        }
        seers
    }

    /// Goes on to the snapshot after `changes`; the namespaces that became peculiar, or
    /// are so no longer.
    pub(super) fn update(
        &mut self,
        before: &Snapshot,
        after: &Snapshot,
        changes: &ChangeSet,
    ) -> BTreeSet<NamespaceName> {
        let hosts: BTreeSet<&Hostname> =
            changes.services.iter().map(|key| key.hostname()).collect();
        let of = |snapshot| hosts.iter().flat_map(move |host| reasons(snapshot, host));
        let (gone, new): (Vec<_>, Vec<_>) = (of(before).collect(), of(after).collect());
        let concerned: BTreeSet<NamespaceName> = gone.iter().chain(&new).cloned().collect();
        let peculiar = |seers: &Self, namespace: &_| seers.peculiar.contains_key(namespace);
        let was: Vec<bool> = concerned.iter().map(|one| peculiar(self, one)).collect();
        new.into_iter().for_each(|namespace| self.add(namespace));
        gone.iter().for_each(|namespace| self.remove(namespace));
        let turned = concerned.into_iter().zip(was);
        turned.filter(|(one, was)| peculiar(self, one) != *was).map(|(one, _)| one).collect()
    }

    /// The namespace by whose eyes a client in `namespace` sees services.
    pub(super) fn of_client(&self, namespace: &NamespaceName) -> NamespaceName {
        match self.peculiar.contains_key(namespace) {
            true => namespace.clone(),
            false => EVERYBODY.into(),
        }
    }

    fn add(&mut self, namespace: NamespaceName) {
        *self.peculiar.entry(namespace).or_default() += 1;
    }

    fn remove(&mut self, namespace: &NamespaceName) {
        if let Some(reasons) = self.peculiar.get_mut(namespace) {
            *reasons -= 1;
            if *reasons == 0 {
                self.peculiar.remove(namespace);
            }
        }
    }
}

/// The namespaces that are peculiar for the services of a host name, once for each reason.
fn reasons(snapshot: &Snapshot, host: &Hostname) -> Vec<NamespaceName> {
    let named = snapshot.services_named(host).into_iter();
    // The index lists a service under its aliases too.
    let services: Vec<_> = named.filter(|service| service.hostname() == host).collect();
    let several = services.len() > 1;
    let of_each = services.into_iter().flat_map(|service| {
        let shown = service.visibility.namespaces().into_iter().flatten().cloned();
        shown.chain(several.then(|| service.namespace().clone()))
    });
    of_each.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainstem_model::{Draft, MeshSettings, Origins, Service, ServiceKey, Visibility};
    use pretty_assertions::assert_eq;

    use super::*;

    fn service(host: &str, namespace: &str, shown: Option<&[&str]>) -> Arc<Service> {
        let mut service = Service::new(ServiceKey::new(host, namespace), Origins::default());
        if let Some(shown) = shown {
            let names = shown.iter().map(|name| NamespaceName::from(*name)).collect();
            service.visibility = Visibility::Namespaces(names);
        }
        service.into()
    }

    fn peculiar(seers: &Seers) -> Vec<String> {
        let all = ["a", "b", "c", "d"].map(NamespaceName::from);
        let own = all.iter().filter(|name| seers.of_client(name) == **name);
        own.map(ToString::to_string).collect()
    }

    #[test]
    fn namespaces_turn_peculiar_and_ordinary_with_what_they_alone_see() {
        let mut before = Snapshot::new(MeshSettings::default());
        let mut seers = Seers::of(&before);
        let mut step = |edit: &dyn Fn(&mut Draft)| {
            let mut draft = before.edit();
            edit(&mut draft);
            let after = draft.finish();
            let changes = after.changes_since(before.generation()).unwrap_or_default();
            let turned = seers.update(&before, &after, &changes);
            assert_eq!(seers, Seers::of(&after));
            before = after;
            let turned: Vec<String> = turned.iter().map(ToString::to_string).collect();
            (turned.join(" "), peculiar(&seers).join(" "))
        };
        let mut put = |one: Arc<Service>| step(&move |draft| draft.put_service(one.clone()));
        let said = |turned: &str, peculiar: &str| (turned.to_owned(), peculiar.to_owned());
        assert_eq!(put(service("x.com", "a", None)), said("", ""));
        assert_eq!(put(service("y.com", "b", None)), said("", ""));
        assert_eq!(put(service("z.com", "a", Some(&["b", "c"]))), said("b c", "b c"));
        assert_eq!(put(service("x.com", "d", None)), said("a d", "a b c d"));
        assert_eq!(put(service("z.com", "a", Some(&["b"]))), said("c", "a b d"));
        let gone = step(&|draft| draft.remove_service(&ServiceKey::new("x.com", "a")));
        assert_eq!(gone, said("a d", "b"));
    }
}
