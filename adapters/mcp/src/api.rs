//! The stream to the source: how it is opened, and what is said on it.

use std::collections::HashMap;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::google::protobuf::{Struct, Value, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Streaming};

use crate::McpConfig;
use crate::convert::Kind;
use crate::credentials::{Credentials, CredentialsError};

/// The largest answer that is taken, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum McpError {
    #[error("reading the credentials of the source")]
    Credentials(#[from] CredentialsError),
    #[error("a token is sent over https only; change the address {0:?} or drop tokenFile")]
    PlainToken(String),
    #[error("connecting to {address}")]
    Connect { address: String, source: tonic::transport::Error },
    #[error("{address} did not answer in time")]
    Silent { address: String },
    #[error("following {address}")]
    Stream { address: String, source: Box<tonic::Status> },
    #[error("{address} ended the stream")]
    Ended { address: String },
    #[error("{address} has not answered for every kind in time")]
    Incomplete { address: String },
}

/// An open stream.
pub(crate) struct Stream {
    address: String,
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    /// Opens a stream and asks for every kind, naming the versions that are held.
    pub(crate) async fn open(
        config: &McpConfig,
        credentials: &Credentials,
        held: impl Fn(Kind) -> HashMap<String, String>,
    ) -> Result<Self, McpError> {
        let address = config.address.clone();
        let opening = Self::opened(config, credentials, held);
        let opened = tokio::time::timeout(config.probe_timeout.duration(), opening).await;
        opened.map_err(|_| McpError::Silent { address })?
    }

    async fn opened(
        config: &McpConfig,
        credentials: &Credentials,
        held: impl Fn(Kind) -> HashMap<String, String>,
    ) -> Result<Self, McpError> {
        let address = config.address.clone();
        let channel = endpoint(config, credentials)?.connect().await;
        let channel: Channel =
            channel.map_err(|source| McpError::Connect { address: address.clone(), source })?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        for kind in Kind::ALL {
            let _ = requests.send(subscribe(&config.node, kind, held(kind)));
        }
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        if let Some(header) = credentials.header()? {
            request.metadata_mut().insert("authorization", header);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(LARGEST_ANSWER);
        match client.delta_aggregated_resources(request).await {
            Ok(answers) => Ok(Self { address, requests, answers: answers.into_inner() }),
            Err(status) => Err(McpError::Stream { address, source: Box::new(status) }),
        }
    }

    /// The next answer.
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, McpError> {
        let address = || self.address.clone();
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(McpError::Ended { address: address() }),
            Err(status) => Err(McpError::Stream { address: address(), source: Box::new(status) }),
        }
    }

    /// Accepts an answer, or refuses it with a reason that names the culprits.
    pub(crate) fn reply(&self, answer: &DeltaDiscoveryResponse, refusal: Option<String>) {
        let error_detail = refusal.map(|message| mainstem_proto::google::rpc::Status {
            // INVALID_ARGUMENT
            code: 3,
            message,
            details: Vec::new(),
        });
        // A stream that has ended shows when it is read.
        let _ = self.requests.send(DeltaDiscoveryRequest {
            type_url: answer.type_url.clone(),
            response_nonce: answer.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        });
    }
}

fn endpoint(config: &McpConfig, credentials: &Credentials) -> Result<Endpoint, McpError> {
    let address = config.address.clone();
    let secure = address.starts_with("https://");
    if credentials.token.is_some() && !secure {
        return Err(McpError::PlainToken(address));
    }
    let wrong = |source| McpError::Connect { address: address.clone(), source };
    let endpoint = Endpoint::from_shared(address.clone()).map_err(wrong)?;
    let endpoint = match secure {
        true => endpoint.tls_config(tls(config, credentials)).map_err(wrong)?,
        false => endpoint,
    };
    Ok(endpoint
        .connect_timeout(config.probe_timeout.duration())
        .http2_keep_alive_interval(config.probe_interval.duration())
        .keep_alive_timeout(config.probe_timeout.duration())
        .keep_alive_while_idle(true))
}

fn tls(config: &McpConfig, credentials: &Credentials) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &credentials.ca {
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    if let Some((cert, key)) = &credentials.identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    match &config.tls.server_name {
        Some(name) => tls.domain_name(name),
        None => tls,
    }
}

fn subscribe(node: &str, kind: Kind, held: HashMap<String, String>) -> DeltaDiscoveryRequest {
    let api = Value { kind: Some(value::Kind::StringValue("api".to_owned())) };
    let metadata = Struct { fields: [("GENERATOR".to_owned(), api)].into() };
    DeltaDiscoveryRequest {
        node: Some(Node { id: node.to_owned(), metadata: Some(metadata), ..Node::default() }),
        type_url: kind.type_url().to_owned(),
        initial_resource_versions: held.into_iter().collect(),
        ..DeltaDiscoveryRequest::default()
    }
}
