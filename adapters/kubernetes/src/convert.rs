//! From what Kubernetes says to the model's values. Pure: no await, clock, lock,
//! log or metric.

mod endpoints;
mod entry;
mod gateway;
mod service;
mod workload;

use mainstem_model::{
    ClusterId, Hostname, Labels, Locality, NetworkId, NodeName, ObjectKind, Origins, RegistryId,
    ServiceAccount, ServiceKey, Sourced,
};

pub(crate) use endpoints::{Surroundings, from_slices};
pub(crate) use entry::{service_entry, workload_entry};
pub(crate) use gateway::gateways;
pub(crate) use service::{Names, service};
pub(crate) use workload::{from_pod, place};

use crate::config::KubernetesConfig;
use crate::names::ObjectName;

/// What every conversion knows.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) registry: RegistryId,
    pub(crate) cluster: ClusterId,
    pub(crate) trust_domain: String,
    /// `.svc.SUFFIX`, in lower case.
    suffix: String,
}

impl Settings {
    pub(crate) fn new(registry: RegistryId, config: &KubernetesConfig) -> Self {
        let suffix = config.domain_suffix.trim_matches('.').to_ascii_lowercase();
        Self {
            registry,
            cluster: config.cluster.clone(),
            trust_domain: config.trust_domain.clone(),
            suffix: format!(".svc.{suffix}"),
        }
    }

    /// The host name of a Service.
    pub(crate) fn hostname(&self, name: &ObjectName) -> Hostname {
        Hostname::from(format!("{}.{}{}", name.name, name.namespace, self.suffix))
    }

    /// The key of a Service.
    pub(crate) fn key(&self, name: &ObjectName) -> ServiceKey {
        ServiceKey::new(self.hostname(name), name.namespace.clone())
    }

    /// The Service that has this host name, if it can be one's.
    pub(crate) fn service_named(&self, hostname: &Hostname) -> Option<ObjectName> {
        let rest = hostname.as_str().strip_suffix(&self.suffix)?;
        let (name, namespace) = rest.split_once('.')?;
        let good = !name.is_empty() && !namespace.is_empty() && !namespace.contains('.');
        good.then(|| ObjectName::new(namespace, name))
    }

    /// The identity of a service account.
    pub(crate) fn identity(&self, namespace: &str, account: &str) -> ServiceAccount {
        let domain = &self.trust_domain;
        ServiceAccount::from(format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
    }

    /// Values made of one object.
    pub(crate) fn origins(&self, kind: ObjectKind, name: &ObjectName, revision: &str) -> Origins {
        Sourced::only(&self.registry, kind, &name.to_string(), revision)
    }
}

/// A workload's labels, and what else is known of its place as labels by which
/// subsets and failover priorities may select, as Istio adds them.
fn augmented(
    labels: &Labels,
    cluster: &ClusterId,
    network: &NetworkId,
    locality: &Locality,
    node: Option<&NodeName>,
) -> Labels {
    let place = [
        ("topology.istio.io/cluster", cluster.as_str()),
        ("topology.istio.io/network", network.as_str()),
        ("topology.kubernetes.io/region", locality.region()),
        ("topology.kubernetes.io/zone", locality.zone()),
        ("topology.istio.io/subzone", locality.subzone()),
        ("kubernetes.io/hostname", node.map_or("", NodeName::as_str)),
    ];
    labels.with(place.into_iter().filter(|(_, value)| !value.is_empty()))
}

#[cfg(test)]
mod tests;
