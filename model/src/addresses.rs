//! A service's own addresses, per cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::ClusterId;

/// The addresses that clients connect to, by the cluster that they are known in,
/// in order of cluster. Nearly always one cluster's one address, so it is kept
/// in exactly as much memory as that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterAddresses(Box<[(ClusterId, Box<[IpAddr]>)]>);

impl ClusterAddresses {
    /// The addresses of one cluster.
    pub fn get(&self, cluster: &ClusterId) -> Option<&[IpAddr]> {
        let found = self.0.binary_search_by(|(own, _)| own.cmp(cluster)).ok()?;
        Some(&self.0[found].1)
    }

    /// Sets the addresses of one cluster; they are kept in the order given.
    pub fn insert(&mut self, cluster: ClusterId, addresses: impl Into<Box<[IpAddr]>>) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        match all.binary_search_by(|(own, _)| own.cmp(&cluster)) {
            Ok(at) => all[at].1 = addresses.into(),
            Err(at) => all.insert(at, (cluster, addresses.into())),
        }
        self.0 = all.into_boxed_slice();
    }

    /// All clusters with their addresses, in order of cluster.
    pub fn iter(&self) -> impl Iterator<Item = (&ClusterId, &[IpAddr])> {
        self.0.iter().map(|(cluster, addresses)| (cluster, &**addresses))
    }

    /// The clusters, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ClusterId> {
        self.0.iter().map(|(cluster, _)| cluster)
    }

    /// Each cluster's addresses, in order of cluster.
    pub fn values(&self) -> impl Iterator<Item = &[IpAddr]> {
        self.0.iter().map(|(_, addresses)| &**addresses)
    }

    /// Whether the cluster has an entry.
    pub fn contains_key(&self, cluster: &ClusterId) -> bool {
        self.get(cluster).is_some()
    }

    /// How many clusters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no cluster has any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<A: Into<Box<[IpAddr]>>> FromIterator<(ClusterId, A)> for ClusterAddresses {
    /// Of several entries of one cluster the last one given stays.
    fn from_iter<I: IntoIterator<Item = (ClusterId, A)>>(entries: I) -> Self {
        let entries: BTreeMap<ClusterId, Box<[IpAddr]>> =
            entries.into_iter().map(|(cluster, addresses)| (cluster, addresses.into())).collect();
        Self(entries.into_iter().collect())
    }
}

impl<A: Into<Box<[IpAddr]>>, const N: usize> From<[(ClusterId, A); N]> for ClusterAddresses {
    fn from(entries: [(ClusterId, A); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl Serialize for ClusterAddresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_in_order_of_cluster() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let mut addresses = ClusterAddresses::from([("b".into(), vec![ip("10.0.0.2")])]);
        addresses.insert("a".into(), [ip("10.0.0.1")]);
        addresses.insert("b".into(), [ip("10.0.0.3")]);
        assert_eq!(addresses.keys().map(ClusterId::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(addresses.get(&"b".into()), Some(&[ip("10.0.0.3")][..]));
        assert_eq!(addresses.get(&"c".into()), None);
    }
}
