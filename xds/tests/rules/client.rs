//! Clients of both variants that keep what they need to answer.

use std::collections::BTreeMap;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mainstem_proto::google::rpc::Status;
use mainstem_xds::{Resource, StaticSource, TypeUrl};

use crate::common::Running;
use crate::common::client::{Stream, connect};

pub const CDS: TypeUrl = TypeUrl::CLUSTER;
pub const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
pub const LDS: TypeUrl = TypeUrl::LISTENER;
pub const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
pub const VHDS: TypeUrl = TypeUrl::VIRTUAL_HOST;

/// How many fences one stream may need.
const FENCES: usize = 8;

fn fence(n: usize) -> TypeUrl {
    TypeUrl::from(format!("type.googleapis.com/test.Fence{n}").as_str())
}

/// Puts `name=body` and removes `-name`, at once.
pub fn change(source: &StaticSource, type_url: &TypeUrl, edits: &[&str]) {
    source.update(|batch| {
        for edit in edits {
            match (edit.strip_prefix('-'), edit.rsplit_once('=')) {
                (Some(name), _) => batch.remove(type_url, name),
                (None, Some((name, body))) => {
                    batch.set(Resource::new(type_url, name, body.to_owned()))
                }
                (None, None) => panic!("{edit} is neither name=body nor -name"),
            };
        }
    });
}

/// A server of these resources.
pub async fn serve(type_url: &TypeUrl, resources: &[&str]) -> Running {
    let source = StaticSource::new();
    for n in 0..FENCES {
        source.set(Resource::new(&fence(n), "fence", "1".to_owned()));
    }
    change(&source, type_url, resources);
    Running::start(source).await
}

pub fn node(features: &[&str]) -> Node {
    Node {
        id: "n".into(),
        client_features: features.iter().map(ToString::to_string).collect(),
        ..Node::default()
    }
}

fn error(message: &str) -> Option<Status> {
    Some(Status { code: 3, message: message.into(), details: vec![] })
}

fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    text.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(text)
}

/// A stream with its latest answer of each type. The node is told once.
pub struct Client<Q, A> {
    pub stream: Stream<Q, A>,
    pub latest: BTreeMap<String, A>,
    pub node: Option<Node>,
    fences: usize,
}

pub type Delta = Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub type Sotw = Client<DiscoveryRequest, DiscoveryResponse>;

impl<Q, A> Client<Q, A> {
    fn of(stream: Stream<Q, A>) -> Self {
        Self { stream, latest: BTreeMap::new(), node: Some(node(&[])), fences: 0 }
    }

    fn next_fence(&mut self) -> TypeUrl {
        self.fences += 1;
        fence(self.fences - 1)
    }
}

impl Delta {
    pub async fn open(running: &Running) -> Self {
        let mut ads = connect(running.address).await;
        Self::of(Stream::open(|requests| ads.delta_aggregated_resources(requests)).await)
    }

    /// Sends a request, with the node if it is the first.
    pub fn send(&mut self, request: DeltaDiscoveryRequest) {
        self.stream.send(DeltaDiscoveryRequest { node: self.node.take(), ..request });
    }

    /// Subscribes to `name` and unsubscribes from `-name`.
    pub fn ask(&mut self, type_url: &TypeUrl, names: &[&str]) {
        self.send(request(type_url, names));
    }

    pub fn ack(&mut self, type_url: &TypeUrl) {
        let response_nonce = self.latest[&**type_url].nonce.clone();
        self.send(DeltaDiscoveryRequest { response_nonce, ..request(type_url, &[]) });
    }

    pub fn nack(&mut self, type_url: &TypeUrl, message: &str) {
        let response_nonce = self.latest[&**type_url].nonce.clone();
        let error_detail = error(message);
        self.send(DeltaDiscoveryRequest { response_nonce, error_detail, ..request(type_url, &[]) });
    }

    /// The next answer. What was asked for by other names stands behind an `@`.
    pub async fn next(&mut self) -> String {
        let response = self.stream.next().await;
        let mut line = TypeUrl::from(response.type_url.as_str()).short().to_owned();
        for resource in &response.resources {
            line += &format!(" {}", resource.name);
            resource.aliases.iter().for_each(|alias| line += &format!("@{alias}"));
            match &resource.resource {
                None => line += "?",
                Some(any) => {
                    line += &text(&any.value).map_or_else(String::new, |text| format!("={text}"));
                }
            }
        }
        response.removed_resources.iter().for_each(|name| line += &format!(" -{name}"));
        self.latest.insert(response.type_url.clone(), response);
        line
    }

    /// Asks, and accepts the answer.
    pub async fn settle(&mut self, type_url: &TypeUrl, names: &[&str]) -> String {
        self.ask(type_url, names);
        let answer = self.next().await;
        self.ack(type_url);
        answer
    }

    /// What was sent so far is not answered.
    pub async fn silent(&mut self) {
        let fence = self.next_fence();
        self.ask(&fence, &["fence"]);
        assert_eq!(self.next().await, format!("{} fence=1", fence.short()));
    }
}

pub fn request(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    let (gone, new): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with('-'));
    DeltaDiscoveryRequest {
        type_url: type_url.to_string(),
        resource_names_subscribe: new.into_iter().map(ToOwned::to_owned).collect(),
        resource_names_unsubscribe: gone.into_iter().map(|name| name[1..].to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

impl Sotw {
    pub async fn open(running: &Running) -> Self {
        let mut ads = connect(running.address).await;
        Self::of(Stream::open(|requests| ads.stream_aggregated_resources(requests)).await)
    }

    pub fn send(&mut self, request: DiscoveryRequest) {
        self.stream.send(DiscoveryRequest { node: self.node.take(), ..request });
    }

    /// All that a request says: the latest answer accepted, these names wanted.
    pub fn want(&self, type_url: &TypeUrl, names: &[&str]) -> DiscoveryRequest {
        let latest = self.latest.get(&**type_url);
        DiscoveryRequest {
            type_url: type_url.to_string(),
            version_info: latest.map(|latest| latest.version_info.clone()).unwrap_or_default(),
            response_nonce: latest.map(|latest| latest.nonce.clone()).unwrap_or_default(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..DiscoveryRequest::default()
        }
    }

    /// Accepts the latest answer and wants these names.
    pub fn ask(&mut self, type_url: &TypeUrl, names: &[&str]) {
        self.send(self.want(type_url, names));
    }

    pub fn nack(&mut self, type_url: &TypeUrl, names: &[&str], message: &str) {
        self.send(DiscoveryRequest { error_detail: error(message), ..self.want(type_url, names) });
    }

    pub async fn next(&mut self) -> String {
        let response = self.stream.next().await;
        let mut line = TypeUrl::from(response.type_url.as_str()).short().to_owned();
        for any in &response.resources {
            line += &text(&any.value).map_or_else(|| " …".to_owned(), |text| format!(" {text}"));
        }
        self.latest.insert(response.type_url.clone(), response);
        line
    }

    pub async fn settle(&mut self, type_url: &TypeUrl, names: &[&str]) -> String {
        self.ask(type_url, names);
        let answer = self.next().await;
        self.ask(type_url, names);
        answer
    }

    pub async fn silent(&mut self) {
        let fence = self.next_fence();
        self.ask(&fence, &["fence"]);
        assert_eq!(self.next().await, format!("{} 1", fence.short()));
    }
}
