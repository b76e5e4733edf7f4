//! The rules of the state-of-the-world protocol, by their numbers.
#![allow(clippy::unwrap_used)]

mod lifecycle;
mod order;
mod refusal;

use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;
use pretty_assertions::assert_eq;

use crate::limits::Limits;
use crate::names::TypeUrl;
use crate::protocol::harness::{Sotw, change, source, want};
use crate::protocol::{ProtocolError, Verdict};
use crate::resource::Resource;
use crate::static_source::StaticSource;

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
const LDS: TypeUrl = TypeUrl::LISTENER;
const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
const NOTHING: [&str; 0] = [];

/// Asks for names, accepting the latest response.
fn ask(client: &mut Sotw, type_url: &TypeUrl, names: &[&str]) -> Vec<String> {
    let request = want(client, type_url, names);
    client.send(request)
}

#[test]
fn rule_02_a_request_without_a_type_is_invalid() {
    let mut client = Sotw::new(&StaticSource::new());
    assert_eq!(client.try_send(DiscoveryRequest::default()), Err(ProtocolError::MissingType));
}

#[test]
fn rule_03_changes_without_an_ack_merge_into_one_update() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=1"]));
    assert_eq!(ask(&mut client, &EDS, &["a", "b"]), ["EDS 1 1"]);
    assert_eq!(client.change(&EDS, &["a=2"]), NOTHING);
    assert_eq!(client.change(&EDS, &["a=3"]), NOTHING);
    assert_eq!(ask(&mut client, &EDS, &["a", "b"]), ["EDS 3"]);
}

#[test]
fn rule_06_equal_content_has_an_equal_version_on_every_stream() {
    let source = source(&CDS, &["a=1", "b=1"]);
    let version = |source: &StaticSource| {
        let mut client = Sotw::new(source);
        ask(&mut client, &CDS, &[]);
        client.latest[&CDS].version_info.clone()
    };
    let first = version(&source);
    assert_eq!(version(&source), first);
    change(&source, &CDS, &["a=2"]);
    assert_ne!(version(&source), first);
    change(&source, &CDS, &["a=1"]);
    assert_eq!(version(&source), first);
}

#[test]
fn rule_06_the_version_covers_all_that_is_subscribed() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=1"]));
    ask(&mut client, &EDS, &["a", "b"]);
    ask(&mut client, &EDS, &["a", "b"]);
    client.change(&EDS, &["b=2"]);
    let version = client.latest[&EDS].version_info.clone();
    let mut later = Sotw::new(&client.source);
    assert_eq!(ask(&mut later, &EDS, &["b", "a"]), ["EDS 1 2"]);
    assert_eq!(later.latest[&EDS].version_info, version);
}

#[test]
fn rule_08_a_stale_nonce_is_never_answered() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=1"]));
    ask(&mut client, &EDS, &["a"]);
    let stale = want(&client, &EDS, &["a", "b"]);
    ask(&mut client, &EDS, &["a"]);
    client.change(&EDS, &["a=2"]);
    assert_eq!(client.try_send(stale).unwrap(), Verdict::Stale);
    assert_eq!(client.poll(), NOTHING);
    // The answer to the newer response has the new name as well.
    assert_eq!(ask(&mut client, &EDS, &["a", "b"]), ["EDS 1"]);
}

#[test]
fn rule_08_an_unchanged_ack_is_not_answered() {
    let mut client = Sotw::new(&source(&CDS, &["a=1"]));
    assert_eq!(ask(&mut client, &CDS, &[]), ["CDS 1"]);
    assert_eq!(ask(&mut client, &CDS, &[]), NOTHING);
    assert_eq!(ask(&mut client, &CDS, &[]), NOTHING);
}

#[test]
fn rule_09_a_new_name_is_sent_even_if_it_was_sent_before() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=1"]));
    assert_eq!(ask(&mut client, &EDS, &["a", "b"]), ["EDS 1 1"]);
    assert_eq!(ask(&mut client, &EDS, &["a"]), NOTHING);
    assert_eq!(ask(&mut client, &EDS, &["a", "b"]), ["EDS 1"]);
}

#[test]
fn rule_09_a_removed_name_is_no_longer_sent() {
    let mut client = Sotw::new(&source(&EDS, &["a=1", "b=1"]));
    ask(&mut client, &EDS, &["a", "b"]);
    ask(&mut client, &EDS, &["a"]);
    assert_eq!(client.change(&EDS, &["a=2", "b=2"]), ["EDS 2"]);
}

#[test]
fn rule_10_everything_is_asked_for_by_a_star_or_by_nothing_at_first() {
    for names in [&[][..], &["*"]] {
        let mut client = Sotw::new(&source(&CDS, &["a=1", "b=1"]));
        assert_eq!(ask(&mut client, &CDS, names), ["CDS 1 1"]);
    }
}

#[test]
fn rule_10_after_a_name_nothing_means_nothing() {
    let mut client = Sotw::new(&source(&EDS, &["a=1"]));
    assert_eq!(ask(&mut client, &EDS, &["a"]), ["EDS 1"]);
    assert_eq!(ask(&mut client, &EDS, &[]), NOTHING);
    assert_eq!(client.change(&EDS, &["a=2"]), NOTHING);
}

#[test]
fn rule_10_dropping_the_star_leaves_the_names() {
    let mut client = Sotw::new(&source(&CDS, &["a=1", "b=1"]));
    assert_eq!(ask(&mut client, &CDS, &["*", "a"]), ["CDS 1 1"]);
    assert_eq!(ask(&mut client, &CDS, &["a"]), NOTHING);
    assert_eq!(client.change(&CDS, &["b=2"]), NOTHING);
    assert_eq!(client.change(&CDS, &["a=2"]), ["CDS 2"]);
}

#[test]
fn rule_11_clusters_and_listeners_are_always_complete() {
    for type_url in [CDS, LDS] {
        let mut client = Sotw::new(&source(&type_url, &["a=1", "b=1"]));
        ask(&mut client, &type_url, &[]);
        ask(&mut client, &type_url, &[]);
        assert_eq!(client.change(&type_url, &["b=2"]), [format!("{} 1 2", type_url.short())]);
        ask(&mut client, &type_url, &[]);
        assert_eq!(client.change(&type_url, &["-a", "-b"]), [type_url.short()]);
    }
}

#[test]
fn rule_11_types_of_the_mesh_configuration_protocol_are_always_complete() {
    let entries = TypeUrl::from("networking.istio.io/v1/ServiceEntry");
    let mut client = Sotw::new(&source(&entries, &["a=1", "b=1"]));
    assert_eq!(ask(&mut client, &entries, &[]), [format!("{} 1 1", entries.short())]);
    ask(&mut client, &entries, &[]);
    assert_eq!(client.change(&entries, &["b=2"]), [format!("{} 1 2", entries.short())]);
    ask(&mut client, &entries, &[]);
    assert_eq!(client.change(&entries, &["-a"]), [format!("{} 2", entries.short())]);
    let empty = TypeUrl::from("core/v1alpha1/MeshConfig");
    assert_eq!(ask(&mut client, &empty, &[]), [empty.short()], "nothing is an answer, too");
}

#[test]
fn rule_11_other_types_are_sent_as_they_change_and_never_deleted() {
    let mut client = Sotw::new(&source(&RDS, &["a=1", "b=1"]));
    ask(&mut client, &RDS, &["a", "b"]);
    ask(&mut client, &RDS, &["a", "b"]);
    assert_eq!(client.change(&RDS, &["b=2", "-a"]), ["RDS 2"]);
    ask(&mut client, &RDS, &["a", "b"]);
    assert_eq!(client.change(&RDS, &["-b"]), NOTHING);
}

#[test]
fn rule_11_a_named_listener_that_does_not_exist_is_answered_by_nothing() {
    let mut client = Sotw::new(&StaticSource::new());
    assert_eq!(ask(&mut client, &LDS, &["a"]), ["LDS"]);
}

#[test]
fn rule_12_an_absent_name_is_sent_when_it_comes_to_exist() {
    let mut client = Sotw::new(&StaticSource::new());
    assert_eq!(ask(&mut client, &EDS, &["a"]), NOTHING);
    assert_eq!(client.change(&EDS, &["a=1"]), ["EDS 1"]);
}

#[test]
fn rule_13_a_matching_version_spares_a_wildcard_client_the_answer() {
    let source = source(&CDS, &["a=1"]);
    let mut client = Sotw::new(&source);
    ask(&mut client, &CDS, &[]);
    let version = client.latest[&CDS].version_info.clone();
    let reconnect = |names: &[&str], version: &str| {
        let mut client = Sotw::new(&source);
        let request =
            DiscoveryRequest { version_info: version.into(), ..want(&client, &CDS, names) };
        (client.send(request), client)
    };
    assert_eq!(reconnect(&[], "other").0, ["CDS 1"]);
    assert_eq!(reconnect(&["a"], &version).0, ["CDS 1"]);
    let (answer, mut client) = reconnect(&[], &version);
    assert_eq!(answer, NOTHING);
    assert_eq!(client.change(&CDS, &["b=1"]), ["CDS 1 1"]);
}

#[test]
fn rule_14_no_name_comes_twice_in_a_response() {
    let source = StaticSource::new();
    source.set(Resource::new(&EDS, "a", "1".to_owned()).with_aliases(["x".into()]));
    let mut client = Sotw::new(&source);
    assert_eq!(ask(&mut client, &EDS, &["a", "a", "x"]), ["EDS 1"]);
    let mut client = Sotw::new(&self::source(&CDS, &["a=1"]));
    assert_eq!(ask(&mut client, &CDS, &["*", "a", "a"]), ["CDS 1"]);
}

#[test]
fn rule_25_a_time_to_live_is_wrapped_for_clients_that_know_it() {
    let features = ["xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"];
    let source = StaticSource::new();
    source.set(Resource::new(&EDS, "a", "1".to_owned()).with_ttl(Duration::from_secs(9)));
    let mut client = Sotw::with(&source, &features, Limits::default());
    assert_eq!(ask(&mut client, &EDS, &["a"]), ["EDS a=1"]);
    ask(&mut client, &EDS, &["a"]);
    assert_eq!(client.after(Duration::from_secs(3)), ["EDS a?"]);
    let mut client = Sotw::with(&source, &features[..1], Limits::default());
    assert_eq!(ask(&mut client, &EDS, &["a"]), ["EDS 1"]);
    ask(&mut client, &EDS, &["a"]);
    assert_eq!(client.after(Duration::from_secs(3)), NOTHING);
}

#[test]
fn a_change_that_changes_no_content_sends_nothing() {
    let mut client = Sotw::new(&source(&CDS, &["a=1"]));
    ask(&mut client, &CDS, &[]);
    client.change(&CDS, &["b=1"]);
    client.change(&CDS, &["-b"]);
    assert_eq!(ask(&mut client, &CDS, &[]), NOTHING);
    assert!(client.state.settled());
}

#[test]
fn streams_with_equal_content_share_one_set() {
    use std::sync::Arc;

    use crate::protocol::{FullSets, SotwState};
    use crate::source::Client;
    let source = source(&CDS, &["a=1"]);
    let sets = Arc::new(FullSets::default());
    let accepted = || {
        let mut client = Sotw::new(&source);
        client.state =
            SotwState::new(&Client::default(), Arc::default(), "".into(), 1, sets.clone());
        ask(&mut client, &CDS, &[]);
        ask(&mut client, &CDS, &[]);
        client
    };
    let (one, two) = (accepted(), accepted());
    assert!(one.state.shares_set_with(&two.state, &CDS));
}
