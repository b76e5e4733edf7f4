//! The original Mesh Configuration Protocol, as the sink that opens the stream:
//! `istio.mcp.v1alpha1.ResourceSource`. A source answers for a collection with its complete
//! set, or where it can with what changed.

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

use super::sotw::complete;
use super::{Door, Held, LARGEST_ANSWER, McpError, received};
use crate::convert::Kind;

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// A stream of collections.
pub(crate) struct Original {
    address: String,
    requests: mpsc::UnboundedSender<RequestResources>,
    answers: Streaming<Resources>,
    /// The objects of each kind.
    names: BTreeMap<Kind, BTreeSet<String>>,
}

impl Original {
    pub(super) async fn open(
        door: Door<'_>,
        held: impl Fn(Kind) -> Held,
    ) -> Result<Self, McpError> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut names = BTreeMap::new();
        for &kind in &door.config.kinds {
            let versions = held(kind).versions;
            names.insert(kind, versions.keys().cloned().collect());
            let _ = requests.send(RequestResources {
                sink_node: Some(SinkNode { id: door.config.node.clone(), ..SinkNode::default() }),
                collection: kind.collection().to_owned(),
                initial_resource_versions: versions.into_iter().collect(),
                incremental: true,
                ..RequestResources::default()
            });
        }
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
        let type_url = kind.map_or(collection, |kind| kind.type_url().to_owned());
        let told = DeltaDiscoveryResponse { type_url, nonce, ..Default::default() };
        let Some(names) = kind.map(|kind| self.names.entry(kind).or_default()) else {
            return Ok(told);
        };
        let resources: Vec<Resource> = resources.into_iter().map(named).collect();
        if !incremental {
            return Ok(complete(told, resources, names));
        }
        names.extend(resources.iter().map(|resource| resource.name.clone()));
        names.retain(|name| !removed_resources.contains(name));
        Ok(DeltaDiscoveryResponse { resources, removed_resources, ..told })
    }

    pub(super) fn reply(&self, answer: &DeltaDiscoveryResponse, error_detail: Option<Status>) {
        let collection = match Kind::of(&answer.type_url) {
            Some(kind) => kind.collection().to_owned(),
            None => answer.type_url.clone(),
        };
        // A stream that has ended shows when it is read.
        let _ = self.requests.send(RequestResources {
            collection,
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
