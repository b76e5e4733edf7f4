//! Services from Services.

use std::collections::BTreeSet;

use mainstem_model::{
    ClusterAddresses, Hostname, Origins, Resolution, Service, ServiceAccount, ServiceKey,
};

use super::Settings;
use crate::objects::{self, Addressing, Namespace};

/// Where a Service stands among external names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The end of its chain of external names, if it is one.
    pub(crate) alias_of: Option<Hostname>,
    /// The external names whose chains end here.
    pub(crate) aliases: BTreeSet<Hostname>,
}

/// The service that a Service is; `namespace` is its namespace where that is known.
pub(crate) fn service(
    settings: &Settings,
    key: &ServiceKey,
    service: &objects::Service,
    namespace: Option<&Namespace>,
    names: Names,
    origins: Origins,
) -> Service {
    let mut addresses = ClusterAddresses::default();
    if let Addressing::Cluster(own) = &service.addressing
        && !own.is_empty()
    {
        let mut own = own.clone();
        own.sort_unstable();
        addresses.insert(settings.cluster.clone(), own);
    }
    let inherited = namespace.and_then(|namespace| namespace.distribution);
    Service {
        ports: service.ports.clone(),
        resolution: resolution(&service.addressing),
        addresses,
        aliases: names.aliases,
        alias_of: names.alias_of,
        visibility: service.visibility.clone().unwrap_or_default(),
        labels: service.labels.clone(),
        selector: service.selector.clone(),
        service_accounts: accounts(settings, key, service),
        node_local: service.node_local,
        distribution: service.distribution.or(inherited).unwrap_or_default(),
        persistent_session: service.persistent_session.clone(),
        ..Service::new(key.clone(), origins)
    }
}

fn resolution(addressing: &Addressing) -> Resolution {
    match addressing {
        Addressing::Cluster(_) => Resolution::ClientSide,
        Addressing::Headless => Resolution::Passthrough,
        Addressing::External(_) => Resolution::Alias,
    }
}

fn accounts(
    settings: &Settings,
    key: &ServiceKey,
    service: &objects::Service,
) -> BTreeSet<ServiceAccount> {
    let canonical = service.canonical_accounts.iter().map(|name| name.as_str().into());
    let namespace = key.namespace().as_str();
    let own = service.kubernetes_accounts.iter().map(|name| settings.identity(namespace, name));
    canonical.chain(own).collect()
}
