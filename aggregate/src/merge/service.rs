//! One definition out of several.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{
    ClusterAddresses, ConflictKind, Hostname, Port, PortName, Protocol, Resolution, Service,
    ServiceAccount, ServiceKey,
};

use super::{Contribution, Disputes};

/// The winner's definition with what the other members may add to it; shared
/// when that is nothing.
pub(super) fn merge(
    winner: &Contribution<'_>,
    members: &[&Contribution<'_>],
    disputes: &mut Disputes<'_>,
) -> Arc<Service> {
    let base = winner.service.expect("the winner defines the service");
    let others: Vec<_> =
        members.iter().copied().filter(|m| m.registry.id != winner.registry.id).collect();
    let definers: Vec<_> = others.iter().copied().filter(|m| m.defines(&base.key)).collect();

    let aliases = own_aliases(winner, base, disputes);
    for other in others.iter() {
        compare_ports(base, other, disputes);
    }
    for definer in &definers {
        compare_resolution(base, definer, disputes);
    }
    let accounts = added_accounts(base, &others, disputes);
    if definers.is_empty() && accounts.is_empty() && aliases.len() == base.aliases.len() {
        return base.clone();
    }
    let mut merged = Service::clone(base);
    merged.aliases = aliases;
    merged.service_accounts.extend(accounts);
    merged.ports = united_ports(base, &definers);
    merged.addresses = united_addresses(base, &definers);
    let origins = definers.iter().flat_map(|m| m.service).flat_map(|s| s.origins.iter());
    merged.origins = base.origins.iter().chain(origins).cloned().collect();
    Arc::new(merged)
}

/// An alias captures traffic as a host name does, so `hosts` holds for it too.
fn own_aliases(
    winner: &Contribution<'_>,
    base: &Service,
    disputes: &mut Disputes<'_>,
) -> BTreeSet<Hostname> {
    let (own, foreign): (BTreeSet<Hostname>, BTreeSet<Hostname>) =
        base.aliases.iter().cloned().partition(|alias| {
            let key = ServiceKey::new(alias.clone(), base.namespace().clone());
            winner.registry.may_define(&key)
        });
    for alias in foreign {
        let detail = format!("hosts of {} does not include the alias {alias}", winner.registry.id);
        disputes.record(ConflictKind::UndeclaredHost, winner.registry, detail);
    }
    own
}

/// Ports are compared where both sides state something: no name and no declared
/// protocol are no statement.
fn compare_ports(base: &Service, other: &Contribution<'_>, disputes: &mut Disputes<'_>) {
    for port in other.service.iter().flat_map(|service| &service.ports) {
        let Some(won) = base.port(port.number) else { continue };
        let number = port.number;
        if won.name != port.name && !won.name.is_empty() && !port.name.is_empty() {
            let detail = format!("port {number}: {} against {}", won.name, port.name);
            disputes.record(ConflictKind::PortName, other.registry, detail);
        }
        let silent = Protocol::Unspecified;
        if won.protocol != port.protocol && won.protocol != silent && port.protocol != silent {
            let detail = format!("port {number}: {} against {}", won.protocol, port.protocol);
            disputes.record(ConflictKind::PortProtocol, other.registry, detail);
        }
    }
}

fn compare_resolution(base: &Service, definer: &Contribution<'_>, disputes: &mut Disputes<'_>) {
    let Some(service) = definer.service else { return };
    if service.resolution != base.resolution {
        let detail = format!("{} against {}", words(base.resolution), words(service.resolution));
        disputes.record(ConflictKind::Resolution, definer.registry, detail);
    }
}

fn words(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::ClientSide => "client side",
        Resolution::Dns => "DNS",
        Resolution::DnsRoundRobin => "DNS round robin",
        Resolution::Passthrough => "passthrough",
        Resolution::Alias => "alias",
    }
}

/// The service accounts that others add, within what each may.
fn added_accounts(
    base: &Service,
    others: &[&Contribution<'_>],
    disputes: &mut Disputes<'_>,
) -> BTreeSet<ServiceAccount> {
    let mut added = BTreeSet::new();
    for other in others {
        for account in other.service.iter().flat_map(|service| &service.service_accounts) {
            if base.service_accounts.contains(account) {
                continue;
            }
            if other.registry.may_add_account(account) {
                added.insert(account.clone());
            } else {
                let detail = format!("service account {account}");
                disputes.record(ConflictKind::ForeignServiceAccount, other.registry, detail);
            }
        }
    }
    added
}

/// The union by number, the first registry's port winning. A name that another
/// number has already gets its own number added, since names are unique within
/// a service.
fn united_ports(base: &Service, definers: &[&Contribution<'_>]) -> Vec<Port> {
    let mut ports = base.ports.clone();
    for port in definers.iter().flat_map(|m| m.service).flat_map(|service| &service.ports) {
        if ports.iter().all(|taken| taken.number != port.number) {
            let name = unused_name(&port.name, port.number, &ports);
            ports.push(Port { name, ..port.clone() });
        }
    }
    ports.sort_by_key(|port| port.number);
    ports
}

fn unused_name(name: &PortName, number: u16, taken: &[Port]) -> PortName {
    let mut unused = name.clone();
    while taken.iter().any(|port| port.name == unused) {
        unused = PortName::from(format!("{unused}-{number}"));
    }
    unused
}

/// Each cluster's addresses from the first registry that knows any there.
fn united_addresses(base: &Service, definers: &[&Contribution<'_>]) -> ClusterAddresses {
    let mut addresses = base.addresses.clone();
    for service in definers.iter().flat_map(|m| m.service) {
        for (cluster, own) in service.addresses.iter() {
            if !addresses.contains_key(cluster) {
                addresses.insert(cluster.clone(), own);
            }
        }
    }
    addresses
}
