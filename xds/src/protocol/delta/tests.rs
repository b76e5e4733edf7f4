//! The rules of the delta protocol, by their numbers, and those of both
//! variants as far as they concern it.
#![allow(clippy::unwrap_used)]

mod lifecycle;
mod order;
mod refusal;

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use pretty_assertions::assert_eq;

use crate::limits::Limits;
use crate::names::TypeUrl;
use crate::protocol::harness::{Delta, ask, change, source};
use crate::protocol::{ProtocolError, Verdict};
use crate::resource::Resource;
use crate::static_source::StaticSource;
use crate::version::Version;

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
const LDS: TypeUrl = TypeUrl::LISTENER;
const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
const VHDS: TypeUrl = TypeUrl::VIRTUAL_HOST;
const NOTHING: [&str; 0] = [];

#[test]
fn rule_02_a_request_without_a_type_is_invalid() {
    let mut client = Delta::new(&StaticSource::new());
    let error = client.try_send(DeltaDiscoveryRequest::default()).unwrap_err();
    assert_eq!(error, ProtocolError::MissingType);
    assert_eq!(tonic::Status::from(error).code(), tonic::Code::InvalidArgument);
}

#[test]
fn rule_03_types_are_independent() {
    let source = source(&CDS, &["c=1"]);
    change(&source, &EDS, &["e=1"]);
    let mut client = Delta::new(&source);
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS c=1"]);
    // The clusters are not accepted yet, and load assignments flow all the same.
    assert_eq!(client.send(ask(&EDS, &["e"])), ["EDS e=1"]);
    assert_eq!(client.ack(&EDS), NOTHING);
    assert_eq!(client.change(&EDS, &["e=2"]), ["EDS e=2"]);
}

#[test]
fn rule_03_changes_without_an_ack_merge_into_one_update() {
    let mut client = Delta::new(&source(&CDS, &["a=1", "b=1"]));
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1 b=1"]);
    assert_eq!(client.change(&CDS, &["a=2"]), NOTHING);
    assert_eq!(client.change(&CDS, &["a=3"]), NOTHING);
    assert_eq!(client.change(&CDS, &["-b", "c=1"]), NOTHING);
    assert_eq!(client.state.pending(&CDS), 3);
    assert_eq!(client.ack(&CDS), ["CDS a=3 c=1 -b"]);
}

#[test]
fn rule_04_every_nonce_is_another_one() {
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    client.send(ask(&CDS, &[]));
    let first = client.latest[&CDS].nonce.clone();
    client.ack(&CDS);
    client.change(&CDS, &["a=2"]);
    assert_ne!(client.latest[&CDS].nonce, first);
    assert!(!first.is_empty());
}

#[test]
fn rule_15_asking_for_nothing_first_is_asking_for_everything() {
    let mut client = Delta::new(&source(&CDS, &["a=1", "b=1"]));
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1 b=1"]);
    client.ack(&CDS);
    // A named subscription beside it does not end it.
    assert_eq!(client.send(ask(&CDS, &["a"])), ["CDS a=1"]);
    client.ack(&CDS);
    assert_eq!(client.change(&CDS, &["c=1"]), ["CDS c=1"]);
    client.ack(&CDS);
    assert_eq!(client.send(ask(&CDS, &["-*"])), NOTHING);
    assert_eq!(client.change(&CDS, &["a=2", "c=2"]), ["CDS a=2"]);
}

#[test]
fn rule_15_subscriptions_add_up() {
    let mut client = Delta::new(&source(&EDS, &["a=1", "b=1", "c=1"]));
    assert_eq!(client.send(ask(&EDS, &["a"])), ["EDS a=1"]);
    client.ack(&EDS);
    assert_eq!(client.send(ask(&EDS, &["b"])), ["EDS b=1"]);
    client.ack(&EDS);
    assert_eq!(client.send(ask(&EDS, &[])), NOTHING);
    assert_eq!(client.change(&EDS, &["a=2", "b=2", "c=2"]), ["EDS a=2 b=2"]);
    client.ack(&EDS);
    assert_eq!(client.send(ask(&EDS, &["-a"])), NOTHING);
    assert_eq!(client.change(&EDS, &["a=3", "b=3"]), ["EDS b=3"]);
}

#[test]
fn rule_15_everything_there_is_may_be_nothing_and_is_said() {
    let mut client = Delta::new(&StaticSource::new());
    assert_eq!(client.send(ask(&LDS, &[])), ["LDS"]);
    assert_eq!(client.ack(&LDS), NOTHING);
    assert_eq!(client.send(ask(&CDS, &["*"])), ["CDS"]);
}

#[test]
fn rule_16_a_stale_nonce_neither_accepts_nor_loses_a_subscription() {
    let mut client = Delta::new(&source(&EDS, &["a=1", "b=1"]));
    client.send(ask(&EDS, &["a"]));
    let stale = DeltaDiscoveryRequest { response_nonce: "7-ffff".into(), ..ask(&EDS, &["b"]) };
    assert_eq!(client.try_send(stale).unwrap(), Verdict::Stale);
    // Still without an ACK, so nothing more is sent yet.
    assert_eq!(client.poll(), NOTHING);
    assert_eq!(client.ack(&EDS), ["EDS b=1"]);
}

#[test]
fn rule_17_what_is_subscribed_is_sent_even_if_it_is_held() {
    let mut client = Delta::new(&source(&EDS, &["a=1"]));
    assert_eq!(client.send(ask(&EDS, &["a"])), ["EDS a=1"]);
    client.ack(&EDS);
    assert_eq!(client.send(ask(&EDS, &["a"])), ["EDS a=1"]);
}

#[test]
fn rule_17_a_phantom_unsubscription_is_ignored() {
    let mut client = Delta::new(&source(&EDS, &["a=1"]));
    assert_eq!(client.send(ask(&EDS, &["a"])), ["EDS a=1"]);
    client.ack(&EDS);
    assert_eq!(client.send(ask(&EDS, &["-never"])), NOTHING);
    assert_eq!(client.change(&EDS, &["a=2"]), ["EDS a=2"]);
}

#[test]
fn rule_18_an_absent_name_is_removed_and_watched() {
    let mut client = Delta::new(&StaticSource::new());
    assert_eq!(client.send(ask(&EDS, &["a"])), ["EDS -a"]);
    client.ack(&EDS);
    assert_eq!(client.change(&EDS, &["a=1"]), ["EDS a=1"]);
}

#[test]
fn rule_19_unsubscribing_is_not_answered_unless_everything_is_asked_for() {
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    client.send(ask(&CDS, &["*", "a", "b"]));
    client.ack(&CDS);
    assert_eq!(client.send(ask(&CDS, &["-a"])), ["CDS a=1"]);
    client.ack(&CDS);
    assert_eq!(client.send(ask(&CDS, &["-b"])), ["CDS -b"]);
}

#[test]
fn rule_20_only_differences_from_what_is_held_are_sent() {
    let mut client = Delta::new(&source(&CDS, &["changed=2", "new=1", "same=1"]));
    let held = |body: &str| Version::of(body.as_bytes()).to_string();
    let versions = [("changed", held("1")), ("gone", held("1")), ("same", held("1"))];
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: versions
            .map(|(name, version)| (name.to_owned(), version))
            .into(),
        ..ask(&CDS, &[])
    };
    assert_eq!(client.send(request), ["CDS changed=2 new=1 -gone"]);
}

#[test]
fn rule_20_nothing_is_sent_when_nothing_differs() {
    let mut client = Delta::new(&source(&EDS, &["a=1", "b=1"]));
    let versions = [("a".to_owned(), Version::of(b"1").to_string())];
    let request =
        DeltaDiscoveryRequest { initial_resource_versions: versions.into(), ..ask(&EDS, &["a"]) };
    assert_eq!(client.send(request), NOTHING);
    assert_eq!(client.change(&EDS, &["a=2"]), ["EDS a=2"]);
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    let versions = [("a".to_owned(), Version::of(b"1").to_string())];
    let request =
        DeltaDiscoveryRequest { initial_resource_versions: versions.into(), ..ask(&CDS, &[]) };
    assert_eq!(client.send(request), NOTHING);
}

#[test]
fn rule_20_names_must_be_subscribed_again() {
    let mut client = Delta::new(&source(&EDS, &["a=2", "b=2"]));
    let versions = ["a", "b"].map(|name| (name.to_owned(), Version::of(b"1").to_string()));
    let request =
        DeltaDiscoveryRequest { initial_resource_versions: versions.into(), ..ask(&EDS, &["b"]) };
    assert_eq!(client.send(request), ["EDS b=2"]);
}

#[test]
fn rule_21_an_alias_is_answered_by_the_canonical_name() {
    let source = StaticSource::new();
    let host = |body: &str| {
        Resource::new(&VHDS, "rc/host", body.to_owned()).with_aliases(["rc/alias".into()])
    };
    source.set(host("1"));
    let mut client = Delta::new(&source);
    assert_eq!(client.send(ask(&VHDS, &["rc/alias"])), ["VHDS rc/host@rc/alias=1"]);
    client.ack(&VHDS);
    source.set(host("2"));
    assert_eq!(client.poll(), ["VHDS rc/host@rc/alias=2"]);
}

#[test]
fn rule_21_an_unknown_virtual_host_is_a_resource_without_a_body() {
    let mut client = Delta::new(&StaticSource::new());
    assert_eq!(client.send(ask(&VHDS, &["rc/none"])), ["VHDS rc/none@rc/none?"]);
}

#[test]
fn rule_26_parameters_have_one_order_and_collections_list_their_members() {
    let mut client =
        Delta::new(&source(&CDS, &["xdstp://x/t/n?a=1&b=2=1", "xdstp://x/t/dir/one=1"]));
    change(&client.source, &CDS, &["plain=1"]);
    client.source.set(Resource::new(&CDS, "xdstp://x/t/n?a=1&b=2", "1".to_owned()));
    assert_eq!(client.send(ask(&CDS, &["xdstp://x/t/n?b=2&a=1"])), ["CDS xdstp://x/t/n?a=1&b=2=1"]);
    client.ack(&CDS);
    assert_eq!(client.send(ask(&CDS, &["xdstp://x/t/dir/*"])), ["CDS xdstp://x/t/dir/one=1"]);
    client.ack(&CDS);
    assert_eq!(
        client.change(&CDS, &["xdstp://x/t/dir/two=1", "plain=2"]),
        ["CDS xdstp://x/t/dir/two=1"]
    );
}

#[test]
fn a_large_answer_is_split_and_its_parts_are_sent_one_by_one() {
    let limits = Limits { response_bytes: 150, ..Limits::default() };
    let mut client = Delta::with(&source(&CDS, &["a=1", "b=1", "c=1", "d=1"]), &[], limits);
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1 b=1"]);
    // What was sent already and changes meanwhile comes again.
    assert_eq!(client.change(&CDS, &["a=2"]), NOTHING);
    assert_eq!(client.ack(&CDS), ["CDS c=1 d=1"]);
    assert_eq!(client.ack(&CDS), ["CDS a=2"]);
    assert_eq!(client.ack(&CDS), NOTHING);
}

#[test]
fn a_change_back_and_forth_before_it_is_sent_is_sent_as_it_ended() {
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    client.send(ask(&CDS, &[]));
    client.change(&CDS, &["b=1"]);
    client.change(&CDS, &["-b"]);
    assert_eq!(client.ack(&CDS), ["CDS -b"]);
}

#[test]
fn a_stream_stays_within_its_limits() {
    let limits = Limits { types: 1, names: 2, name_bytes: 4, ..Limits::default() };
    let mut client = Delta::with(&StaticSource::new(), &[], limits);
    client.send(ask(&CDS, &["a", "b"]));
    let error = |result: Result<Verdict, ProtocolError>| {
        tonic::Status::from(result.unwrap_err()).message().to_owned()
    };
    assert_eq!(error(client.try_send(ask(&EDS, &["a"]))), "a stream may have at most 1 types");
    assert_eq!(error(client.try_send(ask(&CDS, &["c"]))), "a stream may have at most 2 names");
    client.send(ask(&CDS, &["-a", "-b", "-c"]));
    assert_eq!(
        error(client.try_send(ask(&CDS, &["large"]))),
        "a stream may have at most 4 bytes of names"
    );
}
