//! Objects of files to values. Pure: no file, clock or log.

mod endpoint;
mod service;
mod workload;

pub(crate) use service::{key as service_key, service};
pub(crate) use workload::workload;

use std::net::IpAddr;

use mainstem_model::{
    Address, Health, Labels, Locality, NamespaceName, NetworkId, RegistryId, ServiceAccount,
    TlsMode,
};
use mainstem_registry::serviceentry::{Hosts, Surroundings, host_problem};
use mainstem_registry::{FieldPath, Problems};

use crate::FileConfig;
use crate::api::{Defaults, EndpointHealth, EndpointTls};

/// What holds for every object of a registry, or of one document.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    /// What holds for its entries.
    pub entries: Surroundings,
    /// The namespace of objects that name none.
    pub namespace: NamespaceName,
}

impl Around {
    /// What a registry's configuration says.
    pub(crate) fn of(config: &FileConfig, registry: &RegistryId) -> Self {
        Self {
            entries: Surroundings {
                registry: registry.clone(),
                cluster: config.cluster.clone(),
                network: config.network.clone(),
                locality: Locality::parse(&config.locality),
                trust_domain: config.trust_domain.as_str().into(),
            },
            namespace: config.namespace.clone(),
        }
    }

    /// The same within a document that has defaults.
    pub(crate) fn within(&self, defaults: &Defaults) -> Self {
        let mut around = self.clone();
        around.namespace = self.namespace_or(&defaults.namespace);
        around.entries.network = self.network(&defaults.network);
        around.entries.locality = self.locality(&defaults.locality);
        around
    }

    /// The namespace called `own`, or the default.
    pub(crate) fn namespace_or(&self, own: &str) -> NamespaceName {
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
pub(crate) fn namespace_of(hostname: &str) -> Option<&str> {
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

fn health(health: EndpointHealth) -> Health {
    match health {
        EndpointHealth::Healthy => Health::Healthy,
        EndpointHealth::Degraded => Health::Degraded,
        EndpointHealth::Draining => Health::Draining,
        EndpointHealth::Unhealthy => Health::Unhealthy,
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
mod tests;
