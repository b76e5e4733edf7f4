//! Make before break across types, and warming, of both variants.

use mainstem_proto::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
use mainstem_xds::Resource;
use pretty_assertions::assert_eq;

use crate::client::{CDS, Delta, EDS, LDS, RDS, Sotw, change, serve};
use crate::common::{Running, mesh};

/// A cluster that gets its endpoints by EDS.
fn cluster(name: &str, alt_stat_name: &str) -> Resource {
    Resource::of(
        name,
        &Cluster {
            name: name.into(),
            eds_cluster_config: Some(EdsClusterConfig::default()),
            alt_stat_name: alt_stat_name.into(),
            ..Cluster::default()
        },
    )
}

async fn running() -> Running {
    let running = serve(&CDS, &["c=1"]).await;
    change(&running.source, &EDS, &["c=1"]);
    change(&running.source, &LDS, &["l=1"]);
    change(&running.source, &RDS, &["r=1"]);
    running
}

#[tokio::test]
async fn rule_23_delta_makes_before_it_breaks() {
    let running = running().await;
    let mut client = Delta::open(&running).await;
    client.settle(&CDS, &[]).await;
    client.settle(&EDS, &["c"]).await;
    client.settle(&LDS, &[]).await;
    client.settle(&RDS, &["r"]).await;
    client.silent().await;
    running.source.update(|batch| {
        let resource = |type_url, name: &str| Resource::new(type_url, name, "2".to_owned());
        batch.set(resource(&RDS, "r")).set(resource(&CDS, "d")).remove(&CDS, "c");
    });
    assert_eq!(client.next().await, "CDS d=2");
    client.silent().await;
    client.ack(&CDS);
    assert_eq!(client.next().await, "RDS r=2");
    client.silent().await;
    client.ack(&RDS);
    assert_eq!(client.next().await, "CDS -c");
}

#[tokio::test]
async fn rule_23_sotw_makes_before_it_breaks() {
    let running = running().await;
    let mut client = Sotw::open(&running).await;
    client.settle(&CDS, &[]).await;
    client.settle(&LDS, &[]).await;
    client.settle(&RDS, &["r"]).await;
    client.silent().await;
    running.source.update(|batch| {
        let resource = |type_url, name: &str| Resource::new(type_url, name, "2".to_owned());
        batch.set(resource(&RDS, "r")).set(resource(&CDS, "d")).remove(&CDS, "c");
    });
    assert_eq!(client.next().await, "CDS 1 2");
    client.silent().await;
    client.ask(&CDS, &[]);
    assert_eq!(client.next().await, "RDS 2");
    client.ask(&RDS, &["r"]);
    assert_eq!(client.next().await, "CDS 2");
}

#[tokio::test]
async fn rule_24_a_changed_cluster_gets_its_endpoints_and_a_new_listener_its_routes() {
    let running = serve(&EDS, &["c=1"]).await;
    running.source.set(cluster("c", "1"));
    running.source.set(mesh::resource_of_listener(&mesh::listener("l", 1, "r")));
    change(&running.source, &RDS, &["r=1"]);
    let mut delta = Delta::open(&running).await;
    let mut sotw = Sotw::open(&running).await;
    for (type_url, names) in [(CDS, &[][..]), (EDS, &["c"]), (LDS, &[]), (RDS, &["r"])] {
        delta.settle(&type_url, names).await;
        sotw.settle(&type_url, names).await;
    }
    delta.silent().await;
    sotw.silent().await;

    running.source.set(cluster("c", "2"));
    assert_eq!(delta.next().await, "CDS c");
    delta.ack(&CDS);
    assert_eq!(delta.next().await, "EDS c=1");
    delta.ack(&EDS);
    assert_eq!(sotw.next().await, "CDS …");
    sotw.ask(&CDS, &[]);
    assert_eq!(sotw.next().await, "EDS 1");
    sotw.ask(&EDS, &["c"]);

    running.source.set(mesh::resource_of_listener(&mesh::listener("l", 2, "r")));
    assert_eq!(delta.next().await, "LDS l");
    delta.ack(&LDS);
    assert_eq!(delta.next().await, "RDS r=1");
    assert_eq!(sotw.next().await, "LDS …");
    sotw.ask(&LDS, &[]);
    assert_eq!(sotw.next().await, "RDS 1");
}
