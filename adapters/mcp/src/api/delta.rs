//! Incremental ADS.

use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::google::rpc::Status;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::{Door, Held, LARGEST_ANSWER, McpError, received};
use crate::convert::Kind;

/// A stream on which only changes come.
pub(crate) struct Delta {
    address: String,
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    pub(super) async fn open(
        door: Door<'_>,
        held: impl Fn(&Kind) -> Held,
    ) -> Result<Self, McpError> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        for kind in &door.config.kinds {
            let _ = requests.send(DeltaDiscoveryRequest {
                node: Some(door.node()),
                type_url: kind.type_url().to_owned(),
                initial_resource_versions: held(kind).versions.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            });
        }
        let request = door.requests(outgoing)?;
        let mut client = AggregatedDiscoveryServiceClient::new(door.channel.clone())
            .max_decoding_message_size(LARGEST_ANSWER);
        let answers = client.delta_aggregated_resources(request).await;
        let answers = answers.map_err(|status| door.refused(status))?.into_inner();
        Ok(Self { address: door.config.address.clone(), requests, answers })
    }

    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, McpError> {
        received(&self.address, self.answers.message().await)
    }

    pub(super) fn reply(&self, answer: &DeltaDiscoveryResponse, error_detail: Option<Status>) {
        // A stream that has ended shows when it is read.
        let _ = self.requests.send(DeltaDiscoveryRequest {
            type_url: answer.type_url.clone(),
            response_nonce: answer.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        });
    }
}
