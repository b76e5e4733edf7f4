//! What services of a client do not get, since another one that it sees has it.
//!
//! The snapshot names clashes that some client must have. This is the whole truth
//! for one: with its own cluster's addresses, its short names, and its way to
//! direct calls.

use std::collections::BTreeSet;

use mainstem_model::{Conflict, ConflictKind, Port, Protocol, Resolution, Service};

use super::Catalog;

type ServicePort<'a> = (&'a Service, &'a Port);

impl Catalog {
    /// Everything that a service claims and another one has, in order.
    pub(crate) fn clashes(&self) -> Vec<Conflict> {
        let mut found = BTreeSet::new();
        found.extend(self.shared_ports());
        found.extend(self.shared_addresses());
        found.extend(self.shared_domains());
        found.into_iter().collect()
    }

    /// Opaque traffic to a port: the first service without an address that the
    /// client can call has it.
    fn shared_ports(&self) -> Vec<Conflict> {
        let mut found = Vec::new();
        for port in self.ports.keys() {
            let mut untold = self
                .wild(*port)
                .into_iter()
                .filter(|(service, port)| self.is_untold(service, port));
            let Some((winner, _)) = untold.next() else { continue };
            let losers = untold.filter(|(loser, port)| {
                // What declares nothing is told by host name, as far as it is HTTP;
                // and some connections go where they were going anyway.
                let unmoved = |s: &Service| s.resolution == Resolution::Passthrough;
                port.protocol != Protocol::Unspecified && !(unmoved(winner) && unmoved(loser))
            });
            let what = format!("opaque traffic to port {port}");
            found.extend(losers.filter_map(|(loser, _)| {
                Conflict::between(ConflictKind::ServicePort, winner, loser, &what)
            }));
        }
        found
    }

    /// Whether neither a server name nor an address range tells its connections.
    fn is_untold(&self, service: &Service, port: &Port) -> bool {
        let ranges = !service.prefixes.is_empty() && self.key.bound().is_none();
        !port.protocol.is_tls() && !ranges
    }

    fn shared_addresses(&self) -> Vec<Conflict> {
        let mut found = Vec::new();
        for (ip, holders) in self.addresses.iter().filter(|(_, holders)| holders.len() > 1) {
            let services = holders.iter().filter_map(|(_, host)| self.services.get(host));
            let numbers: BTreeSet<u16> =
                services.flat_map(|service| service.ports.iter().map(|port| port.number)).collect();
            for number in numbers {
                let here = self.at(*ip, number);
                let Some((winner, losers)) = here.split_first() else { continue };
                let told = |other: &ServicePort<'_>| {
                    winner.1.protocol.is_tls() && other.1.protocol.is_tls()
                };
                let what = format!("{ip} port {number}");
                found.extend(losers.iter().filter(|other| !told(other)).filter_map(
                    |(loser, _)| {
                        Conflict::between(ConflictKind::ServiceAddress, winner.0, loser, &what)
                    },
                ));
            }
        }
        found
    }

    /// Host names, short names and addresses by which requests are routed.
    fn shared_domains(&self) -> Vec<Conflict> {
        let mut found = Vec::new();
        for (port, on) in &self.ports {
            for host in &on.routed {
                let Some(loser) = self.services.get(host) else { continue };
                for domain in self.claimed(host) {
                    let owner = self.owner(&domain, *port).filter(|owner| owner != host);
                    let winner = owner.and_then(|owner| self.services.get(&owner));
                    let what = format!("the domain {domain} on port {port}");
                    found.extend(winner.and_then(|winner| {
                        Conflict::between(ConflictKind::ServiceName, winner, loser, &what)
                    }));
                }
            }
        }
        found
    }
}
