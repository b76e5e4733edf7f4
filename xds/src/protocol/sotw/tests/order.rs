//! Make before break, and warming.

use mainstem_proto::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
use pretty_assertions::assert_eq;

use super::*;

fn settled() -> Sotw {
    let source = source(&CDS, &["c=c1"]);
    change(&source, &EDS, &["c=e1"]);
    change(&source, &LDS, &["l=l1"]);
    change(&source, &RDS, &["r=r1"]);
    let mut client = Sotw::new(&source);
    for (type_url, names) in [(CDS, vec![]), (EDS, vec!["c", "d"]), (LDS, vec![]), (RDS, vec!["r"])]
    {
        ask(&mut client, &type_url, &names);
        ask(&mut client, &type_url, &names);
    }
    assert!(client.state.settled());
    client
}

#[test]
fn rule_23_clusters_are_accepted_before_routes_change() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=r2"]);
    assert_eq!(client.change(&CDS, &["d=d1"]), ["CDS c1 d1"]);
    assert_eq!(ask(&mut client, &CDS, &[]), ["RDS r2"]);
}

#[test]
fn rule_23_changes_that_merge_wait_for_what_the_newest_refers_to() {
    let mut client = settled();
    change(&client.source, &LDS, &["l=l2"]);
    change(&client.source, &RDS, &["r=r2"]);
    assert_eq!(client.change(&CDS, &["d=d1"]), ["CDS c1 d1"]);
    change(&client.source, &CDS, &["e=e1"]);
    change(&client.source, &LDS, &["l=l3"]);
    assert_eq!(client.change(&RDS, &["r=r3"]), NOTHING);
    assert_eq!(ask(&mut client, &CDS, &[]), ["CDS c1 d1 e1"]);
    assert_eq!(ask(&mut client, &CDS, &[]), ["LDS l3", "RDS r3"]);
}

#[test]
fn rule_23_a_request_releases_nothing_else_that_is_held_back() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=r2", "new=n1"]);
    assert_eq!(client.change(&CDS, &["d=d1"]), ["CDS c1 d1"]);
    assert_eq!(ask(&mut client, &RDS, &["r", "new"]), ["RDS n1"]);
    assert_eq!(ask(&mut client, &RDS, &["r", "new"]), NOTHING);
    assert_eq!(ask(&mut client, &CDS, &[]), ["RDS r2"]);
}

#[test]
fn rule_23_a_new_listener_comes_with_the_others_as_they_were() {
    let mut client = Sotw::new(&source(&LDS, &["l=l1", "m=m1", "new=n1"]));
    for (type_url, names) in [(CDS, vec![]), (LDS, vec!["l", "m"])] {
        ask(&mut client, &type_url, &names);
        ask(&mut client, &type_url, &names);
    }
    change(&client.source, &LDS, &["l=l2", "-m"]);
    assert_eq!(client.change(&CDS, &["d=d1"]), ["CDS d1"]);
    assert_eq!(ask(&mut client, &LDS, &["l", "m", "new"]), ["LDS l1 m1 n1"]);
    assert_eq!(ask(&mut client, &LDS, &["l", "m", "new"]), NOTHING);
    assert_eq!(ask(&mut client, &CDS, &[]), ["LDS l2 n1"]);
}

#[test]
fn rule_23_what_is_tried_again_does_not_precede_its_clusters() {
    let mut client = settled();
    assert_eq!(client.change(&LDS, &["l=l2", "m=bad"]), ["LDS l2 bad"]);
    change(&client.source, &LDS, &["l=l3"]);
    assert_eq!(client.change(&CDS, &["d=d1"]), ["CDS c1 d1"]);
    assert_eq!(client.nack(&LDS, "m: bad"), NOTHING);
    assert_eq!(ask(&mut client, &CDS, &[]), ["LDS l3"]);
}

#[test]
fn rule_23_what_vanished_from_a_refused_response_waits_for_references() {
    let mut client = settled();
    assert_eq!(client.change(&CDS, &["c=c2", "d=bad"]), ["CDS c2 bad"]);
    change(&client.source, &RDS, &["r=r2"]);
    change(&client.source, &CDS, &["-c"]);
    assert_eq!(client.nack(&CDS, "d: bad"), ["RDS r2"]);
    assert_eq!(ask(&mut client, &RDS, &["r"]), ["CDS"]);
}

#[test]
fn rule_23_references_that_come_to_nothing_are_waited_for_no_longer() {
    let mut client = settled();
    // That a route configuration is gone is not told in this protocol.
    change(&client.source, &RDS, &["-r"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["CDS"]);
}

#[test]
fn rule_23_a_cluster_goes_when_nothing_refers_to_it_any_more() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=r2"]);
    change(&client.source, &CDS, &["d=d1"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["CDS c1 d1"]);
    assert_eq!(ask(&mut client, &CDS, &[]), ["RDS r2"]);
    // The removal is still to be told.
    assert_eq!(client.state.pending(&CDS), 1);
    assert_eq!(ask(&mut client, &RDS, &["r"]), ["CDS d1"]);
    assert_eq!(ask(&mut client, &CDS, &[]), NOTHING);
    assert_eq!(client.state.pending(&CDS), 0);
    assert!(client.state.settled());
}

#[test]
fn rule_23_a_cluster_that_nothing_ever_referred_to_goes_at_once() {
    let mut client = settled();
    assert_eq!(client.change(&CDS, &["-c"]), ["CDS"]);
}

#[test]
fn rule_24_a_changed_cluster_gets_its_endpoints_again() {
    let cluster = |change: &str| {
        let eds_cluster_config = Some(EdsClusterConfig::default());
        let cluster = Cluster {
            name: "c".into(),
            eds_cluster_config,
            alt_stat_name: change.into(),
            ..Default::default()
        };
        Resource::of("c", &cluster)
    };
    let source = source(&EDS, &["c=1", "d=1"]);
    source.set(cluster("1"));
    let mut client = Sotw::new(&source);
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &EDS, &["c", "d"]);
    ask(&mut client, &EDS, &["c", "d"]);
    source.set(cluster("2"));
    assert_eq!(client.poll().len(), 2);
    assert_eq!(client.latest[&EDS].resources.len(), 1);
    // An unchanged cluster beside a changed one needs nothing.
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &EDS, &["c", "d"]);
    assert_eq!(client.change(&CDS, &["other=1"]).len(), 1);
}
