//! The protocol as values: requests and changes go in, responses come out.
//!
//! [`DeltaState`] and [`SotwState`] hold one stream's state each. Requests and
//! changes only mark what is owed; [`next`](DeltaState::next) then builds one
//! response at a time from what the view has *now*, as long as something may be
//! sent. So a client that ACKs late is owed a set of names and not a queue of
//! messages.

mod delta;
mod fetch;
mod heartbeat;
mod nonce;
mod order;
mod owed;
mod refusal;
mod sotw;
mod state;
mod wire;

use std::time::Instant;

use mainstem_proto::google::rpc::Status;

pub use delta::DeltaState;
pub(crate) use fetch::{Fetched, fetch};
pub use nonce::Nonce;
pub use sotw::{FullSets, SotwState};
pub(crate) use state::{Request, State};
pub use wire::Message;
pub(crate) use wire::Place;

use crate::names::{Name, TypeUrl};
use crate::source::ResourceFailure;

/// Counts the moments of a view, as far as one stream has seen them.
type Moment = u64;

/// One response, encoded.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type of its resources.
    pub type_url: TypeUrl,
    /// Its nonce.
    pub nonce: Nonce,
    /// What goes onto the wire.
    pub message: Message,
    /// Resources in it.
    pub resources: usize,
    /// Names in it that were removed.
    pub removed: usize,
}

/// What a request said about an earlier response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it asks for something.
    None,
    /// The response in flight was accepted.
    Ack(Answered),
    /// The response in flight was refused.
    Nack(Answered, Rejection),
    /// It answers a response that is no longer the latest.
    Stale,
}

/// A response that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its nonce.
    pub nonce: Nonce,
    /// When it was built.
    pub sent: Instant,
}

/// What a client says against a response.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rejection {
    /// The gRPC status code.
    pub code: i32,
    /// The client's message.
    pub message: String,
    /// The resources found guilty by it: their bytes are not sent again.
    pub culprits: Vec<Name>,
}

/// Bytes of a client's message that are read and kept. Culprits named beyond
/// are sent again, and named in the next refusal.
const REJECTION_BYTES: usize = 16 << 10;

impl Rejection {
    /// What the client says, and whom `judge` finds guilty by its message.
    fn of(error: &Status, judge: impl FnOnce(&str) -> Vec<Name>) -> Rejection {
        let message = &error.message[..error.message.floor_char_boundary(REJECTION_BYTES)];
        Rejection { code: error.code, message: message.to_owned(), culprits: judge(message) }
    }
}

/// A request that ends the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An aggregated stream must say which type it means.
    #[error("a request without type_url")]
    MissingType,
    /// A stream of one type carries no other.
    #[error("a request for {0} on a stream of another type")]
    OtherType(String),
    /// Beyond [`Limits`](crate::Limits).
    #[error("a stream may have at most {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
}

impl From<ProtocolError> for tonic::Status {
    fn from(error: ProtocolError) -> Self {
        let text = error.to_string();
        match error {
            ProtocolError::MissingType | ProtocolError::OtherType(_) => {
                tonic::Status::invalid_argument(text)
            }
            ProtocolError::TooMany { .. } => tonic::Status::resource_exhausted(text),
        }
    }
}

/// Whether the failure says something of the resource itself; else it is passing
/// trouble, and no reason to drop what a client holds.
fn is_lasting(failure: &ResourceFailure) -> bool {
    matches!(failure.code, tonic::Code::NotFound | tonic::Code::PermissionDenied)
}

#[cfg(test)]
mod harness;
#[cfg(test)]
pub(crate) mod model;
