//! Responses on the wire, put together from parts that are encoded already.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use mainstem_proto::envoy::config::core::v3::ControlPlane;
use mainstem_proto::envoy::service::discovery::v3::{ResourceError, ResourceName};
use mainstem_proto::google::rpc::Status;
use prost::Message as _;

use super::nonce::Nonce;
use crate::names::Name;
use crate::resource::{Resource, put_bytes};
use crate::source::ResourceFailure;

/// One encoded message: resources, which are shared with every other stream, and
/// what no other message has.
#[derive(Debug, Clone, Default)]
pub struct Message {
    form: Form,
    resources: Vec<Arc<Resource>>,
    own: Vec<u8>,
    len: usize,
}

/// In which protocol's form resources are written.
#[derive(Debug, Clone, Copy, Default)]
enum Form {
    #[default]
    Delta,
    Sotw,
}

impl Form {
    fn part(self, resource: &Resource, at: usize) -> Option<&[u8]> {
        match self {
            Form::Delta => resource.delta_part(at),
            Form::Sotw => resource.sotw_part(at),
        }
    }
}

/// How far into a [`Message`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    resource: usize,
    part: usize,
    offset: usize,
}

impl Message {
    /// An empty message of the SotW protocol.
    pub(crate) fn sotw() -> Message {
        Message { form: Form::Sotw, ..Message::default() }
    }

    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes; even then it is a message.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The message in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        self.copy(&mut Place::default(), &mut all, self.len);
        all.freeze()
    }

    /// Copies from `place` on until `out` is `most` bytes long, and moves `place`
    /// on. Returns whether something is left.
    pub(crate) fn copy(&self, place: &mut Place, out: &mut BytesMut, most: usize) -> bool {
        while let Some(part) = self.part(place) {
            let rest = &part[place.offset..];
            let room = most - out.len();
            if rest.len() > room {
                out.put_slice(&rest[..room]);
                place.offset += room;
                return true;
            }
            out.put_slice(rest);
            *place = Place { part: place.part + 1, offset: 0, ..*place };
        }
        false
    }

    /// The part at a place, which moves on to the next resource if this one has
    /// no more.
    fn part(&self, place: &mut Place) -> Option<&[u8]> {
        while let Some(resource) = self.resources.get(place.resource) {
            let part = self.form.part(resource, place.part);
            if part.is_some() {
                return part;
            }
            *place = Place { resource: place.resource + 1, ..Place::default() };
        }
        (place.part == 0).then_some(&self.own)
    }

    /// Adds a resource.
    pub(crate) fn push(&mut self, resource: Arc<Resource>) {
        self.len += match self.form {
            Form::Delta => resource.delta_len(),
            Form::Sotw => resource.sotw_len(),
        };
        self.resources.push(resource);
    }

    /// Adds fields that no other message has.
    pub(crate) fn write(&mut self, fields: impl FnOnce(&mut Vec<u8>)) {
        let before = self.own.len();
        fields(&mut self.own);
        self.len += self.own.len() - before;
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
    pub(super) fn delta(&self, out: &mut Vec<u8>) {
        self.encode(6, 7, 9, out);
    }

    /// Fields of `DiscoveryResponse`.
    pub(super) fn sotw(&self, out: &mut Vec<u8>) {
        self.encode(0, 6, 7, out);
    }

    fn encode(&self, removed: u32, control_plane: u32, errors: u32, out: &mut Vec<u8>) {
        const VERSION: u32 = 1;
        const TYPE_URL: u32 = 4;
        const NONCE: u32 = 5;
        out.reserve(128);
        if let Some(version) = &self.version {
            put_bytes(VERSION, version.as_bytes(), out);
        }
        put_bytes(TYPE_URL, self.type_url.as_bytes(), out);
        if let Some(nonce) = self.nonce {
            put_bytes(NONCE, nonce.text().as_bytes(), out);
        }
        for name in self.removed {
            put_bytes(removed, name.as_bytes(), out);
        }
        if let Some(identifier) = self.identifier {
            let message = ControlPlane { identifier: identifier.to_owned() };
            put_bytes(control_plane, &message.encode_to_vec(), out);
        }
        for (name, failure) in self.errors {
            put_bytes(errors, &resource_error(name, failure).encode_to_vec(), out);
        }
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
