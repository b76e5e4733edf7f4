//! What anybody needs: for adapters that load no more than that.
//!
//! ```text
//! clients' subscriptions ─▶ Interest ─ watch ─▶ Demand (one per adapter) ─ needs? ─▶ what is loaded
//! ```
//!
//! Invariants:
//! - An interest names services as the mesh does; a [`Demand`] is asked for a
//!   registry's own names and follows its export rules.
//! - What a registry leaves out of the mesh nobody needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{DefaultVisibility, Hostname, NamespaceName, ServiceKey, Shards, Visibility};
use tokio::sync::watch;

use crate::export::Export;

/// Which services anybody needs. A clone copies pointers.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Somebody asks for everything that there is.
    pub everything: bool,
    /// The namespaces of clients that ask for all they see.
    pub namespaces: Arc<BTreeSet<NamespaceName>>,
    /// Host names that clients ask for.
    pub hosts: Shards<Hostname, ()>,
    /// Who sees services that do not say so themselves (`defaultServiceExportTo`).
    pub exported_to: Arc<DefaultVisibility>,
}

impl Interest {
    /// Everything.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether anybody needs the service.
    pub fn needs(&self, service: &ServiceKey) -> bool {
        self.everything || self.hosts.contains_key(service.hostname()) || self.shows(service)
    }

    /// Whether somebody who asks for all he sees sees it.
    fn shows(&self, service: &ServiceKey) -> bool {
        if self.namespaces.is_empty() {
            return false;
        }
        let exported_to = self.exported_to.iter().map(String::as_str);
        let visible = Visibility::parse(exported_to, service.namespace()).unwrap_or_default();
        self.namespaces.iter().any(|namespace| visible.includes(namespace))
    }
}

/// The interest as one registry's adapter sees it.
#[derive(Debug)]
pub struct Demand {
    interest: watch::Receiver<Interest>,
    export: Export,
}

impl Demand {
    pub(crate) fn new(interest: watch::Receiver<Interest>, export: Export) -> Self {
        Self { interest, export }
    }

    /// Waits until the interest is another one than when it was last
    /// [looked at](Self::look). Safe to cancel.
    pub async fn changed(&mut self) {
        if self.interest.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending().await
        }
    }

    /// Tells which native services anybody needs now.
    pub fn look(&mut self) -> impl Fn(&ServiceKey) -> bool + '_ {
        let interest = self.interest.borrow_and_update().clone();
        move |native| self.export.target(native).is_some_and(|service| interest.needs(&service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ServiceKey {
        let (namespace, host) = text.split_once('/').expect("a namespace and a host name");
        ServiceKey::new(host, namespace)
    }

    #[test]
    fn a_service_is_needed_by_its_name_or_by_who_sees_it() {
        let named = Interest {
            hosts: [("a.com".into(), ())].into_iter().fold(Shards::default(), |mut all, (k, v)| {
                all.insert(k, v);
                all
            }),
            ..Interest::default()
        };
        assert!(named.needs(&key("shop/a.com")) && !named.needs(&key("shop/b.com")));

        let seen = |from: &str, to: &[&str]| Interest {
            namespaces: Arc::new([from.into()].into()),
            exported_to: Arc::new(to.iter().map(|to| (*to).to_owned()).collect()),
            ..Interest::default()
        };
        assert!(seen("ops", &["*"]).needs(&key("shop/a.com")));
        assert!(!seen("ops", &["."]).needs(&key("shop/a.com")));
        assert!(seen("shop", &["."]).needs(&key("shop/a.com")));
        assert!(!Interest::default().needs(&key("shop/a.com")));
        assert!(Interest::everything().needs(&key("shop/a.com")));
    }

    #[tokio::test]
    async fn a_registry_is_asked_by_its_own_names() {
        let (sender, receiver) = watch::channel(Interest::default());
        let rules = serde_json::from_value(serde_json::json!({
            "exclude": ["secret.consul"], "aliases": {"orders.consul": "orders.shop.svc"},
        }));
        let mut demand = Demand::new(receiver, Export::new(&rules.unwrap()));
        let mut interest = Interest::default();
        for host in ["orders.shop.svc", "secret.consul"] {
            interest.hosts.insert(host.into(), ());
        }
        sender.send_replace(interest);
        demand.changed().await;
        let needs = demand.look();
        let needed = ["orders.consul", "secret.consul", "web.consul"]
            .map(|host| needs(&ServiceKey::new(host, "default")));
        assert_eq!(needed, [true, false, false]);
    }
}
