//! Times to live, errors of single resources, and what is not known yet.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pretty_assertions::assert_eq;

use super::*;
use crate::protocol::harness::Driver;
use crate::protocol::{DeltaState, Moment};
use crate::source::{Changes, Client, Lookup, ResourceFailure, ResourceView};

const TTL: &str = "xds.config.supports-resource-ttl";

#[test]
fn rule_05_the_server_names_itself_once() {
    let source = source(&CDS, &["a=1"]);
    let mut client = Delta::new(&source);
    client.state = DeltaState::new(&Client::default(), Arc::default(), "me".into(), 1);
    client.send(ask(&CDS, &[]));
    assert_eq!(client.latest[&CDS].control_plane.as_ref().unwrap().identifier, "me");
    client.ack(&CDS);
    client.change(&CDS, &["a=2"]);
    assert_eq!(client.latest[&CDS].control_plane, None);
}

#[test]
fn rule_25_a_resource_with_a_time_to_live_is_confirmed_by_heartbeats() {
    let source = StaticSource::new();
    source.set(Resource::new(&CDS, "a", "1".to_owned()).with_ttl(Duration::from_secs(9)));
    let mut client: Delta = Driver::with(&source, &[TTL], Limits::default());
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1"]);
    let sent = client.latest[&CDS].resources[0].clone();
    assert_eq!(sent.ttl.unwrap().seconds, 9);
    client.ack(&CDS);
    assert_eq!(client.state.deadline(client.now), Some(client.now + Duration::from_secs(3)));
    assert_eq!(client.after(Duration::from_secs(3)), ["CDS a?"]);
    let beat = client.latest[&CDS].resources[0].clone();
    assert_eq!((beat.version, beat.ttl), (sent.version, sent.ttl));
    client.ack(&CDS);
    assert_eq!(client.change(&CDS, &["-a"]), ["CDS -a"]);
    client.ack(&CDS);
    assert_eq!(client.state.deadline(client.now), None);
}

#[test]
fn rule_25_clients_that_know_no_times_to_live_get_none() {
    let source = StaticSource::new();
    source.set(Resource::new(&CDS, "a", "1".to_owned()).with_ttl(Duration::from_secs(9)));
    let mut client = Delta::new(&source);
    assert_eq!(client.send(ask(&CDS, &[])), ["CDS a=1"]);
    assert_eq!(client.latest[&CDS].resources[0].ttl, None);
    client.ack(&CDS);
    assert_eq!(client.state.deadline(client.now), None);
}

/// A view that answers every name alike.
struct Uniform(Lookup);

impl ResourceView for Uniform {
    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn advance(&mut self) -> Changes {
        Changes::default()
    }

    fn get(&self, _: &TypeUrl, _: &str) -> Lookup {
        self.0.clone()
    }

    fn list(&self, _: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        Box::new(self.0.clone().found().into_iter())
    }

    fn complete(&self, _: &TypeUrl) -> bool {
        self.0 != Lookup::Loading
    }
}

fn next(state: &mut DeltaState, view: &Uniform) -> Option<(usize, usize, usize)> {
    use prost::Message;
    let response = state.next(view, std::time::Instant::now())?;
    let response = mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse::decode(
        response.message.to_bytes(),
    )
    .unwrap();
    Some((
        response.resources.len(),
        response.removed_resources.len(),
        response.resource_errors.len(),
    ))
}

fn state(view: &Uniform, request: DeltaDiscoveryRequest) -> DeltaState {
    let mut state = DeltaState::new(&Client::default(), Arc::default(), "".into(), 1);
    state.on_request(request, view, std::time::Instant::now()).unwrap();
    state
}

#[test]
fn what_is_not_known_yet_is_not_answered_as_absent() {
    let loading = Uniform(Lookup::Loading);
    let found = Uniform(Lookup::Found(Arc::new(Resource::new(&CDS, "a", "1".to_owned()))));
    let changes =
        |name: &str| Changes { names: vec![(CDS, Arc::from([name.into()]))], since: None };
    for request in [ask(&CDS, &["a"]), ask(&CDS, &[])] {
        let mut state = state(&loading, request);
        assert_eq!(next(&mut state, &loading), None);
        state.on_changes(&changes("a"), std::time::Instant::now());
        assert_eq!(next(&mut state, &found), Some((1, 0, 0)));
    }
}

#[test]
fn rule_20_what_is_held_is_compared_once_it_is_known() {
    let held = |body: &str| Version::of(body.as_bytes()).to_string();
    let resumes = |type_url: &TypeUrl, names: &[&str]| {
        let versions = [("changed", held("1")), ("gone", held("1")), ("same", held("1"))];
        let mut client = Delta::new(&source(type_url, &["changed=2", "new=1", "same=1"]));
        client.veil.draw();
        let request = DeltaDiscoveryRequest {
            initial_resource_versions: versions.map(|(n, version)| (n.to_owned(), version)).into(),
            ..ask(type_url, names)
        };
        assert_eq!(client.send(request), NOTHING);
        client
    };
    let mut client = resumes(&CDS, &[]);
    client.veil.lift();
    assert_eq!(client.poll(), ["CDS changed=2 new=1 -gone"]);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert!(client.state.settled());

    let mut client = resumes(&EDS, &["changed", "same"]);
    client.veil.lift();
    assert_eq!(client.poll(), ["EDS changed=2"]);

    // Who asks again while nothing is known is answered whatever it has.
    let mut client = resumes(&EDS, &["changed", "same"]);
    client.send(ask(&EDS, &["same"]));
    client.veil.lift();
    assert_eq!(client.poll(), ["EDS changed=2 same=1"]);
}

#[test]
fn rule_20_a_single_name_is_compared_once_it_is_loaded() {
    let mut client = Delta::new(&source(&EDS, &["a=1", "b=1"]));
    client.veil.answer(&EDS, "b", Lookup::Loading);
    let versions = ["a", "b"].map(|name| (name.to_owned(), Version::of(b"1").to_string()));
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: versions.into(),
        ..ask(&EDS, &["a", "b"])
    };
    assert_eq!(client.send(request), NOTHING);
    client.veil.lift();
    assert_eq!(client.poll(), NOTHING);
    assert_eq!(client.change(&EDS, &["b=2"]), ["EDS b=2"]);
}

#[test]
fn rule_22_an_empty_collection_is_answered() {
    let mut client = Delta::new(&StaticSource::new());
    let all = "xdstp://x/t/dir/*";
    assert_eq!(client.send(ask(&CDS, &[all])), [format!("CDS -{all}")]);
    assert_eq!(client.ack(&CDS), NOTHING);
    assert_eq!(client.change(&CDS, &["xdstp://x/t/dir/one=1"]), ["CDS xdstp://x/t/dir/one=1"]);
}

#[test]
fn rule_27_an_error_of_a_resource_is_told_once() {
    let failed = |code| Uniform(Lookup::Failed(ResourceFailure { code, message: "why".into() }));
    let denied = failed(tonic::Code::PermissionDenied);
    let mut told = state(&denied, ask(&CDS, &["a"]));
    assert_eq!(next(&mut told, &denied), Some((0, 1, 1)));
    assert_eq!(next(&mut told, &denied), None);
    // Passing trouble is no reason to drop what the client holds.
    let trouble = failed(tonic::Code::Unavailable);
    let mut told = state(&trouble, ask(&CDS, &["a"]));
    assert_eq!(next(&mut told, &trouble), Some((0, 0, 1)));
}

#[test]
fn moments_are_counted_by_changes_alone() {
    let moment: Moment = 1;
    let mut client = Delta::new(&source(&CDS, &["a=1"]));
    client.poll();
    assert_eq!(client.state.moment, moment);
    client.change(&CDS, &["a=2"]);
    assert_eq!(client.state.moment, moment + 1);
}
