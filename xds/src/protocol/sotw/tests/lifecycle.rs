//! Times to live, errors of single resources, and what is not known yet.

use pretty_assertions::assert_eq;

use super::*;
use crate::source::{Lookup, ResourceFailure};

/// How many errors of resources the latest response has.
fn errors(client: &Sotw, type_url: &TypeUrl) -> usize {
    client.latest[type_url].resource_errors.len()
}

#[test]
fn rule_13_a_matching_version_is_compared_once_everything_is_known() {
    let source = source(&CDS, &["a=1"]);
    let mut client = Sotw::new(&source);
    ask(&mut client, &CDS, &[]);
    let version = client.latest[&CDS].version_info.clone();
    let resumed = |version: &str| {
        let mut client = Sotw::new(&source);
        client.veil.draw();
        let request = want(&client, &CDS, &[]);
        let request = DiscoveryRequest { version_info: version.into(), ..request };
        assert_eq!(client.send(request), NOTHING);
        client.veil.lift();
        (client.poll(), client)
    };
    assert_eq!(resumed("other").0, ["CDS 1"]);
    let (answer, mut client) = resumed(&version);
    assert_eq!(answer, NOTHING);
    assert!(client.state.settled());
    assert_eq!(client.change(&CDS, &["b=1"]), ["CDS 1 1"]);
}

#[test]
fn rule_22_a_name_that_is_not_known_yet_holds_up_no_other() {
    let mut client = Sotw::new(&source(&LDS, &["a=1", "b=1"]));
    client.veil.answer(&LDS, "b", Lookup::Loading);
    // Alone it is waited for: an empty answer would say that it does not exist.
    assert_eq!(ask(&mut client, &LDS, &["b"]), NOTHING);
    assert_eq!(ask(&mut client, &LDS, &["a", "b"]), ["LDS 1"]);
    assert_eq!(ask(&mut client, &LDS, &["a", "b"]), NOTHING);
    client.veil.lift();
    assert_eq!(client.poll(), ["LDS 1 1"]);
    ask(&mut client, &LDS, &["a", "b"]);
    // What the client has it keeps.
    client.veil.answer(&LDS, "b", Lookup::Loading);
    assert_eq!(client.change(&LDS, &["a=2"]), ["LDS 2 1"]);
}

#[test]
fn rule_22_a_name_that_turns_out_absent_is_answered() {
    let mut client = Sotw::new(&StaticSource::new());
    client.veil.answer(&LDS, "a", Lookup::Loading);
    assert_eq!(ask(&mut client, &LDS, &["a"]), NOTHING);
    client.veil.lift();
    assert_eq!(client.poll(), ["LDS"]);
}

#[test]
fn rule_22_what_a_client_may_have_from_an_earlier_stream_is_not_left_out() {
    let mut client = Sotw::new(&source(&LDS, &["a=1", "b=1"]));
    client.veil.answer(&LDS, "b", Lookup::Loading);
    let request = want(&client, &LDS, &["a", "b"]);
    let request = DiscoveryRequest { version_info: "earlier".into(), ..request };
    assert_eq!(client.send(request), NOTHING);
    client.veil.lift();
    assert_eq!(client.poll(), ["LDS 1 1"]);
}

#[test]
fn rule_25_of_clusters_all_are_sent_again_to_confirm_one() {
    let features = ["xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"];
    let source = source(&CDS, &["b=1"]);
    source.set(Resource::new(&CDS, "a", "1".to_owned()).with_ttl(Duration::from_secs(9)));
    let mut client = Sotw::with(&source, &features, Limits::default());
    assert_eq!(ask(&mut client, &CDS, &[]), ["CDS 1 a=1"]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.after(Duration::from_secs(3)), ["CDS 1 a=1"]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.state.deadline(client.now), Some(client.now + Duration::from_secs(3)));
    assert_eq!(client.change(&CDS, &["-a"]), ["CDS 1"]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.state.deadline(client.now), None);
    let mut client = Sotw::with(&client.source, &features[..1], Limits::default());
    source.set(Resource::new(&CDS, "a", "1".to_owned()).with_ttl(Duration::from_secs(9)));
    assert_eq!(ask(&mut client, &CDS, &[]), ["CDS 1 1"]);
    ask(&mut client, &CDS, &[]);
    assert_eq!(client.after(Duration::from_secs(3)), NOTHING);
}

#[test]
fn rule_27_an_error_of_a_resource_is_told_once() {
    let failed =
        |code| Lookup::Failed(ResourceFailure { code, message: "nothing of that name".into() });
    let mut client = Sotw::new(&source(&LDS, &["a=1", "c=1"]));
    client.veil.answer(&LDS, "b", failed(tonic::Code::NotFound));
    assert_eq!(ask(&mut client, &LDS, &["a", "b"]), ["LDS 1"]);
    assert_eq!(errors(&client, &LDS), 1);
    assert_eq!(ask(&mut client, &LDS, &["a", "b", "c"]), ["LDS 1 1"]);
    assert_eq!(errors(&client, &LDS), 0);
    // Asked for anew, it is told anew.
    ask(&mut client, &LDS, &["a"]);
    assert_eq!(ask(&mut client, &LDS, &["a", "b"]), ["LDS 1"]);
    assert_eq!(errors(&client, &LDS), 1);
    ask(&mut client, &LDS, &["a", "b"]);
    // Another error is news, though the set is the same.
    client.veil.answer(&LDS, "b", failed(tonic::Code::PermissionDenied));
    assert_eq!(client.poll(), ["LDS 1"]);
    assert_eq!(errors(&client, &LDS), 1);
    ask(&mut client, &LDS, &["a", "b"]);
    // Passing trouble is no reason to drop what the client holds.
    client.veil.answer(&LDS, "a", failed(tonic::Code::Unavailable));
    assert_eq!(client.poll(), NOTHING);
}
