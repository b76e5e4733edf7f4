//! Values as bytes, for what is kept beside the process: last good states and
//! what holds keep.
//!
//! ```text
//! stream := record*          record := its length, then a protobuf message
//! record := text | labels | locality | place | origins     numbered from 0 in each kind
//!         | service | endpoints | workload | namespace | config | gateway
//! ```
//!
//! What many values share stands once, before the first value that names it by
//! its number, so that the stream is short and what was shared in memory is
//! shared again. Fields may be added; a change that an older program would
//! misread needs a new version of the files that carry the stream.
//!
//! Invariants:
//! - Bytes that are no such stream give an error and nothing else, however they
//!   were made.
//! - A secret has no record: no value of the model that may be written here is one.

mod decode;
mod encode;
mod records;
#[cfg(test)]
mod tests;

pub(crate) use decode::decode;
pub(crate) use encode::Encoder;
