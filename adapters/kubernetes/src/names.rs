//! Names of objects, and one copy of what many objects repeat.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use mainstem_model::{
    Labels, Locality, NamespaceName, NetworkId, NodeName, PortName, ServiceAccount, Workload,
};

/// An object's namespace, empty for kinds without, and its name. Ordered by
/// namespace, so that one namespace's objects stand together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName {
    pub(crate) namespace: NamespaceName,
    pub(crate) name: Arc<str>,
}

impl ObjectName {
    pub(crate) fn new(namespace: impl Into<NamespaceName>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One copy of each of many equal values.
///
/// It forgets everything when it has grown to twice what it held after the last
/// time, so that names which nobody uses any more do not pile up; what is in use
/// then lives on with its users and is at worst held twice.
#[derive(Debug)]
struct Pool<T> {
    known: HashSet<T>,
    limit: usize,
}

/// Below this size a pool never forgets.
const POOL_FLOOR: usize = 4096;

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), limit: POOL_FLOOR }
    }
}

impl<T: Clone + Eq + Hash> Pool<T> {
    fn share(&mut self, value: &mut T, in_use: usize) {
        if let Some(known) = self.known.get(value) {
            *value = known.clone();
            return;
        }
        if self.known.len() >= self.limit {
            self.known.clear();
            self.limit = POOL_FLOOR.max(in_use * 2);
        }
        self.known.insert(value.clone());
    }
}

/// The pools of one registry.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    namespaces: Pool<NamespaceName>,
    nodes: Pool<NodeName>,
    accounts: Pool<ServiceAccount>,
    networks: Pool<NetworkId>,
    ports: Pool<PortName>,
    localities: Pool<Locality>,
    labels: Pool<Labels>,
    /// How many objects there are that may use what is pooled.
    pub(crate) in_use: usize,
}

macro_rules! share {
    ($($name:ident, $pool:ident: $kind:ty;)*) => {$(
        pub(crate) fn $name(&mut self, value: &mut $kind) {
            self.$pool.share(value, self.in_use);
        }
    )*};
}

impl Pools {
    share! {
        namespace, namespaces: NamespaceName;
        node, nodes: NodeName;
        account, accounts: ServiceAccount;
        network, networks: NetworkId;
        port, ports: PortName;
        locality, localities: Locality;
        labels, labels: Labels;
    }

    /// Shares what a workload has in common with others.
    pub(crate) fn workload(&mut self, workload: &mut Workload) {
        self.labels(&mut workload.labels);
        self.locality(&mut workload.locality);
        self.network(&mut workload.network);
        if let Some(node) = &mut workload.node {
            self.node(node);
        }
        if let Some(identity) = &mut workload.identity {
            self.account(identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one() {
        let mut pools = Pools::default();
        let mut copies = [Labels::from_iter([("app", "web")]), Labels::from_iter([("app", "web")])];
        copies.iter_mut().for_each(|labels| pools.labels(labels));
        let [a, b] = copies.map(|labels| labels.get("app").unwrap().as_ptr());
        assert_eq!(a, b);
    }

    #[test]
    fn a_pool_does_not_keep_what_came_and_went() {
        let mut pool = Pool::default();
        for n in 0..10 * POOL_FLOOR {
            pool.share(&mut n.clone(), 10);
        }
        assert!(pool.known.len() <= POOL_FLOOR);
    }
}
