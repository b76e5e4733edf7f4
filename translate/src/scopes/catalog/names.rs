//! Names of services, and who owns a domain that several could claim.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mainstem_model::{Hostname, Resolution, Service};
use rustc_hash::FxHashMap;

use super::{Catalog, exposure};

/// How many aliases of aliases are followed.
const LONGEST_CHAIN: usize = 16;

/// How strong a claim on a domain is. Derived order: the first wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The service's own host name.
    Host,
    /// Another name of it.
    Alias,
    /// Short for one of its names.
    Short,
    /// Its address in the client's cluster.
    Address,
    /// Its address in other clusters.
    ForeignAddress,
    /// `*.` and one of its names: the pods of a headless service.
    Pod,
}

impl Catalog {
    /// The domains by which requests on `port` reach `host`, each owned by one
    /// host of the port. In order: its name, other names, short names, addresses.
    pub(crate) fn domains(&self, host: &Hostname, port: u16) -> Vec<String> {
        let mut domains = self.claimed(host);
        domains.retain(|domain| self.owner(domain, port).as_ref() == Some(host));
        domains
    }

    /// The service that an alias stands for, through any number of aliases; the
    /// name itself if it is not an alias. None if the chain leads nowhere.
    fn meaning(&self, name: &Hostname) -> Option<&Hostname> {
        let mut service = self.services.get(name)?;
        for _ in 0..LONGEST_CHAIN {
            if service.resolution != Resolution::Alias {
                return Some(service.hostname());
            }
            service = self.services.get(service.alias_of.as_ref()?)?;
        }
        None
    }

    /// The host names whose domains the service of `host` has a part in.
    pub(super) fn related(&self, host: &Hostname) -> BTreeSet<Hostname> {
        let mut related = BTreeSet::from([host.clone()]);
        let Some(meant) = self.meaning(host) else { return related };
        for domain in self.claimed(meant) {
            related.extend(self.claimants(&domain).into_iter().map(|(_, host)| host));
        }
        related.insert(meant.clone());
        related
    }

    pub(super) fn list_names(&mut self, service: &Service) {
        let host = service.hostname();
        for name in &service.aliases {
            self.other_names.entry(name.clone()).or_default().insert(host.clone());
        }
        if let (Resolution::Alias, Some(target)) = (service.resolution, &service.alias_of) {
            self.aliases.entry(target.clone()).or_default().insert(host.clone());
        }
    }

    pub(super) fn unlist_names(&mut self, service: &Service) {
        let host = service.hostname();
        for name in &service.aliases {
            remove(&mut self.other_names, name, host);
        }
        if let (Resolution::Alias, Some(target)) = (service.resolution, &service.alias_of) {
            remove(&mut self.aliases, target, host);
        }
    }

    /// All domains that a service could have, each once.
    pub(super) fn claimed(&self, host: &Hostname) -> Vec<String> {
        let Some(service) = self.services.get(host) else { return Vec::new() };
        let mut claimed: Vec<String> = Vec::new();
        let mut push = |domain: String| {
            // `*` is everybody's: the fallback. And one domain that is no header's
            // value would cost the whole route configuration.
            let valid = domain != "*" && domain.bytes().all(|b| b > b' ' && b != 0x7f);
            if valid && !claimed.contains(&domain) {
                claimed.push(domain);
            }
        };
        let names = self.names(service);
        let short = |name: &Hostname| {
            self.key.domain.as_ref().map_or_else(Vec::new, |d| d.short_names(name.as_str()))
        };
        names.iter().for_each(|name| push(name.to_string()));
        names.iter().flat_map(short).for_each(&mut push);
        let addresses = exposure::addresses(service, &self.key.cluster);
        addresses.into_iter().for_each(|ip| push(address_domain(ip)));
        if has_pods(service) {
            names.iter().filter(|n| !n.is_wildcard()).for_each(|name| push(format!("*.{name}")));
            names.iter().flat_map(short).for_each(|name| push(format!("*.{name}")));
        }
        claimed
    }

    /// A service's host name and all other names that stand for it, its own first.
    fn names(&self, service: &Service) -> Vec<Hostname> {
        let host = service.hostname();
        let mut names = vec![host.clone()];
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            for alias in self.aliases.get(&name).into_iter().flatten() {
                if !names.contains(alias) && self.meaning(alias) == Some(host) {
                    names.push(alias.clone());
                }
            }
        }
        let more = service.aliases.iter().filter(|name| !names.contains(name));
        let more: Vec<_> = more.cloned().collect();
        names.extend(more);
        names
    }

    /// Who has a domain on a port.
    pub(super) fn owner(&self, domain: &str, port: u16) -> Option<Hostname> {
        let claimants = self.claimants(domain).into_iter();
        let here = claimants.filter(|(_, host)| self.is_routed(host, port));
        here.min().map(|(_, host)| host)
    }

    fn is_routed(&self, host: &Hostname, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|on| on.routed.contains(host))
    }

    /// All who could have a domain, on whatever port.
    fn claimants(&self, domain: &str) -> BTreeSet<(Claim, Hostname)> {
        let mut found = BTreeSet::new();
        if let Some(ip) = address_of(domain) {
            for (foreign, host) in self.addresses.get(&ip).into_iter().flatten() {
                let claim = if *foreign { Claim::ForeignAddress } else { Claim::Address };
                found.insert((claim, host.clone()));
            }
        }
        self.named(domain, &mut |claim, host| {
            found.insert((claim, host.clone()));
        });
        if let Some(name) = domain.strip_prefix("*.") {
            self.named(name, &mut |_, host| {
                if self.services.get(host).is_some_and(|service| has_pods(service)) {
                    found.insert((Claim::Pod, host.clone()));
                }
            });
        }
        found
    }

    /// All services with a name, in full or short.
    fn named(&self, name: &str, found: &mut impl FnMut(Claim, &Hostname)) {
        self.fully_named(&Hostname::from(name), found);
        let expansions = self.key.domain.as_ref().map(|domain| domain.expansions(name));
        for full in expansions.into_iter().flatten() {
            self.fully_named(&full, &mut |_, host| found(Claim::Short, host));
        }
    }

    fn fully_named(&self, name: &Hostname, found: &mut impl FnMut(Claim, &Hostname)) {
        if let Some(meant) = self.meaning(name) {
            found(if meant == name { Claim::Host } else { Claim::Alias }, meant);
        }
        for host in self.other_names.get(name).into_iter().flatten() {
            found(Claim::Alias, host);
        }
    }
}

/// Whether single pods can be called by name.
fn has_pods(service: &Service) -> bool {
    service.is_headless()
}

/// An address as the Host header has it.
fn address_domain(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn address_of(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(domain).parse().ok()
}

fn remove(index: &mut FxHashMap<Hostname, BTreeSet<Hostname>>, key: &Hostname, host: &Hostname) {
    if let Some(hosts) = index.get_mut(key) {
        hosts.remove(host);
        if hosts.is_empty() {
            index.remove(key);
        }
    }
}
