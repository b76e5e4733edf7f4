//! Mainstem's own documents: services with their endpoints, and workloads, as people
//! and programs write them, for every registry that takes them.
//!
//! ```text
//! ServiceSpec ─ service ──▶ Declared (the service, and the endpoints that it lists)
//! WorkloadSpec ─ workload ─▶ Workload
//! ```
//!
//! All of it is pure. A spec that breaks a rule is refused as a whole, with every field
//! that is wrong.

mod endpoint;
mod service;
mod spec;
mod workload;

pub use service::{key as service_key, service};
pub use spec::{
    Defaults, Distribution, EndpointHealth, EndpointSpec, EndpointTls, OwnDocument, PortSpec,
    PortTarget, ServiceResolution, ServiceSpec, WorkloadSpec,
};
pub use workload::workload;

use std::net::IpAddr;

use mainstem_model::{
    Address, Health, Labels, Locality, NamespaceName, NetworkId, ServiceAccount, TlsMode,
};

use crate::serviceentry::{Hosts, Surroundings, host_problem};
use crate::{FieldPath, Problems};

/// What holds for every object of a registry, or of one document.
#[derive(Clone, Debug)]
pub struct Around {
    /// What holds for its entries.
    pub entries: Surroundings,
    /// The namespace of objects that name none.
    pub namespace: NamespaceName,
}

impl Around {
    /// The same within a document that has defaults.
    pub fn within(&self, defaults: &Defaults) -> Self {
        let mut around = self.clone();
        around.namespace = self.namespace_or(&defaults.namespace);
        around.entries.network = self.network(&defaults.network);
        around.entries.locality = self.locality(&defaults.locality);
        around
    }

    /// The namespace called `own`, or the default.
    pub fn namespace_or(&self, own: &str) -> NamespaceName {
        if own.is_empty() { self.namespace.clone() } else { own.into() }
    }

    fn network(&self, own: &str) -> NetworkId {
        if own.is_empty() { self.entries.network.clone() } else { own.into() }
    }

    fn locality(&self, own: &str) -> Locality {
        if own.is_empty() { self.entries.locality.clone() } else { Locality::parse(own) }
    }

    /// `ACCOUNT`, `NAMESPACE/ACCOUNT` or a SPIFFE ID.
    fn identity(&self, text: &str, namespace: &NamespaceName) -> ServiceAccount {
        match text.split_once('/') {
            _ if text.starts_with("spiffe://") => text.into(),
            Some((namespace, account)) => self.entries.identity(&namespace.into(), account),
            None => self.entries.identity(namespace, text),
        }
    }

    fn identity_of(&self, account: &str, namespace: &NamespaceName) -> Option<ServiceAccount> {
        (!account.is_empty()).then(|| self.identity(account, namespace))
    }
}

/// The namespace within a host name of the shape `NAME.NAMESPACE.svc.SUFFIX`.
pub fn namespace_of(hostname: &str) -> Option<&str> {
    let mut labels = hostname.split('.').skip(1);
    let namespace = labels.next()?;
    let svc = labels.next()?;
    (svc == "svc" && labels.next().is_some() && !namespace.is_empty()).then_some(namespace)
}

/// An address, unless it is none.
fn address(text: &str, field: FieldPath, problems: &mut Problems) -> Option<Address> {
    if let Some(path) = text.strip_prefix("unix://")
        && !path.starts_with('/')
        && !path.starts_with('@')
    {
        problems.add(field, format!("{path:?} is no absolute path; write unix:///run/app.sock"));
        return None;
    }
    let address = Address::parse(text);
    let looks_like_ip = text.parse::<IpAddr>().is_err()
        && text.split('.').count() == 4
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if looks_like_ip {
        problems.add(field, format!("{text:?} is no IP address"));
        return None;
    }
    if let Address::Host(host) = &address
        && let Some(problem) = host_problem(host.as_str(), Hosts::Exact)
    {
        problems.add(field, problem);
        return None;
    }
    Some(address)
}

fn weight(weight: Option<u32>, field: &FieldPath, problems: &mut Problems) -> u32 {
    if weight == Some(0) {
        let problem = "0 gives no traffic at all; write 1 or more, or health: unhealthy";
        problems.add(field.field("weight"), problem);
    }
    weight.unwrap_or(1)
}

impl From<EndpointHealth> for Health {
    fn from(health: EndpointHealth) -> Self {
        match health {
            EndpointHealth::Healthy => Self::Healthy,
            EndpointHealth::Degraded => Self::Degraded,
            EndpointHealth::Draining => Self::Draining,
            EndpointHealth::Unhealthy => Self::Unhealthy,
        }
    }
}

/// As said, else by the label that Istio knows, else by whether there is an identity.
fn tls_mode(
    said: Option<EndpointTls>,
    labels: &Labels,
    identity: Option<&ServiceAccount>,
) -> TlsMode {
    let label = labels.get("security.istio.io/tlsMode");
    match (said, label, identity) {
        (Some(EndpointTls::Istio), _, _) | (None, Some("istio"), _) | (None, None, Some(_)) => {
            TlsMode::Istio
        }
        _ => TlsMode::Disabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case("orders.shop.svc.cluster.local", Some("shop"))]
    #[case("a.b.svc.c", Some("b"))]
    #[case("pod.orders.shop.svc.cluster.local", None)]
    #[case("orders.shop.svc", None)]
    #[case("orders.example.com", None)]
    fn a_host_name_may_show_its_namespace(#[case] host: &str, #[case] expected: Option<&str>) {
        assert_eq!(namespace_of(host), expected);
    }
}
