//! Services: what clients call.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};

use crate::intern::Pool;
use crate::origin::same_origins;
use crate::{
    ClusterAddresses, ClusterId, Hostname, Labels, NamespaceName, Origins, PortName, Protocol,
    ServiceAccount,
};

/// The identity of a service: host name and namespace. One pointer wide, and
/// shared by all that name the same service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(Arc<(Hostname, NamespaceName)>);

impl ServiceKey {
    /// The key of `hostname` in `namespace`.
    pub fn new(hostname: impl Into<Hostname>, namespace: impl Into<NamespaceName>) -> Self {
        static KNOWN: LazyLock<Pool<(Hostname, NamespaceName)>> = LazyLock::new(Pool::new);
        Self(KNOWN.share((hostname.into(), namespace.into())))
    }

    /// The host name.
    pub fn hostname(&self) -> &Hostname {
        &self.0.0
    }

    /// The namespace.
    pub fn namespace(&self) -> &NamespaceName {
        &self.0.1
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.hostname())
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a proxy finds the service's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// Endpoints are known and balanced by the proxy (EDS).
    #[default]
    ClientSide,
    /// The proxy resolves names, and balances over all answers (STRICT_DNS).
    Dns,
    /// The proxy resolves names, and uses one answer at a time (LOGICAL_DNS).
    DnsRoundRobin,
    /// The connection goes where the client already wanted to go (ORIGINAL_DST).
    Passthrough,
    /// Another name for another service.
    Alias,
}

/// Where a service port leads on a selected workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum TargetPort {
    /// This port.
    Number(u16),
    /// The container port of this name, which may differ from workload to workload.
    Name(PortName),
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The number that clients use.
    pub number: u16,
    /// Its name; unique within the service.
    pub name: PortName,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where it leads on a workload that the service's selector picks.
    pub target: TargetPort,
}

/// Who may see a service or configuration object (`exportTo`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Visibility {
    /// It says nothing, and the mesh's default holds. A merged service says so only
    /// where that is every namespace.
    #[default]
    Unset,
    /// Every namespace (`*`).
    Public,
    /// These namespaces. Its own stands here by name (`.`); an empty set is nobody (`~`).
    Namespaces(BTreeSet<NamespaceName>),
}

impl Visibility {
    /// Reads `exportTo` values of an object in `own`: `*`, `.`, `~` and names.
    /// `*` wins over all, `~` over names; no value at all gives `None`.
    pub fn parse<'a>(
        values: impl IntoIterator<Item = &'a str>,
        own: &NamespaceName,
    ) -> Option<Self> {
        let values: Vec<&str> =
            values.into_iter().map(str::trim).filter(|v| !v.is_empty()).collect();
        if values.is_empty() {
            return None;
        }
        if values.contains(&"*") {
            return Some(Self::Public);
        }
        if values.contains(&"~") {
            return Some(Self::Namespaces(BTreeSet::new()));
        }
        let names = values.into_iter().map(|value| match value {
            "." => own.clone(),
            name => NamespaceName::from(name),
        });
        Some(Self::Namespaces(names.collect()))
    }

    /// The only namespaces that may see it; `None` if all may.
    pub fn namespaces(&self) -> Option<&BTreeSet<NamespaceName>> {
        match self {
            Self::Unset | Self::Public => None,
            Self::Namespaces(names) => Some(names),
        }
    }

    /// Whether `namespace` may see it.
    pub fn includes(&self, namespace: &NamespaceName) -> bool {
        self.namespaces().is_none_or(|names| names.contains(namespace))
    }
}

/// How traffic should prefer near endpoints (`trafficDistribution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum TrafficDistribution {
    /// As the mesh settings say.
    #[default]
    Unset,
    /// The same zone first (`PreferSameZone`, `PreferClose`).
    PreferSameZone,
    /// The same node first (`PreferSameNode`).
    PreferSameNode,
}

/// A service: defined by one registry, or merged from several.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Host name and namespace.
    pub key: ServiceKey,
    /// Its ports, ascending by number, each number once.
    pub ports: Vec<Port>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// The addresses that clients connect to, per cluster; ascending. None for headless services.
    pub addresses: ClusterAddresses,
    /// Address prefixes that belong to the service (`ServiceEntry.addresses` in CIDR form), ascending.
    pub prefixes: Vec<ipnet::IpNet>,
    /// Other names for it that resolve to the same endpoints.
    pub aliases: BTreeSet<Hostname>,
    /// For [`Resolution::Alias`]: what it stands for.
    pub alias_of: Option<Hostname>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its own labels.
    pub labels: Labels,
    /// The workloads that it selects, in its namespace; empty selects none.
    pub selector: Labels,
    /// Identities that its workloads may have.
    pub service_accounts: BTreeSet<ServiceAccount>,
    /// Outside the mesh (`MESH_EXTERNAL`): no mesh TLS.
    pub external: bool,
    /// Only endpoints on the client's own node (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// Only endpoints of the client's own cluster.
    pub cluster_local: bool,
    /// Endpoint weights are shares that a merge policy declares: within a tier
    /// nearness does not reorder them.
    pub exact_shares: bool,
    /// Preference for near endpoints.
    pub distribution: TrafficDistribution,
    /// Cookie or header for persistent sessions (`istio.io/persistent-session`).
    pub persistent_session: Option<Arc<str>>,
    /// Who says so; fields come from the first.
    pub origins: Origins,
}

impl Service {
    /// A service with nothing but its identity and origin.
    pub fn new(key: ServiceKey, origins: Origins) -> Self {
        Self {
            key,
            ports: Vec::new(),
            resolution: Resolution::default(),
            addresses: ClusterAddresses::default(),
            prefixes: Vec::new(),
            aliases: BTreeSet::new(),
            alias_of: None,
            visibility: Visibility::default(),
            labels: Labels::default(),
            selector: Labels::default(),
            service_accounts: BTreeSet::new(),
            external: false,
            node_local: false,
            cluster_local: false,
            exact_shares: false,
            distribution: TrafficDistribution::default(),
            persistent_session: None,
            origins,
        }
    }

    /// The host name.
    pub fn hostname(&self) -> &Hostname {
        self.key.hostname()
    }

    /// The namespace.
    pub fn namespace(&self) -> &NamespaceName {
        self.key.namespace()
    }

    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The port of this name.
    pub fn port_named(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name.as_str() == name)
    }

    /// The addresses that a client in `cluster` connects to: that cluster's own,
    /// else all, in order.
    pub fn addresses_in(&self, cluster: &ClusterId) -> Vec<IpAddr> {
        match self.addresses.get(cluster) {
            Some(own) if !own.is_empty() => own.to_vec(),
            _ => {
                let all: BTreeSet<IpAddr> = self.addresses.values().flatten().copied().collect();
                all.into_iter().collect()
            }
        }
    }

    /// Whether clients find it without an address of its own (headless).
    pub fn is_headless(&self) -> bool {
        self.resolution == Resolution::Passthrough
            && self.addresses.values().all(<[IpAddr]>::is_empty)
            && self.prefixes.is_empty()
    }

    /// Whether both say the same, revisions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        // Destructured so that a new field cannot be forgotten here.
        let Self {
            key,
            ports,
            resolution,
            addresses,
            prefixes,
            aliases,
            alias_of,
            visibility,
            labels,
            selector,
            service_accounts,
            external,
            node_local,
            cluster_local,
            exact_shares,
            distribution,
            persistent_session,
            origins,
        } = self;
        *key == other.key
            && *ports == other.ports
            && *resolution == other.resolution
            && *addresses == other.addresses
            && *prefixes == other.prefixes
            && *aliases == other.aliases
            && *alias_of == other.alias_of
            && *visibility == other.visibility
            && *labels == other.labels
            && *selector == other.selector
            && *service_accounts == other.service_accounts
            && *external == other.external
            && *node_local == other.node_local
            && *cluster_local == other.cluster_local
            && *exact_shares == other.exact_shares
            && *distribution == other.distribution
            && *persistent_session == other.persistent_session
            && same_origins(origins, &other.origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegistryId, Sourced};
    use rstest::rstest;

    #[rstest]
    #[case(&["*", "a"], Some(Visibility::Public))]
    #[case(&["~", "a"], Some(Visibility::Namespaces(BTreeSet::new())))]
    #[case(&[".", "a"], Some(Visibility::Namespaces(["own".into(), "a".into()].into())))]
    #[case(&[" "], None)]
    fn export_to_reads_its_marks(#[case] values: &[&str], #[case] expected: Option<Visibility>) {
        assert_eq!(Visibility::parse(values.iter().copied(), &"own".into()), expected);
    }

    #[test]
    fn a_new_revision_with_the_same_content_compares_equal() {
        let registry = RegistryId::new("file", "static");
        let at = |revision: &str| {
            let key = ServiceKey::new("db.shop", "shop");
            Service::new(key, Sourced::only(&registry, "Service", "db", revision))
        };
        assert!(at("1").same_content(&at("2")));
    }
}
