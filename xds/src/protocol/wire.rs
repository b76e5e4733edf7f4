//! Responses on the wire, put together from parts that are encoded already.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use mainstem_proto::envoy::config::core::v3::ControlPlane;
use mainstem_proto::envoy::service::discovery::v3::{ResourceError, ResourceName};
use mainstem_proto::google::rpc::Status;
use prost::Message as _;
use smallvec::SmallVec;

use super::nonce::Nonce;
use crate::names::Name;
use crate::resource::{Resource, put_bytes};
use crate::source::ResourceFailure;

/// Bytes up to which a message is sent in one piece.
const SMALL: usize = 4 << 10;

/// More bytes than most messages have of their own, with what precedes a message.
const OWN: usize = 192;

/// One encoded message: resources, which are shared with every other stream, and
/// what no other message has.
#[derive(Debug, Clone, Default)]
pub struct Message {
    form: Form,
    /// Mostly one, since a change is mostly of one.
    resources: SmallVec<[Arc<Resource>; 1]>,
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

/// How far into a [`Message`]: at a byte of it, or at its end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// Beyond the resources comes what is the message's own.
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
        self.from(self.begin()).for_each(|part| all.put_slice(part));
        all.freeze()
    }

    /// Whether it costs less to copy its parts than to gather them.
    pub(crate) fn is_small(&self) -> bool {
        self.len <= SMALL
    }

    /// The message in one piece, behind room for so many bytes. Of a small message its
    /// own fields have left room for all of it.
    pub(crate) fn into_piece(mut self, before: usize) -> Vec<u8> {
        let (own, all) = (self.own.len(), before + self.len);
        let mut piece = std::mem::take(&mut self.own);
        piece.resize(all, 0);
        piece.copy_within(..own, all - own);
        let mut at = before;
        for part in self.from(self.begin()) {
            piece[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        piece
    }

    /// Where it begins.
    pub(crate) fn begin(&self) -> Place {
        self.settled(Place::default())
    }

    /// What follows in one piece; nothing at the end.
    pub(crate) fn at(&self, place: Place) -> &[u8] {
        self.part(place).map_or(&[], |part| &part[place.offset..])
    }

    /// All that follows, piece by piece; no piece is empty.
    pub(crate) fn from(&self, place: Place) -> impl Iterator<Item = &[u8]> {
        let mut place = place;
        std::iter::from_fn(move || {
            let piece = self.at(place);
            place = self.after(place, piece.len());
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// So many bytes further.
    pub(crate) fn after(&self, mut place: Place, mut count: usize) -> Place {
        loop {
            let some = count.min(self.at(place).len());
            place = self.settled(Place { offset: place.offset + some, ..place });
            count -= some;
            if count == 0 || some == 0 {
                return place;
            }
        }
    }

    /// The same place, at the byte that follows.
    fn settled(&self, mut place: Place) -> Place {
        while place.resource <= self.resources.len() {
            place = match self.part(place) {
                Some(part) if place.offset < part.len() => return place,
                Some(_) => Place { part: place.part + 1, offset: 0, ..place },
                None => Place { resource: place.resource + 1, ..Place::default() },
            };
        }
        place
    }

    fn part(&self, place: Place) -> Option<&[u8]> {
        match self.resources.get(place.resource) {
            Some(resource) => self.form.part(resource, place.part),
            None => {
                (place.resource == self.resources.len() && place.part == 0).then_some(&self.own)
            }
        }
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
        if self.is_small() {
            self.own.reserve(self.len + OWN);
        }
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
