//! Google's common messages, as far as Envoy's API uses them.

pub use crate::generated::google::*;

pub mod protobuf;
