//! What of a sidecar its inbound side depends on.

use std::net::IpAddr;

use mainstem_model::{Interception, Protocol, Proxy, ServiceTarget};

use crate::cluster::Families;
use crate::listener::InboundPort;

/// What a sidecar's inbound clusters and listeners depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundKey {
    pub interception: Interception,
    pub families: Families,
    /// The addresses that listeners bind; empty where traffic is intercepted.
    pub addresses: Vec<IpAddr>,
    /// Ascending by number, each once.
    pub ports: Vec<InboundPort>,
}

impl InboundKey {
    /// The ports of the services that lead to the proxy's workload. Of several
    /// services with one port, the first by host name and namespace says what
    /// is spoken there.
    ///
    /// Without interception a workload with nothing but a loopback address is
    /// reached there directly: listeners would take its own ports.
    pub(crate) fn of(proxy: &Proxy, targets: &[ServiceTarget]) -> Self {
        let interception = proxy.interception();
        let bound = interception == Interception::None;
        let external = proxy.addresses.iter().copied().filter(|ip| !ip.is_loopback());
        let addresses: Vec<IpAddr> = if bound { external.collect() } else { Vec::new() };
        let mut ports: Vec<InboundPort> = Vec::new();
        if !bound || !addresses.is_empty() {
            ports.extend(targets.iter().filter_map(port_of));
            ports.retain(|port| !bound || !is_unprivileged(proxy) || port.number >= UNPRIVILEGED);
            // Stable: the first of a number stays the first.
            ports.sort_by_key(|port| port.number);
            ports.dedup_by_key(|port| port.number);
        }
        Self { interception, families: Families::of(proxy), addresses, ports }
    }

    /// Whether connections still know where they were going.
    pub(crate) fn is_intercepted(&self) -> bool {
        self.interception != Interception::None
    }
}

/// The first port that everybody may listen on.
pub(super) const UNPRIVILEGED: u16 = 1024;

/// Whether the proxy may not listen on ports below [`UNPRIVILEGED`].
pub(super) fn is_unprivileged(proxy: &Proxy) -> bool {
    proxy.metadata.unprivileged_pod.as_deref() == Some("true")
}

fn port_of(target: &ServiceTarget) -> Option<InboundPort> {
    let proxied = target.port.protocol != Protocol::Udp && target.target_port != 0;
    proxied.then(|| InboundPort {
        number: target.target_port,
        protocol: target.port.protocol,
        host: target.service.hostname().clone(),
        service_port: target.port.number,
    })
}
