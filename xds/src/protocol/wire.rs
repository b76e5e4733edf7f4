//! Responses on the wire, put together from parts that are encoded already.

use bytes::{BufMut, Bytes, BytesMut};
use mainstem_proto::envoy::config::core::v3::ControlPlane;
use mainstem_proto::envoy::service::discovery::v3::{ResourceError, ResourceName};
use mainstem_proto::google::rpc::Status;
use prost::Message as _;

use super::nonce::Nonce;
use crate::names::Name;
use crate::resource::put_bytes;
use crate::source::ResourceFailure;

/// One encoded message, as the parts that follow each other on the wire.
///
/// The parts of resources are shared with every other stream.
#[derive(Debug, Clone, Default)]
pub struct Message {
    parts: Vec<Bytes>,
    len: usize,
}

impl Message {
    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes; even then it is a message.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The message in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        for part in &self.parts {
            all.put_slice(part);
        }
        all.freeze()
    }

    pub(crate) fn push(&mut self, part: Bytes) {
        self.len += part.len();
        self.parts.push(part);
    }

    pub(crate) fn extend(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        for part in parts {
            self.push(part);
        }
    }
}

/// All of a response but its resources.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) type_url: &'a str,
    /// Absent in an answer without a stream.
    pub(super) nonce: Option<Nonce>,
    /// Absent in delta.
    pub(super) version: Option<String>,
    /// Absent in SotW.
    pub(super) removed: &'a [Name],
    pub(super) errors: &'a [(Name, ResourceFailure)],
    /// The server's name, once per stream.
    pub(super) identifier: Option<&'a str>,
}

impl Envelope<'_> {
    /// Fields of `DeltaDiscoveryResponse`.
    pub(super) fn delta(&self) -> Bytes {
        self.encode(6, 7, 9)
    }

    /// Fields of `DiscoveryResponse`.
    pub(super) fn sotw(&self) -> Bytes {
        self.encode(0, 6, 7)
    }

    fn encode(&self, removed: u32, control_plane: u32, errors: u32) -> Bytes {
        const VERSION: u32 = 1;
        const TYPE_URL: u32 = 4;
        const NONCE: u32 = 5;
        let mut out = BytesMut::with_capacity(128);
        if let Some(version) = &self.version {
            put_bytes(VERSION, version.as_bytes(), &mut out);
        }
        put_bytes(TYPE_URL, self.type_url.as_bytes(), &mut out);
        if let Some(nonce) = self.nonce {
            put_bytes(NONCE, nonce.text().as_bytes(), &mut out);
        }
        for name in self.removed {
            put_bytes(removed, name.as_bytes(), &mut out);
        }
        if let Some(identifier) = self.identifier {
            let message = ControlPlane { identifier: identifier.to_owned() };
            put_bytes(control_plane, &message.encode_to_vec(), &mut out);
        }
        for (name, failure) in self.errors {
            put_bytes(errors, &resource_error(name, failure).encode_to_vec(), &mut out);
        }
        out.freeze()
    }
}

fn resource_error(name: &Name, failure: &ResourceFailure) -> ResourceError {
    ResourceError {
        resource_name: Some(ResourceName {
            name: name.to_string(),
            dynamic_parameter_constraints: None,
        }),
        error_detail: Some(Status {
            code: failure.code as i32,
            message: failure.message.to_string(),
            details: Vec::new(),
        }),
    }
}
