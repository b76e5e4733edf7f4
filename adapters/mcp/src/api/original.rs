//! The original Mesh Configuration Protocol, as the sink, who opens the stream
//! (`istio.mcp.v1alpha1.ResourceSource`) or takes one that the source opened ([`super::sink`]).
//! A source answers for a collection with its complete set, or where it can with what
//! changed.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::google::rpc::Status;
use mainstem_proto::istio::{self, RequestResources, Resources, SinkNode};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use xxhash_rust::xxh3::xxh3_128;

use super::sink::Incoming;
use super::sotw::complete;
use super::{Door, Held, LARGEST_ANSWER, McpError, received};
use crate::McpConfig;
use crate::convert::Kind;

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// A stream of collections.
pub(crate) struct Original {
    address: String,
    requests: Requests,
    answers: Streaming<Resources>,
    /// The objects of each kind.
    names: BTreeMap<Kind, BTreeSet<String>>,
}

/// Requests as a client sends them, or as a server answers with them.
enum Requests {
    Sent(mpsc::UnboundedSender<RequestResources>),
    Answered(mpsc::UnboundedSender<Result<RequestResources, tonic::Status>>),
}

impl Requests {
    /// A stream that has ended shows when it is read.
    fn send(&self, request: RequestResources) {
        let _ = match self {
            Self::Sent(requests) => requests.send(request).is_ok(),
            Self::Answered(requests) => requests.send(Ok(request)).is_ok(),
        };
    }
}

/// Asks for every kind; the names that are held of each.
fn ask(
    config: &McpConfig,
    requests: &Requests,
    held: impl Fn(&Kind) -> Held,
) -> BTreeMap<Kind, BTreeSet<String>> {
    let mut names = BTreeMap::new();
    for kind in &config.kinds {
        let versions = held(kind).versions;
        names.insert(kind.clone(), versions.keys().cloned().collect());
        requests.send(RequestResources {
            sink_node: Some(SinkNode { id: config.node.clone(), ..SinkNode::default() }),
            collection: kind.collection().to_owned(),
            initial_resource_versions: versions.into_iter().collect(),
            incremental: true,
            ..RequestResources::default()
        });
    }
    names
}

impl Original {
    /// The stream that a source opened.
    pub(super) fn taken(
        config: &McpConfig,
        incoming: Incoming,
        held: impl Fn(&Kind) -> Held,
    ) -> Self {
        let requests = Requests::Answered(incoming.requests);
        let names = ask(config, &requests, held);
        Self { address: config.address.clone(), requests, answers: incoming.answers, names }
    }

    pub(super) async fn open(
        door: Door<'_>,
        held: impl Fn(&Kind) -> Held,
    ) -> Result<Self, McpError> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let requests = Requests::Sent(requests);
        let names = ask(door.config, &requests, held);
        let address = door.config.address.clone();
        let request = door.requests(outgoing)?;
        let mut client = Grpc::new(door.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        client
            .ready()
            .await
            .map_err(|source| McpError::Connect { address: address.clone(), source })?;
        let method = PathAndQuery::from_static(METHOD);
        let codec: ProstCodec<RequestResources, Resources> = ProstCodec::default();
        let answers = client.streaming(request, method, codec).await;
        let answers = answers.map_err(|status| door.refused(status))?.into_inner();
        Ok(Self { address, requests, answers, names })
    }

    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, McpError> {
        let answer = received(&self.address, self.answers.message().await)?;
        let Resources { collection, resources, removed_resources, nonce, incremental, .. } = answer;
        let kind = Kind::of_collection(&collection);
        let type_url = kind.type_url().to_owned();
        let told = DeltaDiscoveryResponse { type_url, nonce, ..Default::default() };
        let Some(names) = self.names.get_mut(&kind) else { return Ok(told) };
        let resources: Vec<Resource> = resources.into_iter().map(named).collect();
        if !incremental {
            return Ok(complete(told, resources, names));
        }
        names.extend(resources.iter().map(|resource| resource.name.clone()));
        names.retain(|name| !removed_resources.contains(name));
        Ok(DeltaDiscoveryResponse { resources, removed_resources, ..told })
    }

    pub(super) fn reply(&self, answer: &DeltaDiscoveryResponse, error_detail: Option<Status>) {
        self.requests.send(RequestResources {
            collection: Kind::of(&answer.type_url).collection().to_owned(),
            response_nonce: answer.nonce.clone(),
            error_detail,
            incremental: true,
            ..RequestResources::default()
        });
    }
}

/// An object by the version that the source gave it, else by its content.
fn named(resource: istio::Resource) -> Resource {
    let any = Any { type_url: istio::RESOURCE.to_owned(), value: resource.encode_to_vec().into() };
    let metadata = resource.metadata.unwrap_or_default();
    let version = match metadata.version.as_str() {
        "" => format!("{:032x}", xxh3_128(&any.value)),
        version => version.to_owned(),
    };
    Resource { name: metadata.name, version, resource: Some(any), ..Resource::default() }
}
