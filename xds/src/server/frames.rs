//! Messages in gRPC's framing, as the bodies of HTTP requests and responses.
//!
//! Written here since a gRPC library codes messages through buffers that belong to
//! the stream and stay as large as its largest message: a stream that once asked
//! for a thousand names, or got a megabyte, would keep that for its life. Whatever
//! is allocated here dies with the message that it was for.

mod requests;
mod responses;

pub(super) use self::requests::Requests;
pub(super) use self::responses::Responses;

/// Compressed (0 is not) and length, before each message.
const PREFIX: usize = 5;
