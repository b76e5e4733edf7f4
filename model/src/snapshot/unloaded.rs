//! The services that are known by name alone.

use super::few::Listing;
use crate::{Hostname, NamespaceName, ServiceKey, Shards, Visibility};

/// The services of which some registry has a part that is not loaded, since nobody
/// needs it. Whoever asks for one of them has to wait: it is not absent.
///
/// A clone copies pointers.
#[derive(Clone, Debug, Default)]
pub struct Unloaded {
    services: Shards<ServiceKey, ()>,
    by_hostname: Listing<Hostname, ServiceKey>,
    /// How many there are, by namespace.
    by_namespace: Shards<NamespaceName, usize>,
    version: u64,
}

impl Unloaded {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether everything is loaded.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Another number after each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether it is one of them.
    pub fn contains(&self, service: &ServiceKey) -> bool {
        self.services.contains_key(service)
    }

    /// Those of a host name, in order of namespace.
    pub fn named(&self, hostname: &Hostname) -> impl Iterator<Item = &ServiceKey> {
        self.by_hostname.listed(hostname)
    }

    /// Whether a client in `namespace` may see one of them, where services that do not
    /// say so themselves are exported to `exported_to` (`defaultServiceExportTo`).
    pub fn may_be_seen_from(&self, namespace: &NamespaceName, exported_to: &[String]) -> bool {
        self.by_namespace.keys().any(|own| {
            let visible = Visibility::parse(exported_to.iter().map(String::as_str), own);
            visible.unwrap_or_default().includes(namespace)
        })
    }

    pub(super) fn insert(&mut self, service: ServiceKey) {
        if self.contains(&service) {
            return;
        }
        self.by_hostname.list(service.hostname().clone(), &service);
        let count = self.by_namespace.get(service.namespace()).copied().unwrap_or_default();
        self.by_namespace.insert(service.namespace().clone(), count + 1);
        self.services.insert(service, ());
        self.version += 1;
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) {
        if self.services.remove(service).is_none() {
            return;
        }
        self.by_hostname.unlist(service.hostname(), service);
        match self.by_namespace.get(service.namespace()).copied().unwrap_or_default() {
            0 | 1 => drop(self.by_namespace.remove(service.namespace())),
            more => drop(self.by_namespace.insert(service.namespace().clone(), more - 1)),
        }
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    fn unloaded(services: &[&ServiceKey]) -> Unloaded {
        let mut unloaded = Unloaded::default();
        services.iter().for_each(|service| unloaded.insert((*service).clone()));
        unloaded
    }

    #[test]
    fn they_are_found_by_host_name_until_they_are_loaded() {
        let (one, two) = (ServiceKey::new("a.com", "one"), ServiceKey::new("a.com", "two"));
        let mut all = unloaded(&[&two, &one, &one]);
        let named = |all: &Unloaded| all.named(&"a.com".into()).cloned().collect::<Vec<_>>();
        assert_eq!((named(&all), all.len()), (vec![one.clone(), two.clone()], 2));
        let version = all.version();
        all.remove(&one);
        assert_eq!((named(&all), all.contains(&one)), (vec![two.clone()], false));
        assert_ne!(all.version(), version);
        all.remove(&two);
        assert!(all.is_empty() && !all.may_be_seen_from(&"one".into(), &[]));
    }

    #[test]
    fn whether_one_may_be_seen_follows_from_what_services_are_exported_to() {
        let all = unloaded(&[&ServiceKey::new("a.com", "shop")]);
        let seen = |from: &str, to: &[&str]| {
            let to: Vec<_> = to.iter().map(|to| (*to).to_owned()).collect();
            all.may_be_seen_from(&from.into(), &to)
        };
        assert!(seen("ops", &[]) && seen("ops", &["*"]) && seen("ops", &["ops"]));
        assert!(seen("shop", &["."]) && !seen("ops", &["."]) && !seen("shop", &["~"]));
    }
}
