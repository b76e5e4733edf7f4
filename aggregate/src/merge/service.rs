//! One definition out of several.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{
    ClusterAddresses, ConflictKind, Hostname, Port, PortName, Protocol, Resolution, Service,
    ServiceAccount, ServiceKey,
};

use super::{Contribution, Disputes, in_order};
use crate::policy::{Fields, Isolation, MergePolicy, Sharing};
use crate::rules::RegistryRules;

/// The winner's definition with what the other members may add to it; shared
/// when that is nothing.
pub(super) fn merge(
    policy: Option<&MergePolicy>,
    winner: &Contribution<'_>,
    members: &[&Contribution<'_>],
    disputes: &mut Disputes<'_>,
) -> Arc<Service> {
    let base = winner.service.expect("the winner defines the service");
    let others: Vec<_> =
        members.iter().copied().filter(|m| m.registry.id != winner.registry.id).collect();
    let definers = others.iter().copied().filter(|member| member.defines(&base.key));
    let definers: Vec<_> = [winner].into_iter().chain(definers).collect();
    let default = Fields::default();
    let fields = policy.map_or(&default, |policy| &policy.fields);

    let aliases = own_aliases(winner, base, disputes);
    let accounts = added_accounts(base, &others, disputes);
    let ports = united_ports(&in_order(&definers, &fields.ports), &others, disputes);
    let resolution = first_resolution(&in_order(&definers, &fields.resolution), disputes);
    let shares = policy.map(|policy| &policy.sharing);
    let cluster_local = matches!(shares, Some(Sharing::Isolate(Isolation::OwnCluster)));
    let exact_shares = matches!(shares, Some(Sharing::Weighted(_)));

    let alone = definers.len() == 1 && accounts.is_empty() && aliases.len() == base.aliases.len();
    if alone && !cluster_local && !exact_shares {
        return base.clone();
    }
    let mut merged = Service::clone(base);
    merged.aliases = aliases;
    merged.service_accounts.extend(accounts);
    merged.ports = ports;
    merged.resolution = resolution;
    merged.addresses = united_addresses(&in_order(&definers, &fields.addresses));
    let labelling = in_order(&definers, &fields.labels);
    merged.labels = services(&labelling).next().unwrap_or(base).labels.clone();
    merged.cluster_local |= cluster_local;
    merged.exact_shares = exact_shares;
    merged.origins = services(&definers).flat_map(|s| s.origins.iter()).cloned().collect();
    Arc::new(merged)
}

fn services<'a>(definers: &[&Contribution<'a>]) -> impl Iterator<Item = &'a Arc<Service>> {
    definers.iter().filter_map(|definer| definer.service)
}

/// An alias captures traffic as a host name does, so `hosts` holds for it too.
fn own_aliases(
    winner: &Contribution<'_>,
    base: &Service,
    disputes: &mut Disputes<'_>,
) -> BTreeSet<Hostname> {
    let own = |alias: &Hostname| {
        let key = ServiceKey::new(alias.clone(), base.namespace().clone());
        winner.registry.may_define(&key)
    };
    let (own, foreign): (BTreeSet<Hostname>, BTreeSet<Hostname>) =
        base.aliases.iter().cloned().partition(own);
    for alias in foreign {
        let detail = format!("hosts of {} does not include the alias {alias}", winner.registry.id);
        disputes.record(ConflictKind::UndeclaredHost, winner.registry, detail);
    }
    own
}

/// The union by number, the first definer's port winning. A name that another
/// number has already gets its own number added, since names are unique within
/// a service. Those who only join add no port, but may disagree.
fn united_ports(
    definers: &[&Contribution<'_>],
    others: &[&Contribution<'_>],
    disputes: &mut Disputes<'_>,
) -> Vec<Port> {
    let mut united: Vec<(&RegistryRules, Port)> = Vec::new();
    for definer in definers {
        for port in definer.service.iter().flat_map(|service| &service.ports) {
            match united.iter().find(|(_, won)| won.number == port.number) {
                Some((owner, won)) => compare(won, owner, port, definer, disputes),
                None => {
                    let name = unused_name(&port.name, port.number, &united);
                    united.push((definer.registry, Port { name, ..port.clone() }));
                }
            }
        }
    }
    let defines = |other: &&&Contribution<'_>| {
        definers.iter().all(|definer| definer.registry.id != other.registry.id)
    };
    for joining in others.iter().filter(defines) {
        for port in joining.service.iter().flat_map(|service| &service.ports) {
            if let Some((owner, won)) = united.iter().find(|(_, won)| won.number == port.number) {
                compare(won, owner, port, joining, disputes);
            }
        }
    }
    united.sort_by_key(|(_, port)| port.number);
    united.into_iter().map(|(_, port)| port).collect()
}

/// Ports are compared where both sides state something: no name and no declared
/// protocol are no statement.
fn compare(
    won: &Port,
    owner: &RegistryRules,
    port: &Port,
    loser: &Contribution<'_>,
    disputes: &mut Disputes<'_>,
) {
    let number = port.number;
    if won.name != port.name && !won.name.is_empty() && !port.name.is_empty() {
        let detail = format!("port {number}: {} against {}", won.name, port.name);
        disputes.lost_to(&owner.id, ConflictKind::PortName, loser.registry, detail);
    }
    let silent = Protocol::Unspecified;
    if won.protocol != port.protocol && won.protocol != silent && port.protocol != silent {
        let detail = format!("port {number}: {} against {}", won.protocol, port.protocol);
        disputes.lost_to(&owner.id, ConflictKind::PortProtocol, loser.registry, detail);
    }
}

fn unused_name(name: &PortName, number: u16, taken: &[(&RegistryRules, Port)]) -> PortName {
    let mut unused = name.clone();
    while taken.iter().any(|(_, port)| port.name == unused) {
        unused = PortName::from(format!("{unused}-{number}"));
    }
    unused
}

/// The first definer's resolution.
fn first_resolution(definers: &[&Contribution<'_>], disputes: &mut Disputes<'_>) -> Resolution {
    let mut stated =
        definers.iter().filter_map(|definer| Some((definer.registry, definer.service?.resolution)));
    let Some((owner, first)) = stated.next() else { return Resolution::default() };
    for (loser, resolution) in stated.filter(|(_, resolution)| *resolution != first) {
        let detail = format!("{} against {}", words(first), words(resolution));
        disputes.lost_to(&owner.id, ConflictKind::Resolution, loser, detail);
    }
    first
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

/// Each cluster's addresses from the first definer that knows any there.
fn united_addresses(definers: &[&Contribution<'_>]) -> ClusterAddresses {
    let mut addresses = ClusterAddresses::default();
    for service in services(definers) {
        for (cluster, own) in service.addresses.iter() {
            if !addresses.contains_key(cluster) {
                addresses.insert(cluster.clone(), own);
            }
        }
    }
    addresses
}
