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
    receiver: watch::Receiver<Interest>,
    /// As it was last looked at.
    interest: Interest,
    export: Export,
}

/// How an interest differs from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewInterest {
    /// In these host names, as the mesh knows them, at most.
    Hosts(Vec<Hostname>),
    /// In any.
    Any,
}

impl Demand {
    pub(crate) fn new(mut receiver: watch::Receiver<Interest>, export: Export) -> Self {
        let interest = receiver.borrow_and_update().clone();
        Self { receiver, interest, export }
    }

    /// Waits until the interest is another one than when it was last
    /// [looked at](Self::look). Safe to cancel.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // Nobody can change it any more.
            std::future::pending().await
        }
    }

    /// Takes over what is needed now; how that differs from before.
    pub fn look(&mut self) -> NewInterest {
        let next = self.receiver.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.interest, next);
        let now = &self.interest;
        let broad = |of: &Interest| (of.everything, of.namespaces.clone(), of.exported_to.clone());
        match broad(&before) == broad(now) {
            true => NewInterest::Hosts(before.hosts.unshared_keys(&now.hosts)),
            false => NewInterest::Any,
        }
    }

    /// Whether anybody needs the native service, as of the last look.
    pub fn needs(&self, native: &ServiceKey) -> bool {
        self.export.target(native).is_some_and(|service| self.interest.needs(&service))
    }

    /// The host name of the native service in the mesh, if it is not left out.
    pub fn host(&self, native: &ServiceKey) -> Option<Hostname> {
        self.export.target(native).map(|service| service.hostname().clone())
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
        let NewInterest::Hosts(mut hosts) = demand.look() else { panic!("only hosts differ") };
        hosts.sort();
        assert_eq!(hosts, ["orders.shop.svc".into(), "secret.consul".into()]);
        let native = |host| ServiceKey::new(host, "default");
        let needed = ["orders.consul", "secret.consul", "web.consul"]
            .map(|host| (demand.needs(&native(host)), demand.host(&native(host)).is_some()));
        assert_eq!(needed, [(true, true), (false, false), (false, true)]);

        sender.send_replace(Interest::everything());
        assert_eq!(demand.look(), NewInterest::Any);
        assert!(demand.needs(&native("web.consul")));
    }
}
