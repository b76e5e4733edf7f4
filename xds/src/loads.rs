//! Loads that clients report, added up.
//!
//! Names come from clients, so they are bounded: a cluster counts under its name if the
//! client was told of it, else together with all that are not known; and a cluster has
//! a bounded number of localities, beyond which requests count without one. So no sum
//! lacks what was reported.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_proto::envoy::config::core::v3::Locality;
use mainstem_proto::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use parking_lot::Mutex;
use serde::Serialize;

/// Keys at a time.
const KEYS: usize = 50_000;
/// Localities of one cluster.
const LOCALITIES: usize = 100;
/// Bytes of one name of a locality.
const NAME_BYTES: usize = 128;
/// After this time without a report a key is forgotten, once somebody reads.
const KEPT: Duration = Duration::from_hours(1);

/// Loads that clients report, added up since the start. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    book: Arc<Mutex<Book>>,
}

/// In order of clusters.
type Book = BTreeMap<Arc<Key>, Entry>;

#[derive(Debug)]
struct Entry {
    totals: Totals,
    reported: Instant,
}

/// Where requests went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The cluster's name; empty for all that the client was not told of.
    pub cluster: String,
    /// The locality's region; empty for requests that were dropped, and for those
    /// whose locality is none or one too many.
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
    /// Requests under way, by the last reports of those who still report.
    pub active: u64,
}

impl Loads {
    /// All totals, in order of keys.
    pub fn list(&self) -> Vec<(Key, Totals)> {
        let mut book = self.book.lock();
        forget_old(&mut book, Instant::now());
        book.iter().map(|(key, entry)| (Key::clone(key), entry.totals)).collect()
    }

    /// Where one client's reports go.
    pub fn reporter(&self) -> Reporter {
        Reporter { loads: self.clone(), active: Vec::new() }
    }
}

/// Takes one client's reports. At its end none of its requests are under way any more.
#[derive(Debug)]
pub struct Reporter {
    loads: Loads,
    /// What its last report said to be under way.
    active: Vec<(Arc<Key>, u64)>,
}

impl Reporter {
    /// Adds a report; `known` says of which clusters the client was told.
    pub fn add(&mut self, report: &[ClusterStats], known: impl Fn(&str) -> bool) {
        let (loads, now) = (self.loads.clone(), Instant::now());
        let mut book = loads.book.lock();
        self.take_back(&mut book);
        for cluster in report {
            let name = Some(&*cluster.cluster_name).filter(|name| known(name)).unwrap_or_default();
            for locality in &cluster.upstream_locality_stats {
                let key = slot(&mut book, key(name, locality.locality.as_ref()), now);
                let active = locality.total_requests_in_progress;
                change(&mut book, &key, now, |totals| count(totals, locality));
                if active > 0 {
                    self.active.push((key, active));
                }
            }
            if cluster.total_dropped_requests > 0 {
                let key = slot(&mut book, key(name, None), now);
                change(&mut book, &key, now, |totals| {
                    totals.dropped = totals.dropped.saturating_add(cluster.total_dropped_requests);
                });
            }
        }
    }

    fn take_back(&mut self, book: &mut Book) {
        for (key, active) in self.active.drain(..) {
            if let Some(entry) = book.get_mut(&key) {
                entry.totals.active = entry.totals.active.saturating_sub(active);
            }
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let loads = self.loads.clone();
        self.take_back(&mut loads.book.lock());
    }
}

fn count(totals: &mut Totals, locality: &UpstreamLocalityStats) {
    totals.issued = totals.issued.saturating_add(locality.total_issued_requests);
    totals.succeeded = totals.succeeded.saturating_add(locality.total_successful_requests);
    totals.failed = totals.failed.saturating_add(locality.total_error_requests);
    totals.active = totals.active.saturating_add(locality.total_requests_in_progress);
}

/// The key under which this one counts: itself, unless there are too many.
fn slot(book: &mut Book, key: Key, now: Instant) -> Arc<Key> {
    if let Some((known, _)) = book.get_key_value(&key) {
        return known.clone();
    }
    let without = Key { cluster: key.cluster.clone(), ..Key::default() };
    let chosen = if has_room(book, &without) { key } else { without };
    let full = book.len() >= KEYS && !book.contains_key(&chosen);
    let chosen = Arc::new(if full { Key::default() } else { chosen });
    book.entry(chosen.clone())
        .or_insert_with(|| Entry { totals: Totals::default(), reported: now });
    chosen
}

/// Whether the cluster may have another locality.
fn has_room(book: &Book, cluster: &Key) -> bool {
    let range = book.range::<Key, _>((Bound::Included(cluster), Bound::Unbounded));
    let own = range.take_while(|(key, _)| key.cluster == cluster.cluster);
    own.take(LOCALITIES).count() < LOCALITIES
}

fn change(book: &mut Book, key: &Arc<Key>, now: Instant, change: impl FnOnce(&mut Totals)) {
    if let Some(entry) = book.get_mut(key) {
        entry.reported = now;
        change(&mut entry.totals);
    }
}

fn forget_old(book: &mut Book, now: Instant) {
    book.retain(|_, entry| {
        entry.totals.active > 0 || now.saturating_duration_since(entry.reported) < KEPT
    });
}

fn key(cluster: &str, locality: Option<&Locality>) -> Key {
    let cluster = cluster.to_owned();
    let bounded = |locality: &&Locality| {
        [&locality.region, &locality.zone, &locality.sub_zone]
            .iter()
            .all(|name| name.len() <= NAME_BYTES)
    };
    match locality.filter(bounded) {
        None => Key { cluster, ..Key::default() },
        Some(Locality { region, zone, sub_zone }) => {
            Key { cluster, region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn in_zone(zone: &str) -> UpstreamLocalityStats {
        UpstreamLocalityStats {
            locality: Some(Locality { zone: zone.into(), ..Locality::default() }),
            total_issued_requests: 5,
            total_successful_requests: 3,
            total_error_requests: 1,
            total_requests_in_progress: 2,
            ..Default::default()
        }
    }

    fn report(cluster: &str, zones: &[&str]) -> Vec<ClusterStats> {
        vec![ClusterStats {
            cluster_name: cluster.into(),
            upstream_locality_stats: zones.iter().map(|zone| in_zone(zone)).collect(),
            total_dropped_requests: 7,
            ..Default::default()
        }]
    }

    fn key(cluster: &str, zone: &str) -> Key {
        Key { cluster: cluster.into(), zone: zone.into(), ..Key::default() }
    }

    #[test]
    fn reports_add_up_by_cluster_and_locality_and_what_is_under_way_is_that_of_the_last() {
        let loads = Loads::default();
        let (mut one, mut other) = (loads.reporter(), loads.reporter());
        one.add(&report("c", &["a", "a"]), |_| true);
        one.add(&report("c", &["a"]), |_| true);
        other.add(&report("c", &["a"]), |_| true);
        let sums = |active| Totals { issued: 20, succeeded: 12, failed: 4, dropped: 0, active };
        let dropped = (key("c", ""), Totals { dropped: 21, ..Totals::default() });
        assert_eq!(loads.list(), [dropped.clone(), (key("c", "a"), sums(4))]);
        drop(one);
        assert_eq!(loads.list(), [dropped, (key("c", "a"), sums(2))]);
    }

    #[test]
    fn clusters_that_the_client_was_not_told_of_count_as_one() {
        let loads = Loads::default();
        let mut reporter = loads.reporter();
        for cluster in ["x", "y"] {
            reporter.add(&report(cluster, &["a"]), |name| name == "c");
        }
        let keys: Vec<Key> = loads.list().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [key("", ""), key("", "a")]);
    }

    #[test]
    fn what_has_too_many_or_too_long_localities_counts_without() {
        let loads = Loads::default();
        let mut reporter = loads.reporter();
        let zones: Vec<String> = (0..2 * LOCALITIES).map(|n| format!("zone-{n}")).collect();
        for zone in &zones {
            reporter.add(&report("c", &[zone]), |_| true);
        }
        reporter.add(&report("c", &[&"z".repeat(NAME_BYTES + 1)]), |_| true);
        let list = loads.list();
        let issued: u64 = list.iter().map(|(_, totals)| totals.issued).sum();
        assert_eq!((list.len(), issued), (LOCALITIES, 5 * (2 * LOCALITIES as u64 + 1)));
    }

    #[test]
    fn what_nobody_reports_any_more_is_forgotten_unless_it_is_under_way() {
        let loads = Loads::default();
        let mut reporter = loads.reporter();
        reporter.add(&report("c", &["a"]), |_| true);
        let mut book = loads.book.lock();
        forget_old(&mut book, Instant::now() + KEPT);
        assert_eq!(book.keys().map(|key| Key::clone(key)).collect::<Vec<_>>(), [key("c", "a")]);
        drop(book);
        drop(reporter);
        forget_old(&mut loads.book.lock(), Instant::now() + KEPT);
        assert_eq!(loads.list(), []);
    }
}
