//! A client of each variant, driven step by step, for tests.
//!
//! Responses are written as text: `CDS a=1 b=2 -c` has two resources with the
//! bodies `1` and `2` and a removal.
#![allow(clippy::unwrap_used)]

mod veil;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as Wire,
};
use mainstem_proto::google::rpc::Status;
use prost::Message as _;

use self::veil::Veil;
use super::{Request, State, Verdict};
use crate::auth::Identity;
use crate::limits::Limits;
use crate::names::TypeUrl;
use crate::protocol::ProtocolError;
use crate::resource::Resource;
use crate::source::{Client, ResourceSource, ResourceView};
use crate::static_source::StaticSource;

pub(super) type Delta = Driver<DeltaDiscoveryRequest>;
pub(super) type Sotw = Driver<DiscoveryRequest>;

/// One stream and the source behind it.
pub(super) struct Driver<R: Driven> {
    pub(super) source: StaticSource,
    /// What of the source is not known, or fails.
    pub(super) veil: Veil,
    view: Box<dyn ResourceView>,
    pub(super) state: R::State,
    pub(super) now: Instant,
    /// The latest response of each type.
    pub(super) latest: BTreeMap<TypeUrl, R::Response>,
    /// All responses of the latest step.
    pub(super) responses: Vec<R::Response>,
}

/// A variant of the protocol.
pub(super) trait Driven: Request {
    type Response: prost::Message + Default + Clone;

    fn show(response: &Self::Response) -> String;
    fn answer(response: &Self::Response, error: Option<Status>) -> Self;
}

impl<R: Driven> Driver<R>
where
    R::State: State<Request = R>,
{
    pub(super) fn new(source: &StaticSource) -> Driver<R> {
        Driver::with(source, &[], Limits::default())
    }

    pub(super) fn with(source: &StaticSource, features: &[&str], limits: Limits) -> Driver<R> {
        let features = features.iter().map(ToString::to_string).collect();
        let node = Node { client_features: features, ..Node::default() };
        let client = Arc::new(Client::new(0, node, None, Identity::anonymous()));
        let veil = Veil::default();
        let mut view = veil.before(source.connect(&client).unwrap());
        view.advance();
        let state = R::State::open(&client, Arc::new(limits), "".into(), 7, Arc::default());
        Driver {
            source: source.clone(),
            veil,
            view,
            state,
            now: Instant::now(),
            latest: BTreeMap::new(),
            responses: Vec::new(),
        }
    }

    /// Sends a request; what comes back.
    pub(super) fn send(&mut self, request: R) -> Vec<String> {
        self.try_send(request).unwrap();
        self.poll()
    }

    pub(super) fn try_send(&mut self, request: R) -> Result<Verdict, ProtocolError> {
        let changes = self.view.advance();
        self.state.on_changes(&changes, self.now);
        self.state.on_request(request, &*self.view, self.now)
    }

    /// What the server sends by itself.
    pub(super) fn poll(&mut self) -> Vec<String> {
        let changes = self.view.advance();
        self.state.on_changes(&changes, self.now);
        self.responses.clear();
        let due = self.state.deadline(self.now).is_some_and(|deadline| deadline <= self.now);
        loop {
            let more = due || self.state.has_more();
            let Some(response) = self.state.next(&*self.view, self.now) else { break };
            assert!(more, "{response:?} comes although there is no more");
            let decoded = R::Response::decode(response.message.to_bytes()).unwrap();
            assert_eq!(decoded.encoded_len(), response.message.len());
            self.latest.insert(response.type_url, decoded.clone());
            self.responses.push(decoded);
        }
        self.view.release();
        self.responses.iter().map(R::show).collect()
    }

    /// Accepts the latest response of a type.
    pub(super) fn ack(&mut self, type_url: &TypeUrl) -> Vec<String> {
        self.send(R::answer(&self.latest[type_url], None))
    }

    /// Refuses the latest response of a type.
    pub(super) fn nack(&mut self, type_url: &TypeUrl, message: &str) -> Vec<String> {
        let error = Status { code: 3, message: message.into(), details: Vec::new() };
        self.send(R::answer(&self.latest[type_url], Some(error)))
    }

    /// The names of a type whose current content was refused.
    pub(super) fn refused(&self, type_url: &TypeUrl) -> Vec<&str> {
        self.state.refused(type_url).map(|(name, _)| &**name).collect()
    }

    /// Lets time pass.
    pub(super) fn after(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.poll()
    }

    /// Makes changes at the source, each `name=body` or `-name`; what is sent.
    pub(super) fn change(&mut self, type_url: &TypeUrl, changes: &[&str]) -> Vec<String> {
        change(&self.source, type_url, changes);
        self.poll()
    }
}

impl Driven for DeltaDiscoveryRequest {
    type Response = DeltaDiscoveryResponse;

    fn show(response: &DeltaDiscoveryResponse) -> String {
        let mut text = TypeUrl::from(response.type_url.as_str()).short().to_owned();
        for resource in &response.resources {
            text += &show(resource);
        }
        for name in &response.removed_resources {
            text += &format!(" -{name}");
        }
        text
    }

    fn answer(response: &DeltaDiscoveryResponse, error: Option<Status>) -> Self {
        DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..Default::default()
        }
    }
}

impl Driven for DiscoveryRequest {
    type Response = DiscoveryResponse;

    fn show(response: &DiscoveryResponse) -> String {
        let mut text = TypeUrl::from(response.type_url.as_str()).short().to_owned();
        for any in &response.resources {
            text += &any.unpack::<Wire>().map_or_else(
                |_| format!(" {}", String::from_utf8_lossy(&any.value)),
                |wrapped| show(&wrapped),
            );
        }
        text
    }

    /// Without names: only for types that were asked for by wildcard.
    fn answer(response: &DiscoveryResponse, error: Option<Status>) -> Self {
        let version = if error.is_none() { response.version_info.clone() } else { String::new() };
        DiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            version_info: version,
            error_detail: error,
            ..Default::default()
        }
    }
}

fn show(resource: &Wire) -> String {
    let alias: String = resource.aliases.iter().map(|alias| format!("@{alias}")).collect();
    match &resource.resource {
        None => format!(" {}{alias}?", resource.name),
        Some(any) => match std::str::from_utf8(&any.value) {
            Ok(body) if body.is_ascii() && !body.contains('\n') => {
                format!(" {}{alias}={body}", resource.name)
            }
            _ => format!(" {}{alias}", resource.name),
        },
    }
}

/// A request for names, for everything (`*`) or no longer (`-name`).
pub(super) fn ask(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    let (unsubscribe, subscribe): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| name.starts_with('-'));
    DeltaDiscoveryRequest {
        type_url: type_url.to_string(),
        resource_names_subscribe: subscribe.into_iter().map(Into::into).collect(),
        resource_names_unsubscribe: unsubscribe.into_iter().map(|name| name[1..].into()).collect(),
        ..Default::default()
    }
}

/// A SotW request for names, in answer to the latest response if there is one.
pub(super) fn want(client: &Sotw, type_url: &TypeUrl, names: &[&str]) -> DiscoveryRequest {
    let latest = client.latest.get(type_url).cloned().unwrap_or_default();
    DiscoveryRequest {
        type_url: type_url.to_string(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        response_nonce: latest.nonce,
        version_info: latest.version_info,
        ..Default::default()
    }
}

/// Makes changes at a source at once, each `name=body` or `-name`.
pub(super) fn change(source: &StaticSource, type_url: &TypeUrl, changes: &[&str]) {
    source.update(|batch| {
        for change in changes {
            match change.split_once('=') {
                Some((name, body)) => batch.set(Resource::new(type_url, name, body.to_owned())),
                None => batch.remove(type_url, change.trim_start_matches('-')),
            };
        }
    });
}

/// A source with resources of one type, each `name=body`.
pub(super) fn source(type_url: &TypeUrl, resources: &[&str]) -> StaticSource {
    let source = StaticSource::new();
    change(&source, type_url, resources);
    source
}
