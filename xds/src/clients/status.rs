//! The state of a client as plain values.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_proto::envoy::config::core::v3::node::UserAgentVersionType;
use serde::Serialize;

use super::Protocol;
use crate::auth::Identity;
use crate::names::Name;
use crate::protocol::{Nonce, Rejection};
use crate::source::Client;
use crate::version::Version;

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
    /// The resources that it refuses as they are now, in order of names.
    pub refused: Vec<Refused>,
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
    /// The latest response was refused, or resources are withheld since it refused
    /// them and they have not changed.
    Rejected,
}

impl TypeStatus {
    /// Whether the client has what it should have.
    pub fn state(&self) -> SyncState {
        let [sent, acked, nacked] = self.nonces();
        SyncState::of(self.pending, sent, acked, nacked, self.refused.len())
    }

    /// The same of one resource, as far as it is known: that it was refused is known by
    /// name, that it was accepted by type.
    pub fn state_of(&self, name: &str) -> SyncState {
        let [sent, acked, nacked] = self.nonces();
        let condemned = self.nacked.as_ref().filter(|nack| {
            let culprits = &nack.rejection.culprits;
            let meant = culprits.is_empty() || culprits.iter().any(|culprit| **culprit == *name);
            Some(nack.answer.nonce) == sent && meant
        });
        if condemned.is_some() || self.refusal_of(name).is_some() {
            return SyncState::Rejected;
        }
        // What a refusal left out of account is as it was, unless it is sent again.
        let answered = if nacked == sent { nacked } else { acked };
        SyncState::of(self.pending, sent, answered, None, 0)
    }

    /// The refusal of one resource, if it is refused.
    pub fn refusal_of(&self, name: &str) -> Option<&Refused> {
        let at = self.refused.binary_search_by(|refused| (*refused.name).cmp(name)).ok()?;
        Some(&self.refused[at])
    }

    /// Those of the latest response, ACK and NACK.
    fn nonces(&self) -> [Option<Nonce>; 3] {
        let of = |answer: &Answer| answer.nonce;
        [
            self.sent.as_ref().map(|sent| sent.nonce),
            self.acked.as_ref().map(of),
            self.nacked.as_ref().map(|nack| of(&nack.answer)),
        ]
    }
}

impl SyncState {
    /// Its word: `synced`.
    pub fn word(self) -> &'static str {
        match self {
            SyncState::Empty => "empty",
            SyncState::Synced => "synced",
            SyncState::Stale => "stale",
            SyncState::Rejected => "rejected",
        }
    }

    pub(super) fn of(
        pending: usize,
        sent: Option<Nonce>,
        acked: Option<Nonce>,
        nacked: Option<Nonce>,
        refused: usize,
    ) -> SyncState {
        match () {
            () if sent.is_none() => SyncState::Empty,
            () if refused > 0 || nacked == sent => SyncState::Rejected,
            () if pending == 0 && acked == sent => SyncState::Synced,
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

/// A resource that a client refuses as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Its name.
    pub name: Name,
    /// The version that is refused.
    pub version: Version,
    /// When it was refused first.
    pub at: SystemTime,
    /// What the client said, shortened; nothing where it refuses very many.
    pub message: Arc<str>,
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
