//! The state of a client as plain values.

use std::net::SocketAddr;
use std::time::SystemTime;

use mainstem_proto::envoy::config::core::v3::node::UserAgentVersionType;
use serde::Serialize;

use super::Protocol;
use crate::auth::Identity;
use crate::protocol::{Answered, Nonce, Rejection, Response};
use crate::source::Client;

/// One connected client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientStatus {
    /// Distinguishes the streams of this process.
    pub stream: u64,
    /// The node's id.
    pub node: String,
    /// The node's cluster.
    pub cluster: String,
    /// Name and version of the client's software.
    pub agent: String,
    /// Where it comes from, unless through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Who it was proven to be.
    pub identity: Identity,
    /// The variant of the protocol.
    pub protocol: Protocol,
    /// When the stream began.
    pub since: SystemTime,
    /// By type, in the order in which the client asked.
    pub types: Vec<TypeStatus>,
}

/// One type of one client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeStatus {
    /// The type.
    pub type_url: String,
    /// Whether the client asked for everything.
    pub wildcard: bool,
    /// How many names it asked for.
    pub names: usize,
    /// Names that it is still to be told about.
    pub pending: usize,
    /// Since when it has not what it should have.
    pub stale_since: Option<SystemTime>,
    /// The latest response.
    pub sent: Option<Push>,
    /// The latest response that it accepted.
    pub acked: Option<Answer>,
    /// The latest response that it refused, and why.
    pub nacked: Option<Nack>,
}

/// Whether a client has what it should have, of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncState {
    /// Nothing was sent: there is nothing, or it is not known yet.
    Empty,
    /// Everything was sent and accepted.
    Synced,
    /// Something is unsent or unanswered.
    Stale,
    /// The latest response was refused.
    Rejected,
}

impl TypeStatus {
    /// Whether the client has what it should have.
    pub fn state(&self) -> SyncState {
        let nacked = self.nacked.as_ref().map(|nack| &nack.answer);
        SyncState::of(self.pending, self.sent.as_ref(), self.acked.as_ref(), nacked)
    }
}

impl SyncState {
    pub(super) fn of(
        pending: usize,
        sent: Option<&Push>,
        acked: Option<&Answer>,
        nacked: Option<&Answer>,
    ) -> SyncState {
        let Some(sent) = sent else { return SyncState::Empty };
        let answered =
            |answer: Option<&Answer>| answer.is_some_and(|answer| answer.nonce == sent.nonce);
        match () {
            () if answered(nacked) => SyncState::Rejected,
            () if pending == 0 && answered(acked) => SyncState::Synced,
            () => SyncState::Stale,
        }
    }
}

/// A response that was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// Its nonce.
    pub nonce: Nonce,
    /// When.
    pub at: SystemTime,
    /// How many resources it had.
    pub resources: usize,
    /// How many removals it had.
    pub removed: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// A client's answer to a response.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The response's nonce.
    pub nonce: Nonce,
    /// When the answer came.
    pub at: SystemTime,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nack {
    /// Which response, and when.
    #[serde(flatten)]
    pub answer: Answer,
    /// What the client says.
    #[serde(flatten)]
    pub rejection: Rejection,
}

impl ClientStatus {
    pub(super) fn new(
        client: &Client,
        protocol: Protocol,
        since: SystemTime,
        types: Vec<TypeStatus>,
    ) -> ClientStatus {
        ClientStatus {
            stream: client.stream,
            node: client.node.id.clone(),
            cluster: client.node.cluster.clone(),
            agent: agent(client),
            peer: client.peer,
            identity: client.identity.clone(),
            protocol,
            since,
            types,
        }
    }
}

impl Push {
    pub(super) fn of(response: &Response) -> Push {
        Push {
            nonce: response.nonce,
            at: SystemTime::now(),
            resources: response.resources,
            removed: response.removed,
            bytes: response.message.len(),
        }
    }
}

impl Answer {
    pub(super) fn to(answered: &Answered) -> Answer {
        Answer { nonce: answered.nonce, at: SystemTime::now() }
    }
}

fn agent(client: &Client) -> String {
    let version = match &client.node.user_agent_version_type {
        None => String::new(),
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            let version = build.version.unwrap_or_default();
            format!("{}.{}.{}", version.major_number, version.minor_number, version.patch)
        }
    };
    format!("{} {version}", client.node.user_agent_name).trim().to_owned()
}
