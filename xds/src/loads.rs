//! Loads that clients report, added up.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_proto::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use parking_lot::Mutex;
use serde::Serialize;

/// Keys beyond which no new ones are taken: clients choose the names.
const KEYS: usize = 100_000;

/// Loads that clients report, added up since the start. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    totals: Arc<Mutex<BTreeMap<Key, Totals>>>,
}

/// Where requests went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The cluster's name.
    pub cluster: String,
    /// The name by which its endpoints are discovered, if it is another one.
    pub service: String,
    /// The locality's region; empty for requests that were dropped.
    pub region: String,
    /// Its zone.
    pub zone: String,
    /// Its sub-zone.
    pub sub_zone: String,
}

/// Requests since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests begun.
    pub issued: u64,
    /// Requests that succeeded.
    pub succeeded: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were dropped before they chose a locality.
    pub dropped: u64,
}

impl Loads {
    /// All totals, in order of keys.
    pub fn list(&self) -> Vec<(Key, Totals)> {
        self.totals.lock().iter().map(|(key, totals)| (key.clone(), *totals)).collect()
    }

    /// Adds a report.
    pub fn add(&self, report: &[ClusterStats]) {
        let mut totals = self.totals.lock();
        for cluster in report {
            for locality in &cluster.upstream_locality_stats {
                let totals = slot(&mut totals, key(cluster, Some(locality)));
                let Some(totals) = totals else { continue };
                totals.issued = totals.issued.saturating_add(locality.total_issued_requests);
                totals.succeeded =
                    totals.succeeded.saturating_add(locality.total_successful_requests);
                totals.failed = totals.failed.saturating_add(locality.total_error_requests);
            }
            if cluster.total_dropped_requests > 0
                && let Some(totals) = slot(&mut totals, key(cluster, None))
            {
                totals.dropped = totals.dropped.saturating_add(cluster.total_dropped_requests);
            }
        }
    }
}

fn slot(totals: &mut BTreeMap<Key, Totals>, key: Key) -> Option<&mut Totals> {
    if totals.len() >= KEYS && !totals.contains_key(&key) {
        return None;
    }
    Some(totals.entry(key).or_default())
}

fn key(cluster: &ClusterStats, locality: Option<&UpstreamLocalityStats>) -> Key {
    let locality = locality.and_then(|stats| stats.locality.clone()).unwrap_or_default();
    Key {
        cluster: cluster.cluster_name.clone(),
        service: cluster.cluster_service_name.clone(),
        region: locality.region,
        zone: locality.zone,
        sub_zone: locality.sub_zone,
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn reports_add_up_by_cluster_and_locality() {
        let loads = Loads::default();
        let locality = UpstreamLocalityStats {
            total_issued_requests: 5,
            total_successful_requests: 3,
            total_error_requests: 1,
            ..Default::default()
        };
        let report = ClusterStats {
            cluster_name: "c".into(),
            upstream_locality_stats: vec![locality.clone(), locality],
            total_dropped_requests: 7,
            ..Default::default()
        };
        loads.add(std::slice::from_ref(&report));
        loads.add(&[report]);
        let key = Key {
            cluster: "c".into(),
            service: String::new(),
            region: String::new(),
            zone: String::new(),
            sub_zone: String::new(),
        };
        assert_eq!(
            loads.list(),
            [(key, Totals { issued: 20, succeeded: 12, failed: 4, dropped: 14 })]
        );
    }
}
