//! Which services a client sees.
//!
//! Resources are named by host name alone, so of several services with one host
//! name a client sees one. In this order:
//! 1. the one in the client's own namespace,
//! 2. one that a Kubernetes registry defines, so that nobody takes a
//!    Kubernetes name over,
//! 3. the first by namespace.

use std::sync::Arc;

use mainstem_model::{Hostname, NamespaceName, Service, Snapshot};

/// The service that a client in `namespace` means by `host`.
pub(crate) fn chosen<'a>(
    snapshot: &'a Snapshot,
    namespace: &NamespaceName,
    host: &Hostname,
) -> Option<&'a Arc<Service>> {
    let named = snapshot.services_named(host).into_iter();
    named
        // The index lists a service under its aliases too.
        .filter(|service| service.hostname() == host && service.visibility.includes(namespace))
        .min_by_key(|service| preference(service, namespace))
}

/// All services that a client in `namespace` sees, in order of host name.
pub(crate) fn all<'a>(snapshot: &'a Snapshot, namespace: &NamespaceName) -> Vec<&'a Arc<Service>> {
    // In order of key: those of one host name follow one another.
    let visible = snapshot.services_visible_to(namespace);
    let same_host = visible.chunk_by(|a, b| a.hostname() == b.hostname());
    let first = |group: &[&'a Arc<Service>]| {
        group.iter().copied().min_by_key(|service| preference(service, namespace))
    };
    same_host.filter_map(first).collect()
}

fn preference<'a>(
    service: &'a Service,
    namespace: &NamespaceName,
) -> (bool, bool, &'a NamespaceName) {
    let kubernetes = service
        .origins
        .first()
        .is_some_and(|first| first.origin.registry.provider() == "kubernetes");
    (service.namespace() != namespace, !kubernetes, service.namespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{MeshSettings, Origins, RegistryId, ServiceKey, Sourced, Visibility};

    fn snapshot(services: &[(&str, &str, &str)]) -> Snapshot {
        let mut draft = Snapshot::new(MeshSettings::default()).edit();
        for (host, namespace, provider) in services {
            let origins = Sourced::only(&RegistryId::new(provider, "c"), "Service", "s", "1");
            draft.put_service(Arc::new(Service::new(ServiceKey::new(*host, *namespace), origins)));
        }
        let mut hidden = Service::new(ServiceKey::new("a.com", "0"), Origins::default());
        hidden.visibility = Visibility::Namespaces(["0".into()].into());
        draft.put_service(Arc::new(hidden));
        draft.finish()
    }

    fn seen(snapshot: &Snapshot, namespace: &str) -> Vec<String> {
        let namespace = namespace.into();
        let all: Vec<_> = all(snapshot, &namespace).iter().map(|s| s.key.clone()).collect();
        for key in &all {
            assert_eq!(chosen(snapshot, &namespace, key.hostname()).map(|s| &s.key), Some(key));
        }
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_client_sees_one_service_of_a_host_name() {
        let snapshot = snapshot(&[
            ("a.com", "one", "file"),
            ("a.com", "two", "kubernetes"),
            ("a.com", "three", "file"),
            ("b.com", "two", "file"),
            ("b.com", "one", "consul"),
        ]);
        assert_eq!(seen(&snapshot, "other"), ["two/a.com", "one/b.com"]);
        assert_eq!(seen(&snapshot, "three"), ["three/a.com", "one/b.com"]);
        assert_eq!(seen(&snapshot, "0"), ["0/a.com", "one/b.com"]);
    }
}
