//! What a snapshot can be asked: the questions of Pilot's service discovery.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::Snapshot;
use crate::{
    Address, Config, ConfigKey, Conflict, ConflictKind, Endpoint, EndpointSet, Hostname, Labels,
    Namespace, NamespaceName, NetworkGateway, NetworkId, Port, Proxy, RegistryId, Service,
    ServiceKey, Shards, TargetPort, Workload, WorkloadKey,
};

/// One service port that leads to a workload.
#[derive(Clone, Debug)]
pub struct ServiceTarget {
    /// The service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: Port,
    /// The workload's port behind it.
    pub target_port: u16,
}

pub(super) fn address_hash(network: &NetworkId, address: &Address) -> u64 {
    let mut hasher = FxHasher::default();
    (network, address).hash(&mut hasher);
    hasher.finish()
}

impl Snapshot {
    /// All services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// One service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The services of a host name (or alias), in order of namespace.
    pub fn services_named(&self, hostname: &Hostname) -> Vec<&Arc<Service>> {
        let keys = self.index.by_hostname.listed(hostname);
        // A key's own order is by host name; an alias may have another.
        let mut all: Vec<_> = keys.filter_map(|key| self.service(key)).collect();
        all.sort_by(|a, b| (a.namespace(), a.hostname()).cmp(&(b.namespace(), b.hostname())));
        all
    }

    /// The keys of the services of a host name, aliases aside, in order of namespace.
    pub fn keys_of(&self, hostname: &Hostname) -> impl Iterator<Item = &ServiceKey> + Clone {
        let listed = self.index.by_hostname.listed(hostname);
        let hostname = hostname.clone();
        listed.filter(move |key| *key.hostname() == hostname)
    }

    /// The services that a client in `namespace` may see, in order of key.
    pub fn services_visible_to(&self, namespace: &NamespaceName) -> Vec<&Arc<Service>> {
        let public = self.index.public.keys();
        let restricted = self.index.restricted.get(namespace);
        let restricted = restricted.into_iter().flat_map(Shards::keys);
        let mut all: Vec<_> =
            public.chain(restricted).filter_map(|key| self.service(key)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Whether everybody may see the service, or only some.
    pub fn is_visible(&self, key: &ServiceKey, namespace: &NamespaceName) -> bool {
        self.service(key).is_some_and(|service| service.visibility.includes(namespace))
    }

    /// All endpoints of a service.
    pub fn endpoints(&self, key: &ServiceKey) -> Option<&Arc<EndpointSet>> {
        self.endpoints.get(key)
    }

    /// The endpoints of a service port whose labels match `selector`, in key order.
    pub fn endpoints_of(
        &self,
        key: &ServiceKey,
        port: u16,
        selector: &Labels,
    ) -> Vec<&Arc<Endpoint>> {
        let set = self.endpoints(key);
        let of_port = set.into_iter().flat_map(|set| set.of_port(port));
        of_port.filter(|endpoint| endpoint.labels.matches(selector)).collect()
    }

    /// The conflicts of a service.
    pub fn conflicts_of(&self, key: &ServiceKey) -> &[Conflict] {
        self.conflicts.get(key).map_or(&[], |conflicts| conflicts)
    }

    /// All conflicts, collisions of workloads and clashes of services included,
    /// in order.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let of_services = self.conflicts.values().flat_map(|c| c.iter()).cloned();
        let found = self.address_collisions().chain(self.clashes());
        let mut all: Vec<_> = of_services.chain(found).collect();
        all.sort();
        all
    }

    /// Where workloads of different registries have one address of one network,
    /// in no order. Within a registry they may: pods on the host's network do.
    pub fn address_collisions(&self) -> impl Iterator<Item = Conflict> + '_ {
        let shared = self.index.by_address.values().filter(|keys| keys.iter().len() > 1);
        shared.flat_map(|keys| {
            let mut here: Vec<_> = keys.iter().filter_map(|key| self.workload(key)).collect();
            here.sort_by_key(|workload| (registry(workload), &workload.key));
            here.split_first()
                .map(|(first, rest)| rest.iter().filter_map(|other| collision(first, other)))
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        })
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// One workload.
    pub fn workload(&self, key: &WorkloadKey) -> Option<&Arc<Workload>> {
        self.workloads.get(key)
    }

    /// The workload at an address of a network. Where several share it, a
    /// healthy one before others, then in order of key.
    pub fn workload_at(&self, network: &NetworkId, address: &Address) -> Option<&Arc<Workload>> {
        self.workloads_at(network, address).min_by_key(|found| found.health)
    }

    fn workloads_at(
        &self,
        network: &NetworkId,
        address: &Address,
    ) -> impl Iterator<Item = &Arc<Workload>> {
        let keys = self.index.by_address.listed(&address_hash(network, address));
        let workloads = keys.filter_map(|key| self.workload(key));
        workloads
            .filter(move |found| found.network == *network && found.addresses.contains(address))
    }

    /// All namespaces, in no order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// One namespace.
    pub fn namespace(&self, name: &NamespaceName) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// One configuration object.
    pub fn config(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        self.configs.get(key)
    }

    /// All configuration objects, in no order.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.configs.values()
    }

    /// All network gateways, in order.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<NetworkGateway>> {
        self.gateways.values()
    }

    /// The proxy's own workload: by cluster, namespace and name, else by network
    /// and address, of its namespace alone where that was proven.
    pub fn workload_of(&self, proxy: &Proxy) -> Option<&Arc<Workload>> {
        let key = WorkloadKey::new(proxy.cluster.clone(), proxy.namespace.clone(), &proxy.name);
        self.workload(&key).or_else(|| {
            proxy.addresses.iter().find_map(|ip| self.own_workload_at(proxy, &Address::Ip(*ip)))
        })
    }

    fn own_workload_at(&self, proxy: &Proxy, address: &Address) -> Option<&Arc<Workload>> {
        self.workloads_at(&proxy.network, address)
            .filter(|found| proxy.may_be_of(found.key.namespace().as_str()))
            .min_by_key(|found| found.health)
    }

    /// The service ports that lead to the proxy's own workload, in order of key
    /// and port: those of services that select it, ready or not, and those that
    /// are registered at its address. Its labels are its workload's, else the
    /// ones it claims.
    pub fn targets_of(&self, proxy: &Proxy) -> Vec<ServiceTarget> {
        let workload = self.workload_of(proxy);
        let labels = workload.map_or_else(|| proxy.labels(), |workload| workload.labels.clone());
        let mut targets = self.selected_targets(proxy, workload, &labels);
        for ip in &proxy.addresses {
            targets.extend(self.registered_targets(proxy, &Address::Ip(*ip)));
        }
        let order = |t: &ServiceTarget| (t.service.key.clone(), t.port.number, t.target_port);
        targets.sort_by_cached_key(order);
        targets.dedup_by(|a, b| order(a) == order(b));
        targets
    }

    fn selected_targets(
        &self,
        proxy: &Proxy,
        workload: Option<&Arc<Workload>>,
        labels: &Labels,
    ) -> Vec<ServiceTarget> {
        let namespace = workload.map_or(&proxy.namespace, |workload| workload.key.namespace());
        let keys = self.index.selecting.get(namespace).into_iter().flat_map(Shards::keys);
        let services = keys.filter_map(|key| self.service(key));
        let mut targets = Vec::new();
        for service in services.filter(|service| labels.matches(&service.selector)) {
            for port in &service.ports {
                if let Some(target_port) = resolve(&port.target, proxy, workload) {
                    targets.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target_port,
                    });
                }
            }
        }
        targets
    }

    fn registered_targets(&self, proxy: &Proxy, address: &Address) -> Vec<ServiceTarget> {
        let (network, mut targets) = (&proxy.network, Vec::new());
        for key in self.index.registered.listed(&address_hash(network, address)) {
            let (Some(service), Some(set)) = (self.service(key), self.endpoints(key)) else {
                continue;
            };
            let here = set.endpoints().iter().filter(|endpoint| {
                endpoint.place.network == *network
                    && endpoint.addresses().any(|own| own == address)
                    && proxy.may_be_of(namespace_of(endpoint, service))
            });
            for endpoint in here {
                if let Some(port) = service.port(endpoint.port) {
                    targets.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target_port: endpoint.target_port,
                    });
                }
            }
        }
        targets
    }
}

/// The namespace of what is behind an endpoint: that of its identity, else its service's.
fn namespace_of<'a>(endpoint: &'a Endpoint, service: &'a Service) -> &'a str {
    let identity = endpoint.identity.as_ref().map(|identity| identity.as_str());
    let path = identity.and_then(|id| id.strip_prefix("spiffe://")?.split_once("/ns/"));
    let own = path.and_then(|(_, rest)| rest.split('/').next());
    own.unwrap_or_else(|| service.namespace().as_str())
}

fn registry(workload: &Workload) -> Option<&RegistryId> {
    workload.origins.first().map(|sourced| &sourced.origin.registry)
}

fn collision(first: &Workload, other: &Workload) -> Option<Conflict> {
    let (winner, loser) = (registry(first)?, registry(other)?);
    // Only the addresses' hashes are known to be equal.
    let shared = first.addresses.iter().find(|address| other.addresses.contains(address))?;
    (winner != loser && first.network == other.network).then(|| Conflict {
        hostname: shared.to_string().into(),
        namespace: other.key.namespace().clone(),
        kind: ConflictKind::AddressCollision,
        winner: Some(winner.clone()),
        loser: loser.clone(),
        detail: format!(
            "{} and {} both have {shared} in network {:?}",
            first.key,
            other.key,
            first.network.as_str()
        ),
    })
}

/// The number of a target port on this workload: container ports come from the
/// registry's workload, else from the proxy's own metadata.
fn resolve(target: &TargetPort, proxy: &Proxy, workload: Option<&Arc<Workload>>) -> Option<u16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            workload.and_then(|workload| workload.ports.get(name).copied()).or_else(|| {
                let ports = proxy.metadata.pod_ports.iter().flatten();
                ports
                    .into_iter()
                    .find(|port| port.name == name.as_str())
                    .map(|port| port.container_port)
            })
        }
    }
}
