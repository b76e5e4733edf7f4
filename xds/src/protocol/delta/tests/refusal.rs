//! What follows from a NACK.

use pretty_assertions::assert_eq;

use super::*;
use crate::protocol::Rejection;

#[test]
fn rule_07_a_refused_resource_is_not_sent_again_until_it_changes() {
    let mut client = Delta::new(&source(&CDS, &["a=bad"]));
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=bad"]);
    assert_eq!(client.nack(&CDS, "no"), NOTHING);
    assert_eq!(client.change(&CDS, &["b=1"]), ["CDS b=1"]);
    client.ack(&CDS);
    assert_eq!(client.refused(&CDS), ["a"]);
    assert_eq!(client.change(&CDS, &["a=good"]), ["CDS a=good"]);
    client.ack(&CDS);
    assert_eq!(client.refused(&CDS), NOTHING);
    assert_eq!(client.change(&CDS, &["a=bad"]), ["CDS a=bad"]);
}

#[test]
fn rule_07_code_message_and_culprits_are_told() {
    let mut client = Delta::new(&source(&CDS, &["a=bad", "b=1"]));
    client.send(ask(&CDS, &[]));
    let status =
        mainstem_proto::google::rpc::Status { code: 13, message: "a: bad".into(), details: vec![] };
    let nack = DeltaDiscoveryRequest {
        type_url: CDS.to_string(),
        response_nonce: client.latest[&CDS].nonce.clone(),
        error_detail: Some(status),
        ..Default::default()
    };
    let Verdict::Nack(_, rejection) = client.try_send(nack).unwrap() else { panic!("a NACK") };
    assert_eq!(
        rejection,
        Rejection { code: 13, message: "a: bad".into(), culprits: vec!["a".into()] }
    );
}

#[test]
fn rule_07_all_but_the_named_culprits_are_sent_again() {
    let mut client = Delta::new(&source(&CDS, &["a=1", "b=bad", "c=1"]));
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1 b=bad c=1"]);
    assert_eq!(client.nack(&CDS, "Error adding cluster(s) b: bad"), ["CDS a=1 c=1"]);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert!(client.state.settled());
}

#[test]
fn rule_07_halves_are_tried_when_no_culprit_is_named() {
    let mut client = Delta::new(&source(&CDS, &["a=1", "b=1", "c=bad", "d=1"]));
    client.send(ask(&CDS, &[]));
    assert_eq!(client.nack(&CDS, "no"), ["CDS a=1 b=1"]);
    assert_eq!(client.ack(&CDS), ["CDS c=bad d=1"]);
    assert_eq!(client.nack(&CDS, "no"), ["CDS c=bad"]);
    assert_eq!(client.nack(&CDS, "no"), ["CDS d=1"]);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert_eq!(client.change(&CDS, &["c=1"]), ["CDS c=1"]);
}

#[test]
fn rule_07_a_removal_refused_together_with_a_resource_is_repeated() {
    let mut client = Delta::new(&source(&EDS, &["a=1", "b=1"]));
    client.send(ask(&EDS, &["a", "b"]));
    client.ack(&EDS);
    assert_eq!(client.change(&EDS, &["a=bad", "-b"]), ["EDS a=bad -b"]);
    assert_eq!(client.nack(&EDS, "a: bad"), ["EDS -b"]);
    assert_eq!(client.ack(&EDS), NOTHING);
}

#[test]
fn rule_07_an_error_for_a_stale_nonce_is_no_nack() {
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    client.send(ask(&CDS, &[]));
    let old = client.latest[&CDS].clone();
    client.ack(&CDS);
    client.change(&CDS, &["a=2"]);
    client.latest.insert(CDS, old);
    assert_eq!(client.nack(&CDS, "late"), NOTHING);
    assert!(!client.state.settled());
}

#[test]
fn changes_during_the_search_for_a_culprit_follow_it() {
    let mut client = Delta::new(&source(&CDS, &["a=bad", "b=1"]));
    client.send(ask(&CDS, &[]));
    assert_eq!(client.nack(&CDS, "no"), ["CDS a=bad"]);
    assert_eq!(client.change(&CDS, &["c=1", "b=2"]), NOTHING);
    assert_eq!(client.nack(&CDS, "no"), ["CDS b=2"]);
    assert_eq!(client.ack(&CDS), ["CDS b=2 c=1"]);
}
