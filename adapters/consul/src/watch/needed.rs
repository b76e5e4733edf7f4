//! Which services of a catalog anybody needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{Hostname, RegistryUpdate};
use mainstem_registry::{Demand, NewInterest};
use tokio::time::{Instant, sleep_until};

use crate::catalog::{Catalog, Listed, Turn};

/// How long what is needed is not looked at again, at least.
const PAUSE: Duration = Duration::from_millis(5);

/// What is needed, and whose names that are.
///
/// A client that asks for one more host name costs that name, however large the
/// catalog. Where anything may be needed all names are looked at; so as not to do
/// nothing else, looking rests for as long as it took.
#[derive(Debug)]
pub(super) struct Needed {
    demand: Demand,
    rested: Instant,
    /// What is listed, by host name in the mesh.
    by_host: HashMap<Hostname, Vec<Arc<str>>>,
}

impl Needed {
    pub(super) fn new(demand: Demand) -> Self {
        Self { demand, rested: Instant::now(), by_host: HashMap::new() }
    }

    /// Waits until something else is needed. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        sleep_until(self.rested).await;
        self.demand.changed().await;
    }

    /// Has the catalog take over a list.
    pub(super) fn listed<'n>(
        &mut self,
        catalog: &mut Catalog,
        names: impl IntoIterator<Item = &'n str>,
    ) -> (Listed, Vec<RegistryUpdate>) {
        self.demand.look();
        let listed = catalog.listed(names, |key| self.demand.needs(key));
        self.by_host.clear();
        for (name, key) in catalog.names() {
            if let Some(host) = self.demand.host(key) {
                self.by_host.entry(host).or_default().push(name.clone());
            }
        }
        listed
    }

    /// Has the catalog take over what is needed now.
    pub(super) fn turn(&mut self, catalog: &mut Catalog) -> (Turn, Vec<RegistryUpdate>) {
        let began = Instant::now();
        let new = self.demand.look();
        let needs = |key: &_| self.demand.needs(key);
        let turn = match new {
            NewInterest::Any => catalog.needed(self.by_host.values().flatten(), needs),
            NewInterest::Hosts(hosts) => {
                let names = hosts.iter().filter_map(|host| self.by_host.get(host));
                catalog.needed(names.flatten(), needs)
            }
        };
        self.rested = Instant::now() + began.elapsed().max(PAUSE);
        turn
    }
}
