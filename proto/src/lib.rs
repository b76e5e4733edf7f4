//! Protobuf messages and services of Envoy's API, generated with a deterministic encoding.
//!
//! ```text
//!  envoy-types: types.bin ──build.rs──▶ envoy_api.rs   modules as protobuf packages name them
//!                                  └──▶ descriptors.bin ──▶ [`reflect`]: any message ⇄ JSON
//! ```
//!
//! A package is a module: `envoy.config.cluster.v3.Cluster` is
//! [`envoy::config::cluster::v3::Cluster`]. Wrapper types are plain options
//! (`UInt32Value` is `Option<u32>`), `Duration`, `Struct` and their like are in
//! [`google::protobuf`].
//!
//! Invariants:
//! - Equal messages encode to equal bytes, in every process: maps are ordered.
//! - The body of an [`Any`] is `Bytes`: moving a
//!   resource from one message to another copies nothing.
//! - [`reflect`] knows every message of Envoy's API, also those without Rust types.

/// The generated modules, for [`self`] to name.
#[allow(
    dead_code,
    missing_docs,
    clippy::all,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    rustdoc::all
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/envoy_api.rs"));
}

mod encoded;
pub mod google;
pub mod istio;
pub mod reflect;
pub mod type_url;

pub use encoded::Encoded;
/// Envoy's API, xDS services included.
pub use generated::envoy;
/// Messages shared with other implementations of xDS: matchers, resource names.
pub use generated::xds;
/// Messages that Envoy's API borrows from other projects.
pub use generated::{cel, opentelemetry};

use google::protobuf::Any;

/// Packs a message into an [`Any`] under its own type URL.
pub fn any<T: prost::Name>(message: &T) -> Any {
    Any { type_url: T::type_url(), value: message.encode_to_vec().into() }
}

#[cfg(test)]
mod tests;
