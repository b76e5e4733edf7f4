//! Which workloads a service picks, and the endpoints that follow.

use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, EndpointSet, Origins, Port, Service, TargetPort, Workload,
};

/// A service and the endpoints that its own declaration lists.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The service; with a selector, workloads add endpoints.
    pub service: Arc<Service>,
    /// Those that the declaration lists.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl Declared {
    /// All endpoints of the service: those listed, and those of the `workloads`
    /// that it selects. Of two with one key the listed one stays, else that of
    /// the workload given first.
    pub fn endpoint_set<'a>(
        &self,
        workloads: impl IntoIterator<Item = &'a Workload>,
    ) -> EndpointSet {
        let selected = workloads
            .into_iter()
            .filter(|workload| selects(&self.service, workload))
            .flat_map(|workload| endpoints_of(&self.service, workload))
            .map(Arc::new);
        let all = self.endpoints.iter().cloned().chain(selected).collect();
        EndpointSet::new(self.service.key.clone(), all)
    }
}

/// Whether the service's selector picks the workload: same namespace, every
/// label. Without a selector nothing is picked.
pub fn selects(service: &Service, workload: &Workload) -> bool {
    !service.selector.is_empty()
        && service.namespace() == workload.key.namespace()
        && workload.labels.matches(&service.selector)
}

/// What the workload contributes to a service that selects it: an endpoint for
/// each port that leads somewhere on it. Of its addresses the first is the
/// endpoint's, the others stand beside it.
pub fn endpoints_of(service: &Service, workload: &Workload) -> Vec<Endpoint> {
    let Some((first, more)) = workload.addresses.split_first() else { return Vec::new() };
    let more = (!more.is_empty()).then(|| Arc::new(more.to_vec()));
    let origins: Origins = workload.origins.iter().chain(service.origins.iter()).cloned().collect();
    let place = workload.place();
    let endpoint = |port: &Port| {
        let target = target_port(port, first, workload)?;
        let endpoint = Endpoint::new(port.number, first.clone(), target, origins.clone());
        Some(Endpoint {
            port_name: port.name.clone(),
            more_addresses: more.clone(),
            weight: workload.weight,
            health: workload.health,
            tls_mode: workload.tls_mode,
            place: place.clone(),
            workload: Some(workload.key.clone()),
            identity: workload.identity.clone(),
            labels: workload.labels.clone(),
            ..endpoint
        })
    };
    service.ports.iter().filter_map(endpoint).collect()
}

/// Where a service port leads on a workload, in this order (as Istio):
/// 1. a Unix socket has no port, written 0;
/// 2. the workload's port of the service port's name;
/// 3. the service port's target: a number, or the workload's port of that name.
fn target_port(port: &Port, address: &Address, workload: &Workload) -> Option<u16> {
    if matches!(address, Address::Unix(_)) {
        return Some(0);
    }
    workload.ports.get(&port.name).copied().or_else(|| match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => workload.ports.get(name).copied(),
    })
}
