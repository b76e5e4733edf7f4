#![allow(clippy::unwrap_used)]

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mainstem_proto::google::rpc;
use pretty_assertions::assert_eq;

use super::*;
use crate::protocol::{DeltaState, Nonce};
use crate::source::ResourceView;
use crate::static_source::StaticSource;
use crate::version::Version;

const CDS: TypeUrl = TypeUrl::CLUSTER;

/// A stream as its server notes it, without a server.
struct Stage {
    source: StaticSource,
    view: Box<dyn ResourceView>,
    state: DeltaState,
    membership: Membership,
    clients: Clients,
    latest: Option<Nonce>,
}

impl Stage {
    /// A client that was sent these clusters of content `1`, and has not answered.
    fn sent(names: &[&str]) -> Stage {
        let source = StaticSource::new();
        names.iter().for_each(|name| set(&source, name, "1"));
        let (client, clients) = (Arc::new(Client::default()), Clients::default());
        let mut view = source.connect(&client).unwrap();
        view.advance();
        let state = DeltaState::new(&client, Arc::default(), "".into(), 7);
        let membership = clients.join(client, Protocol::Delta);
        let mut stage = Stage { source, view, state, membership, clients, latest: None };
        stage.hear(subscribe(names));
        stage
    }

    fn set(&mut self, name: &str, body: &str) {
        set(&self.source, name, body);
        self.turn();
    }

    fn ack(&mut self) {
        self.answer(None);
    }

    fn nack(&mut self, message: &str) {
        let error = rpc::Status { code: 3, message: message.into(), details: Vec::new() };
        self.answer(Some(error));
    }

    fn answer(&mut self, error_detail: Option<rpc::Status>) {
        let response_nonce = self.latest.unwrap().to_string();
        self.hear(DeltaDiscoveryRequest { response_nonce, error_detail, ..subscribe(&[]) });
    }

    fn hear(&mut self, request: DeltaDiscoveryRequest) {
        let now = self.catch_up();
        let verdict = self.state.on_request(request, &*self.view, now).unwrap();
        self.membership.connected.heard(&CDS, &verdict, &self.state, now);
        self.turn();
    }

    fn turn(&mut self) {
        let now = self.catch_up();
        let connected = &self.membership.connected;
        match self.state.next(&*self.view, now) {
            None => connected.rests(&self.state, now),
            Some(response) => {
                self.latest = Some(response.nonce);
                connected.sent(&response, true, &self.state, now);
            }
        }
    }

    fn catch_up(&mut self) -> Instant {
        let now = Instant::now();
        let changes = self.view.advance();
        self.state.on_changes(&changes, now);
        now
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

fn set(source: &StaticSource, name: &str, body: &str) {
    source.set(Resource::new(&CDS, name, body.to_owned()));
}

fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: CDS.to_string(),
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
    stage.hear(DeltaDiscoveryRequest { resource_names_unsubscribe: unsubscribe, ..subscribe(&[]) });
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
fn a_type_takes_no_more_memory_than_this() {
    assert!(size_of::<OfType>() <= 176, "{}", size_of::<OfType>());
}
