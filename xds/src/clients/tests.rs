#![allow(clippy::unwrap_used)]

use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mainstem_proto::google::rpc;
use pretty_assertions::assert_eq;

use super::*;
use crate::protocol::{DeltaState, Nonce};
use crate::source::ResourceView;
use crate::static_source::StaticSource;
use crate::version::Version;

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;

/// A stream as its server notes it, without a server, and at times that the test says.
struct Stage {
    source: StaticSource,
    view: Box<dyn ResourceView>,
    state: DeltaState,
    membership: Membership,
    clients: Clients,
    latest: BTreeMap<TypeUrl, Nonce>,
    now: Instant,
    /// When the oldest change was said of which the view has not told.
    said: Option<Instant>,
    /// How long changes took, in milliseconds.
    converged: Vec<u128>,
    /// How long ago the changes were said that the responses carried which were answered.
    carried: Vec<Option<u128>>,
}

impl Stage {
    /// A client that was sent these clusters of content `1`, and has not answered.
    fn sent(names: &[&str]) -> Stage {
        let source = StaticSource::new();
        names.iter().for_each(|name| source.set(resource(&CDS, name, "1")));
        let mut stage = Stage::of(source);
        stage.hear(subscribe(&CDS, names));
        stage
    }

    /// A client that accepted one resource of each of these types, `a` of content `1`.
    fn settled(types: &[TypeUrl]) -> Stage {
        let source = StaticSource::new();
        types.iter().for_each(|type_url| source.set(resource(type_url, "a", "1")));
        let mut stage = Stage::of(source);
        for type_url in types {
            stage.hear(subscribe(type_url, &["a"]));
            stage.answer(type_url, None);
        }
        stage
    }

    fn of(source: StaticSource) -> Stage {
        let (client, clients) = (Arc::new(Client::default()), Clients::default());
        let mut view = source.connect(&client).unwrap();
        view.advance();
        let state = DeltaState::new(&client, Arc::default(), "".into(), 7);
        let membership = clients.join(client, Protocol::Delta);
        let (latest, now) = (BTreeMap::new(), Stamp::now().instant());
        let (said, converged, carried) = (None, Vec::new(), Vec::new());
        Stage { source, view, state, membership, clients, latest, now, said, converged, carried }
    }

    /// A millisecond passes.
    fn tick(&mut self) {
        self.now += Duration::from_millis(1);
    }

    /// All of these types get `a` of this content at once.
    fn change(&mut self, types: &[TypeUrl], body: &str) {
        self.source.update(|batch| {
            for type_url in types {
                batch.set(resource(type_url, "a", body));
            }
        });
        self.said.get_or_insert(self.now);
        self.turn();
    }

    fn set(&mut self, name: &str, body: &str) {
        self.source.set(resource(&CDS, name, body));
        self.turn();
    }

    fn ack(&mut self) {
        self.answer(&CDS, None);
    }

    fn nack(&mut self, message: &str) {
        self.answer(&CDS, Some(message));
    }

    fn answer(&mut self, type_url: &TypeUrl, refusal: Option<&str>) {
        let error =
            |message: &str| rpc::Status { code: 3, message: message.into(), details: vec![] };
        self.hear(DeltaDiscoveryRequest {
            response_nonce: self.latest[type_url].to_string(),
            error_detail: refusal.map(error),
            ..subscribe(type_url, &[])
        });
    }

    fn hear(&mut self, request: DeltaDiscoveryRequest) {
        let type_url = TypeUrl::from(request.type_url.as_str());
        self.catch_up();
        let verdict = self.state.on_request(request, &*self.view, self.now).unwrap();
        let connected = &self.membership.connected;
        let heard = connected.heard(&type_url, &verdict, &self.state, self.now);
        let age = heard.change.map(|since| (self.now - since).as_millis());
        self.converged.extend(age.filter(|_| heard.converged));
        if !matches!(verdict, Verdict::None) {
            self.carried.push(age);
        }
        self.turn();
    }

    /// Sends what may be sent.
    fn turn(&mut self) {
        self.catch_up();
        let connected = &self.membership.connected;
        while let Some(response) = self.state.next(&*self.view, self.now) {
            self.latest.insert(response.type_url.clone(), response.nonce);
            let rests = !self.state.has_more();
            connected.sent(&response, rests, &self.state, self.now);
        }
        connected.rests(&self.state, self.now);
    }

    fn catch_up(&mut self) {
        let changes = Changes { since: self.said.take(), ..self.view.advance() };
        self.state.on_changes(&changes, self.now);
        self.membership.connected.changed(&changes, &self.state, self.now);
    }

    fn status(&self) -> TypeStatus {
        self.membership.connected.status().types.remove(0)
    }

    /// The state, and what is refused with its reasons.
    fn seen(&self) -> (SyncState, Vec<(String, Version, String)>) {
        let status = self.status();
        let told = |of: &Refused| (of.name.to_string(), of.version, of.message.to_string());
        (status.state(), status.refused.iter().map(told).collect())
    }
}

fn resource(type_url: &TypeUrl, name: &str, body: &str) -> Resource {
    Resource::new(type_url, name, body.to_owned())
}

fn subscribe(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_string(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn refused(name: &str, body: &str, message: &str) -> (String, Version, String) {
    (name.to_owned(), Version::of(body.as_bytes()), message.to_owned())
}

#[test]
fn a_type_is_rejected_until_what_was_refused_is_accepted_in_a_new_version() {
    let mut stage = Stage::sent(&["bad", "good"]);
    stage.nack("bad: no");
    let no = || vec![refused("bad", "1", "bad: no")];
    assert_eq!(stage.seen(), (SyncState::Rejected, no()));
    stage.ack();
    assert_eq!(stage.seen(), (SyncState::Rejected, no()));
    assert!(stage.status().stale_since.is_some());
    stage.set("good", "2");
    stage.ack();
    assert_eq!(stage.seen(), (SyncState::Rejected, no()));

    stage.set("bad", "2");
    assert_eq!(stage.seen(), (SyncState::Rejected, no()));
    stage.ack();
    assert_eq!(stage.seen(), (SyncState::Synced, vec![]));
    assert_eq!(stage.status().stale_since, None);
    // What was refused last is still told.
    assert_eq!(stage.status().nacked.unwrap().rejection.message, "bad: no");
}

#[test]
fn each_culprit_is_refused_for_its_own_reason() {
    let mut stage = Stage::sent(&["a", "b", "c"]);
    stage.nack("a: one");
    stage.nack("b: two");
    stage.ack();
    let both = vec![refused("a", "1", "a: one"), refused("b", "1", "b: two")];
    assert_eq!(stage.seen(), (SyncState::Rejected, both));
    assert_eq!(stage.clients.refused(), [(CDS, 2)].into());
    stage.set("a", "2");
    stage.nack("a: three");
    let both = vec![refused("a", "2", "a: three"), refused("b", "1", "b: two")];
    assert_eq!(stage.seen(), (SyncState::Rejected, both));
}

#[test]
fn what_is_gone_or_no_longer_asked_for_is_not_refused() {
    let mut stage = Stage::sent(&["a", "b", "c"]);
    stage.nack("a: no, b: no");
    stage.ack();
    stage.source.remove(&CDS, "a");
    stage.turn();
    stage.ack();
    assert_eq!(stage.seen().1, [refused("b", "1", "a: no, b: no")]);
    let unsubscribe = vec!["b".to_owned()];
    stage.hear(DeltaDiscoveryRequest {
        resource_names_unsubscribe: unsubscribe,
        ..subscribe(&CDS, &[])
    });
    assert_eq!(stage.seen(), (SyncState::Synced, vec![]));
}

#[test]
fn a_resource_is_rejected_stale_or_synced_by_itself() {
    let mut stage = Stage::sent(&["a", "b"]);
    let of = |stage: &Stage| ["a", "b"].map(|name| stage.status().state_of(name));
    assert_eq!(of(&stage), [SyncState::Stale, SyncState::Stale]);
    stage.nack("a: no");
    assert_eq!(of(&stage), [SyncState::Rejected, SyncState::Stale]);
    stage.ack();
    assert_eq!(of(&stage), [SyncState::Rejected, SyncState::Synced]);
    stage.set("b", "2");
    assert_eq!(of(&stage), [SyncState::Rejected, SyncState::Stale]);
    stage.nack("no");
    assert_eq!(of(&stage), [SyncState::Rejected, SyncState::Rejected]);
}

#[test]
fn reasons_are_kept_shortened_and_only_so_many() {
    let names: Vec<String> = (0..150).map(|number| format!("cluster-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::sent(&names);
    stage.nack(&format!("{} {}", names.join(" "), "é".repeat(10_000)));
    let kept: Vec<usize> = stage.status().refused.iter().map(|of| of.message.len()).collect();
    assert_eq!(kept, [vec![1 << 10; 100], vec![0; 50]].concat());
}

#[test]
fn a_change_has_converged_when_the_response_that_carries_it_is_accepted() {
    let mut stage = Stage::settled(&[EDS]);
    assert_eq!(stage.converged, []);
    stage.change(&[EDS], "2");
    stage.tick();
    stage.answer(&EDS, None);
    assert_eq!(stage.converged, [1]);
}

#[test]
fn under_steady_changes_each_response_is_measured_from_the_oldest_change_in_it() {
    let mut stage = Stage::settled(&[EDS]);
    stage.change(&[EDS], "0");
    for round in 1..=5 {
        // Two changes while a response is under way, which merge into the next.
        for part in 0..2 {
            stage.tick();
            stage.change(&[EDS], &format!("{round}.{part}"));
        }
        stage.tick();
        stage.answer(&EDS, None);
    }
    // One response after the other was under way for 3 ms, and what changed first in
    // that time waited for 2 ms before.
    assert_eq!(stage.converged, [3, 5, 5, 5, 5]);
}

#[test]
fn of_a_change_of_several_types_the_last_ack_counts() {
    let mut stage = Stage::settled(&[CDS, EDS, RDS]);
    stage.change(&[CDS, EDS, RDS], "2");
    for type_url in [CDS, EDS, RDS] {
        stage.tick();
        stage.answer(&type_url, None);
    }
    assert_eq!(stage.converged, [3]);
}

#[test]
fn a_response_that_is_not_answered_holds_up_only_what_it_may_carry() {
    let mut stage = Stage::settled(&[EDS, RDS]);
    stage.change(&[RDS], "2");
    stage.tick();
    stage.change(&[EDS], "2");
    stage.tick();
    stage.answer(&EDS, None);
    assert_eq!(stage.converged, [1]);
    // This one waits for the routes, too.
    stage.change(&[EDS, RDS], "3");
    stage.tick();
    stage.answer(&EDS, None);
    assert_eq!(stage.converged, [1]);
    stage.answer(&RDS, None);
    assert_eq!(stage.converged, [1, 3]);
    stage.tick();
    stage.answer(&RDS, None);
    assert_eq!(stage.converged, [1, 3, 2]);
}

#[test]
fn what_a_client_asked_for_is_no_change_and_what_does_not_concern_it_neither() {
    let mut stage = Stage::settled(&[EDS]);
    stage.source.set(resource(&EDS, "b", "1"));
    stage.said = Some(stage.now);
    stage.turn();
    stage.tick();
    stage.hear(subscribe(&EDS, &["b"]));
    stage.answer(&EDS, None);
    assert_eq!(stage.converged, []);
}

#[test]
fn each_answer_belongs_to_the_oldest_change_of_its_own_response() {
    let mut stage = Stage::settled(&[EDS, RDS]);
    stage.change(&[RDS], "2");
    stage.tick();
    stage.change(&[EDS], "2");
    stage.tick();
    stage.change(&[EDS], "3");
    stage.tick();
    stage.answer(&EDS, None);
    stage.answer(&EDS, Some("no"));
    stage.answer(&RDS, None);
    assert_eq!(stage.carried, [None, None, Some(2), Some(1), Some(3)]);
    assert_eq!(stage.converged, [2, 3]);
}

#[test]
fn after_a_refusal_what_is_sent_again_is_measured_from_the_same_word() {
    let mut stage = Stage::sent(&["a", "b"]);
    stage.ack();
    stage.source.set(resource(&CDS, "b", "2"));
    stage.change(&[CDS], "2");
    stage.tick();
    stage.nack("b: no");
    stage.tick();
    stage.ack();
    assert_eq!(stage.converged, [2]);
    stage.change(&[CDS], "3");
    stage.tick();
    stage.nack("a: no");
    assert_eq!(stage.converged, [2]);
    stage.change(&[CDS], "4");
    stage.tick();
    stage.ack();
    assert_eq!(stage.converged, [2, 1]);
}

#[test]
fn a_type_takes_no_more_memory_than_this() {
    assert!(size_of::<OfType>() <= 192, "{}", size_of::<OfType>());
}
