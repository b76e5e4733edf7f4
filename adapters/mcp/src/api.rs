//! The stream to the source: how it is opened, and what is said on it.
//!
//! Answers have one form, that of incremental ADS; [`sotw`] makes it of complete sets, and
//! [`original`] of collections.

mod delta;
mod original;
mod sink;
mod sotw;

use std::collections::HashMap;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mainstem_proto::google::protobuf::{Struct, Value, value};
use mainstem_proto::google::rpc::Status;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::McpConfig;
use crate::config::{Protocol, SinkError};
use crate::convert::Kind;
use crate::credentials::{Credentials, CredentialsError};

pub(crate) use sink::Sink;

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
    #[error("no source has opened a stream to {address} yet")]
    Awaited { address: String },
    #[error("listening on {address}")]
    Listen { address: String, source: std::io::Error },
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("{address} does not speak {spoken}; set protocol: {other}")]
    Unspoken { address: String, spoken: &'static str, other: &'static str },
    #[error("{address} ended the stream")]
    Ended { address: String },
    #[error("{address} has not answered for every kind in time")]
    Incomplete { address: String },
}

/// What is held of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Each object's version, by name.
    pub versions: HashMap<String, String>,
    /// The version of the newest complete set that was taken.
    pub version: String,
}

/// An open stream.
pub(crate) enum Stream {
    Delta(delta::Delta),
    Sotw(sotw::Sotw),
    Original(original::Original),
}

impl Stream {
    /// Opens a stream, or takes the one that a source opens to `sink`, and asks for every
    /// kind, naming the versions that are held.
    pub(crate) async fn open(
        config: &McpConfig,
        credentials: &Credentials,
        sink: Option<&mut Sink>,
        held: impl Fn(&Kind) -> Held,
    ) -> Result<Self, McpError> {
        let address = config.address.clone();
        if let Some(sink) = sink {
            let arrived = tokio::time::timeout(config.probe_timeout.duration(), sink.arrived());
            let incoming = arrived.await.ok().and_then(|()| sink.take());
            let incoming = incoming.ok_or(McpError::Awaited { address })?;
            return Ok(Self::Original(original::Original::taken(config, incoming, held)));
        }
        let opening = Self::opened(config, credentials, held);
        let opened = tokio::time::timeout(config.probe_timeout.duration(), opening).await;
        opened.map_err(|_| McpError::Silent { address })?
    }

    async fn opened(
        config: &McpConfig,
        credentials: &Credentials,
        held: impl Fn(&Kind) -> Held,
    ) -> Result<Self, McpError> {
        let address = config.address.clone();
        let channel = endpoint(config, credentials)?.connect().await;
        let channel = channel.map_err(|source| McpError::Connect { address, source })?;
        let door = Door { config, credentials, channel };
        match config.protocol {
            Protocol::Delta => delta::Delta::open(door, held).await.map(Self::Delta),
            Protocol::Sotw => sotw::Sotw::open(door, held).await.map(Self::Sotw),
            Protocol::ResourceSource | Protocol::ResourceSink => {
                original::Original::open(door, held).await.map(Self::Original)
            }
        }
    }

    /// The next answer.
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, McpError> {
        match self {
            Self::Delta(stream) => stream.next().await,
            Self::Sotw(stream) => stream.next().await,
            Self::Original(stream) => stream.next().await,
        }
    }

    /// Accepts an answer, or refuses a difference with a reason that names the culprits.
    pub(crate) fn reply(&mut self, answer: &DeltaDiscoveryResponse, refusal: Option<String>) {
        let error = refusal.map(|message| Status {
            // INVALID_ARGUMENT
            code: 3,
            message,
            details: Vec::new(),
        });
        match self {
            Self::Delta(stream) => stream.reply(answer, error),
            Self::Sotw(stream) => stream.accept(answer),
            Self::Original(stream) => stream.reply(answer, error),
        }
    }

    /// The version of the newest complete set of the kind that was taken.
    pub(crate) fn version(&self, kind: &Kind) -> String {
        match self {
            Self::Delta(_) | Self::Original(_) => String::new(),
            Self::Sotw(stream) => stream.version(kind),
        }
    }
}

/// A connection on which a stream is opened.
struct Door<'a> {
    config: &'a McpConfig,
    credentials: &'a Credentials,
    channel: Channel,
}

impl Door<'_> {
    /// The requests of a stream, for who has the credentials.
    fn requests<T>(
        &self,
        outgoing: tokio::sync::mpsc::UnboundedReceiver<T>,
    ) -> Result<Request<UnboundedReceiverStream<T>>, McpError> {
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        if let Some(header) = self.credentials.header()? {
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }

    fn node(&self) -> Node {
        let api = Value { kind: Some(value::Kind::StringValue("api".to_owned())) };
        let metadata = Struct { fields: [("GENERATOR".to_owned(), api)].into() };
        Node { id: self.config.node.clone(), metadata: Some(metadata), ..Node::default() }
    }

    /// Why no stream was opened.
    fn refused(&self, status: tonic::Status) -> McpError {
        let address = self.config.address.clone();
        if status.code() == tonic::Code::Unimplemented {
            let (spoken, other) = match self.config.protocol {
                Protocol::Delta => ("incremental ADS", "sotw"),
                Protocol::Sotw => ("state-of-the-world ADS", "delta"),
                Protocol::ResourceSource | Protocol::ResourceSink => {
                    ("the original protocol", "delta or sotw")
                }
            };
            return McpError::Unspoken { address, spoken, other };
        }
        McpError::Stream { address, source: Box::new(status) }
    }
}

/// An answer, or why there is none.
fn received<T>(address: &str, answer: Result<Option<T>, tonic::Status>) -> Result<T, McpError> {
    let address = || address.to_owned();
    match answer {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(McpError::Ended { address: address() }),
        Err(status) => Err(McpError::Stream { address: address(), source: Box::new(status) }),
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
