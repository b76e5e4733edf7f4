//! Make before break, and warming.

use std::time::Duration;

use mainstem_proto::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
use pretty_assertions::assert_eq;

use super::*;

/// A cluster that gets its endpoints by EDS.
fn cluster(name: &str, change: u32) -> Resource {
    let cluster = Cluster {
        name: name.into(),
        eds_cluster_config: Some(EdsClusterConfig::default()),
        alt_stat_name: change.to_string(),
        ..Default::default()
    };
    Resource::of(name, &cluster)
}

/// A client that has accepted everything of all four types.
fn settled() -> Delta {
    let source = source(&CDS, &["c=1"]);
    change(&source, &EDS, &["c=1"]);
    change(&source, &LDS, &["l=1"]);
    change(&source, &RDS, &["r=1"]);
    let mut client = Delta::new(&source);
    for (type_url, names) in [(CDS, vec![]), (EDS, vec!["c", "d"]), (LDS, vec![]), (RDS, vec!["r"])]
    {
        client.send(ask(&type_url, &names));
        client.ack(&type_url);
    }
    assert!(client.state.settled());
    client
}

#[test]
fn rule_23_clusters_are_accepted_before_routes_change() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2"]);
    change(&client.source, &CDS, &["d=1"]);
    assert_eq!(client.poll(), ["CDS d=1"]);
    assert_eq!(client.ack(&CDS), ["RDS r=2"]);
}

#[test]
fn rule_23_changes_that_merge_wait_for_what_the_newest_refers_to() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2"]);
    assert_eq!(client.change(&CDS, &["d=1"]), ["CDS d=1"]);
    change(&client.source, &CDS, &["e=1"]);
    assert_eq!(client.change(&RDS, &["r=3"]), NOTHING);
    assert_eq!(client.ack(&CDS), ["CDS e=1"]);
    assert_eq!(client.ack(&CDS), ["RDS r=3"]);
}

#[test]
fn rule_23_under_steady_changes_routes_wait_no_longer_than_they_may() {
    let mut client = settled();
    let second = Duration::from_secs(1);
    for (change_of, sent) in [("1", vec!["CDS d=1"]), ("2", vec![])] {
        change(&client.source, &RDS, &[&format!("r={change_of}2")]);
        assert_eq!(client.change(&CDS, &[&format!("d={change_of}")]), sent);
        client.after(second);
    }
    // The hold began with the oldest of the changes that wait.
    assert_eq!(client.responses.len(), 1);
    assert_eq!(client.latest[&RDS].resources[0].resource.as_ref().unwrap().value, "22");
}

#[test]
fn rule_23_a_request_releases_nothing_else_that_is_held_back() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2", "new=1"]);
    assert_eq!(client.change(&CDS, &["d=1"]), ["CDS d=1"]);
    assert_eq!(client.send(ask(&RDS, &["new"])), ["RDS new=1"]);
    assert_eq!(client.ack(&RDS), NOTHING);
    assert_eq!(client.ack(&CDS), ["RDS r=2"]);
}

#[test]
fn rule_23_what_is_tried_again_does_not_precede_its_clusters() {
    let mut client = settled();
    client.send(ask(&RDS, &["s"]));
    client.ack(&RDS);
    assert_eq!(client.change(&RDS, &["r=2", "s=bad"]), ["RDS r=2 s=bad"]);
    change(&client.source, &RDS, &["r=3"]);
    assert_eq!(client.change(&CDS, &["d=1"]), ["CDS d=1"]);
    assert_eq!(client.nack(&RDS, "s: bad"), NOTHING);
    assert_eq!(client.ack(&CDS), ["RDS r=3"]);
}

#[test]
fn rule_23_what_vanished_from_a_refused_response_waits_for_references() {
    let mut client = settled();
    assert_eq!(client.change(&CDS, &["c=2", "d=bad"]), ["CDS c=2 d=bad"]);
    change(&client.source, &RDS, &["r=2"]);
    change(&client.source, &CDS, &["-c"]);
    assert_eq!(client.nack(&CDS, "d: bad"), ["RDS r=2"]);
    assert_eq!(client.ack(&RDS), ["CDS -c"]);
}

#[test]
fn rule_23_a_route_that_goes_is_gone_before_what_it_referred_to() {
    let mut client = settled();
    assert_eq!(client.change(&RDS, &["r=2"]), ["RDS r=2"]);
    assert_eq!(client.change(&LDS, &["l=2"]), ["LDS l=2"]);
    // The route is told neither without the cluster nor gone, but as it is then.
    change(&client.source, &RDS, &["r=3"]);
    assert_eq!(client.change(&CDS, &["-c"]), NOTHING);
    change(&client.source, &RDS, &["-r"]);
    assert_eq!(client.change(&LDS, &["l=3"]), NOTHING);
    assert_eq!(client.ack(&RDS), NOTHING);
    assert_eq!(client.ack(&LDS), ["LDS l=3"]);
    assert_eq!(client.ack(&LDS), ["RDS -r"]);
    assert_eq!(client.ack(&RDS), ["CDS -c"]);
}

#[test]
fn rule_23_references_that_come_to_nothing_are_waited_for_no_longer() {
    let mut client = settled();
    assert_eq!(client.change(&RDS, &["r=bad"]), ["RDS r=bad"]);
    client.nack(&RDS, "no");
    // Back to what was refused before anything of it was sent.
    change(&client.source, &RDS, &["r=2"]);
    change(&client.source, &RDS, &["r=bad"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["CDS -c"]);
}

#[test]
fn rule_23_types_go_out_in_order() {
    let mut client = settled();
    for type_url in [RDS, LDS, EDS] {
        change(&client.source, &type_url, &["r=2", "l=2", "c=2"]);
    }
    assert_eq!(client.poll(), ["EDS c=2"]);
    assert_eq!(client.ack(&EDS), ["LDS c=2 l=2 r=2", "RDS r=2"]);
}

#[test]
fn rule_23_a_client_that_never_accepts_clusters_gets_its_routes_in_the_end() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2"]);
    assert_eq!(client.change(&CDS, &["d=1"]), ["CDS d=1"]);
    let deadline = client.state.deadline(client.now).unwrap();
    assert_eq!(deadline - client.now, Limits::default().hold_back);
    assert_eq!(client.after(Limits::default().hold_back - Duration::from_millis(1)), NOTHING);
    assert_eq!(client.after(Duration::from_millis(1)), ["RDS r=2"]);
    assert_eq!(client.state.deadline(client.now), None);
}

#[test]
fn rule_23_what_a_client_asks_for_is_not_held_back() {
    let mut client = settled();
    change(&client.source, &RDS, &["new=1"]);
    assert_eq!(client.change(&CDS, &["d=1"]), ["CDS d=1"]);
    assert_eq!(client.send(ask(&RDS, &["new"])), ["RDS new=1"]);
}

#[test]
fn rule_23_a_cluster_goes_when_nothing_refers_to_it_any_more() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["RDS r=2"]);
    assert_eq!(client.ack(&RDS), ["CDS -c"]);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert!(client.state.settled());
}

#[test]
fn rule_23_load_assignments_go_after_their_clusters() {
    let mut client = settled();
    change(&client.source, &EDS, &["-c"]);
    change(&client.source, &RDS, &["r=2"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["RDS r=2"]);
    assert_eq!(client.ack(&RDS), ["CDS -c"]);
    assert_eq!(client.ack(&CDS), ["EDS -c"]);
}

#[test]
fn rule_23_a_route_configuration_goes_after_its_listener() {
    let mut client = settled();
    change(&client.source, &RDS, &["-r"]);
    assert_eq!(client.change(&LDS, &["l=2"]), ["LDS l=2"]);
    assert_eq!(client.ack(&LDS), ["RDS -r"]);
}

#[test]
fn rule_23_a_removed_cluster_that_returns_was_never_removed() {
    let mut client = settled();
    change(&client.source, &RDS, &["r=2"]);
    assert_eq!(client.change(&CDS, &["-c"]), ["RDS r=2"]);
    assert_eq!(client.change(&CDS, &["c=2"]), ["CDS c=2"]);
    assert_eq!(client.ack(&RDS), NOTHING);
    assert_eq!(client.ack(&CDS), NOTHING);
}

#[test]
fn rule_23_removals_do_not_wait_for_types_that_nobody_asked_for() {
    let mut client = Delta::new(&source(&CDS, &["c=1"]));
    client.send(ask(&CDS, &[]));
    client.ack(&CDS);
    assert_eq!(client.change(&CDS, &["-c"]), ["CDS -c"]);
}

#[test]
fn rule_24_a_changed_cluster_gets_its_endpoints_again() {
    let source = source(&EDS, &["c=1", "d=1"]);
    source.set(cluster("c", 1));
    source.set(cluster("d", 1));
    let mut client = Delta::new(&source);
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS c d"]);
    client.ack(&CDS);
    assert_eq!(client.send(ask(&EDS, &["c", "d"])), ["EDS c=1 d=1"]);
    client.ack(&EDS);
    source.set(cluster("c", 2));
    assert_eq!(client.poll(), ["CDS c", "EDS c=1"]);
}

#[test]
fn rule_24_also_after_an_update_in_flight() {
    let source = source(&EDS, &["c=1"]);
    source.set(cluster("c", 1));
    let mut client = Delta::new(&source);
    client.send(ask(&CDS, &[]));
    client.ack(&CDS);
    client.send(ask(&EDS, &["c"]));
    source.set(cluster("c", 2));
    // The load assignment in flight was sent before the cluster, and warms the old one.
    assert_eq!(client.poll(), ["CDS c"]);
    assert_eq!(client.ack(&EDS), ["EDS c=1"]);
}

#[test]
fn rule_24_a_changed_listener_gets_its_routes_again() {
    use mainstem_proto::any;
    use mainstem_proto::envoy::config::listener::v3::{ApiListener, Listener};
    use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3 as http;
    let source = source(&RDS, &["r=1"]);
    let listener = |port: &str| {
        let rds = http::Rds { route_config_name: "r".into(), ..Default::default() };
        let specifier = http::http_connection_manager::RouteSpecifier::Rds(rds);
        let manager = http::HttpConnectionManager {
            stat_prefix: port.into(),
            route_specifier: Some(specifier),
            ..Default::default()
        };
        let api_listener = Some(ApiListener { api_listener: Some(any(&manager)) });
        Resource::of("l", &Listener { name: "l".into(), api_listener, ..Default::default() })
    };
    source.set(listener("80"));
    let mut client = Delta::new(&source);
    client.send(ask(&LDS, &[]));
    client.ack(&LDS);
    assert_eq!(client.send(ask(&RDS, &["r"])), ["RDS r=1"]);
    client.ack(&RDS);
    source.set(listener("81"));
    assert_eq!(client.poll().len(), 2);
    assert_eq!(client.responses[1].resources[0].name, "r");
}

#[test]
fn rule_21_a_changed_route_configuration_gets_its_virtual_hosts_again() {
    let source = source(&RDS, &["rc=1"]);
    change(&source, &VHDS, &["rc/a=1", "other/a=1"]);
    let mut client = Delta::new(&source);
    client.send(ask(&RDS, &["rc"]));
    client.ack(&RDS);
    client.send(ask(&VHDS, &["rc/a", "other/a"]));
    client.ack(&VHDS);
    assert_eq!(client.change(&RDS, &["rc=2"]), ["RDS rc=2", "VHDS rc/a=1"]);
}
