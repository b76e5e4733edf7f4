//! What clients report to have sent where.

use std::collections::BTreeMap;
use std::fmt;

use mainstem_xds::Loads;
use mainstem_xds::loads::{Key, Totals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The cluster of all that reports name and their clients were not told of.
const UNKNOWN: &str = "unknown";

/// Reads the sums of all reports at each scrape.
///
/// Sub-zones are left out: those of gRPC's clients are made for weights.
#[derive(Debug)]
pub(super) struct LoadMetrics(pub(super) Loads);

/// Cluster, region and zone.
type Place = (String, String, String);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for LoadMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let places = by_zone(self.0.list());
        requests(&mut encoder, &places)?;
        dropped(&mut encoder, &places)?;
        active(&mut encoder, &places)
    }
}

fn by_zone(list: Vec<(Key, Totals)>) -> BTreeMap<Place, Totals> {
    let mut places: BTreeMap<Place, Totals> = BTreeMap::new();
    for (key, totals) in list {
        let cluster = if key.cluster.is_empty() { UNKNOWN.to_owned() } else { key.cluster };
        let sum = places.entry((cluster, key.region, key.zone)).or_default();
        sum.succeeded = sum.succeeded.saturating_add(totals.succeeded);
        sum.failed = sum.failed.saturating_add(totals.failed);
        sum.dropped = sum.dropped.saturating_add(totals.dropped);
        sum.active = sum.active.saturating_add(totals.active);
    }
    places
}

fn labels((cluster, region, zone): &Place) -> Labels<'_> {
    vec![("cluster", cluster), ("region", region), ("zone", zone)]
}

fn requests(encoder: &mut DescriptorEncoder<'_>, places: &BTreeMap<Place, Totals>) -> fmt::Result {
    let help = "Requests that clients report to have sent to a cluster's endpoints in a zone";
    let mut family =
        encoder.encode_descriptor("mainstem_load_requests", help, None, MetricType::Counter)?;
    for (place, totals) in places {
        for (result, count) in [("succeeded", totals.succeeded), ("failed", totals.failed)] {
            let mut labels = labels(place);
            labels.push(("result", result));
            counter(family.encode_family(&labels)?, count)?;
        }
    }
    Ok(())
}

fn dropped(encoder: &mut DescriptorEncoder<'_>, places: &BTreeMap<Place, Totals>) -> fmt::Result {
    let mut clusters: BTreeMap<&str, u64> = BTreeMap::new();
    for ((cluster, ..), totals) in places {
        let sum = clusters.entry(cluster).or_default();
        *sum = sum.saturating_add(totals.dropped);
    }
    let help = "Requests for a cluster that clients report to have dropped";
    let name = "mainstem_load_requests_dropped";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (cluster, count) in clusters {
        counter(family.encode_family(&vec![("cluster", cluster)])?, count)?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn active(encoder: &mut DescriptorEncoder<'_>, places: &BTreeMap<Place, Totals>) -> fmt::Result {
    let help = "Requests under way to a cluster's endpoints in a zone, by the last reports";
    let name = "mainstem_load_requests_active";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (place, totals) in places {
        ConstGauge::new(totals.active as f64).encode(family.encode_family(&labels(place))?)?;
    }
    Ok(())
}

fn counter(encoder: MetricEncoder<'_>, count: u64) -> fmt::Result {
    ConstCounter::new(count).encode(encoder)
}

#[cfg(test)]
mod tests {
    use mainstem_proto::envoy::config::core::v3::Locality;
    use mainstem_proto::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
    use pretty_assertions::assert_eq;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn report(cluster: &str, sub_zones: &[&str]) -> ClusterStats {
        let of = |sub_zone: &&str| UpstreamLocalityStats {
            locality: Some(Locality {
                region: "eu".into(),
                zone: "eu-1".into(),
                sub_zone: (*sub_zone).into(),
            }),
            total_successful_requests: 3,
            total_error_requests: 1,
            total_requests_in_progress: 2,
            ..Default::default()
        };
        ClusterStats {
            cluster_name: cluster.into(),
            upstream_locality_stats: sub_zones.iter().map(of).collect(),
            total_dropped_requests: 5,
            ..Default::default()
        }
    }

    #[test]
    fn loads_are_told_by_cluster_and_zone() {
        let loads = Loads::default();
        let mut reporter = loads.reporter();
        reporter.add(&[report("web", &["a", "b~2"]), report("forged", &[])], |name| name == "web");
        let mut registry = Registry::default();
        registry.register_collector(Box::new(LoadMetrics(loads)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"mainstem_load_requests_total{cluster="unknown",region="",zone="",result="succeeded"} 0"#,
            r#"mainstem_load_requests_total{cluster="unknown",region="",zone="",result="failed"} 0"#,
            r#"mainstem_load_requests_total{cluster="web",region="",zone="",result="succeeded"} 0"#,
            r#"mainstem_load_requests_total{cluster="web",region="",zone="",result="failed"} 0"#,
            r#"mainstem_load_requests_total{cluster="web",region="eu",zone="eu-1",result="succeeded"} 6"#,
            r#"mainstem_load_requests_total{cluster="web",region="eu",zone="eu-1",result="failed"} 2"#,
            r#"mainstem_load_requests_dropped_total{cluster="unknown"} 5"#,
            r#"mainstem_load_requests_dropped_total{cluster="web"} 5"#,
            r#"mainstem_load_requests_active{cluster="unknown",region="",zone=""} 0.0"#,
            r#"mainstem_load_requests_active{cluster="web",region="",zone=""} 0.0"#,
            r#"mainstem_load_requests_active{cluster="web",region="eu",zone="eu-1"} 4.0"#,
        ];
        assert_eq!(samples, expected);
    }
}
