//! What follows from a NACK.

use pretty_assertions::assert_eq;

use super::*;

#[test]
fn rule_07_an_error_detail_is_a_nack_whatever_the_version_says() {
    let mut client = Sotw::new(&source(&EDS, &["a=1"]));
    ask(&mut client, &EDS, &["a"]);
    let error =
        mainstem_proto::google::rpc::Status { code: 3, message: "a: bad".into(), details: vec![] };
    let request = DiscoveryRequest { error_detail: Some(error), ..want(&client, &EDS, &["a"]) };
    let Verdict::Nack(_, rejection) = client.try_send(request).unwrap() else { panic!("a NACK") };
    assert_eq!((rejection.code, &*rejection.message), (3, "a: bad"));
    assert_eq!(client.poll(), NOTHING);
}

#[test]
fn rule_07_the_last_accepted_bytes_stand_in_for_the_refused_ones() {
    let mut client = Sotw::new(&source(&CDS, &["a=old", "b=1"]));
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &CDS, &[]);
    let accepted = client.latest[&CDS].version_info.clone();
    assert_eq!(client.change(&CDS, &["a=bad", "b=2"]), ["CDS bad 2"]);
    assert_eq!(client.nack(&CDS, "a: bad"), ["CDS old 2"]);
    assert_ne!(client.latest[&CDS].version_info, accepted);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert_eq!(client.change(&CDS, &["c=1"]), ["CDS old 2 1"]);
    client.ack(&CDS);
    assert_eq!(client.refused(&CDS), ["a"]);
    assert_eq!(client.change(&CDS, &["a=good"]), ["CDS good 2 1"]);
    assert_eq!(client.refused(&CDS), NOTHING);
}

#[test]
fn rule_07_a_new_resource_that_is_refused_stays_out() {
    let mut client = Sotw::new(&source(&CDS, &["a=1"]));
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.change(&CDS, &["b=bad"]), ["CDS 1 bad"]);
    assert_eq!(client.nack(&CDS, "no"), NOTHING);
    assert_eq!(client.change(&CDS, &["c=1"]), ["CDS 1 1"]);
}

#[test]
fn rule_07_halves_are_tried_when_no_culprit_is_named() {
    let mut client = Sotw::new(&source(&CDS, &["a=1", "b=1", "c=bad", "d=1"]));
    assert_eq!(ask(&mut client, &CDS, &[]), ["CDS 1 1 bad 1"]);
    assert_eq!(client.nack(&CDS, "no"), ["CDS 1 1"]);
    assert_eq!(client.ack(&CDS), ["CDS 1 1 bad 1"]);
    assert_eq!(client.nack(&CDS, "no"), ["CDS 1 1 bad"]);
    assert_eq!(client.nack(&CDS, "no"), ["CDS 1 1 1"]);
    assert_eq!(client.ack(&CDS), NOTHING);
}

#[test]
fn rule_07_partial_types_leave_the_culprit_out() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=bad", "c=1"]));
    ask(&mut client, &EDS, &["a", "b", "c"]);
    let error =
        mainstem_proto::google::rpc::Status { code: 3, message: "b: bad".into(), details: vec![] };
    let nack =
        DiscoveryRequest { error_detail: Some(error), ..want(&client, &EDS, &["a", "b", "c"]) };
    assert_eq!(client.send(nack), ["EDS 1 1"]);
    assert_eq!(ask(&mut client, &EDS, &["a", "b", "c"]), NOTHING);
    assert_eq!(client.change(&EDS, &["b=2"]), ["EDS 2"]);
}

#[test]
fn rule_07_what_is_no_longer_asked_for_is_not_tried_again() {
    let mut client = Sotw::new(&source(&LDS, &["a=1", "b=1", "c=bad"]));
    ask(&mut client, &LDS, &["a", "b", "c"]);
    let error =
        mainstem_proto::google::rpc::Status { code: 3, message: "c: bad".into(), details: vec![] };
    let nack = DiscoveryRequest { error_detail: Some(error), ..want(&client, &LDS, &["a", "c"]) };
    assert_eq!(client.send(nack), ["LDS 1"]);
}

#[test]
fn rule_07_a_refused_removal_is_not_repeated_until_something_changes() {
    let mut client = Sotw::new(&source(&CDS, &["a=1", "b=1"]));
    ask(&mut client, &CDS, &[]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.change(&CDS, &["-b"]), ["CDS 1"]);
    assert_eq!(client.nack(&CDS, "no"), NOTHING);
    assert_eq!(client.change(&CDS, &["a=2"]), ["CDS 2"]);
}
