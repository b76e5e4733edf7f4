//! What is sent on an HTTP/2 stream: messages as the parts that they are made of.

use std::io::{Cursor, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};

use crate::protocol::{Message, Place};

/// Compressed (0 is not) and length, before each message of gRPC.
pub(in crate::server) const PREFIX: usize = 5;

/// Some bytes to send, which count as landed when they are on the wire.
pub(super) struct Payload {
    content: Content,
    flight: Option<Flight>,
}

enum Content {
    Bytes(Bytes),
    Piece(Cursor<Vec<u8>>),
    Parts(Box<Parts>),
}

/// What of a stream's payloads is on the wire: a client that does not read lets nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Landings(Arc<Landed>);

#[derive(Debug, Default)]
struct Landed {
    payloads: AtomicU64,
    bytes: AtomicU64,
}

struct Flight(Landings);

impl Landings {
    /// How many payloads are entirely on the wire.
    pub(super) fn payloads(&self) -> u64 {
        self.0.payloads.load(Ordering::Relaxed)
    }

    /// How many bytes of them are.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.0.payloads.fetch_add(1, Ordering::Relaxed);
    }
}

/// A message with its prefix, of which some may have been sent. The resources are
/// shared with all other messages that have them until they are on the wire.
pub(super) struct Parts {
    prefix: Bytes,
    message: Message,
    place: Place,
    /// Bytes of the message that are left.
    left: usize,
}

impl Payload {
    pub(super) fn bytes(bytes: Bytes) -> Payload {
        Payload { content: Content::Bytes(bytes), flight: None }
    }

    /// The same, counted among these.
    pub(super) fn counted(self, landings: &Landings) -> Payload {
        Payload { flight: Some(Flight(landings.clone())), ..self }
    }

    /// A message in gRPC's framing.
    pub(super) fn of(message: Message) -> Payload {
        let (left, mut prefix) = (message.len(), [0; PREFIX]);
        let length = u32::try_from(left).unwrap_or(u32::MAX);
        prefix[1..].copy_from_slice(&length.to_be_bytes());
        if message.is_small() {
            let mut piece = message.into_piece(PREFIX);
            piece[..PREFIX].copy_from_slice(&prefix);
            return Payload { content: Content::Piece(Cursor::new(piece)), flight: None };
        }
        let prefix = Bytes::copy_from_slice(&prefix);
        let place = message.begin();
        let parts = Parts { prefix, message, place, left };
        Payload { content: Content::Parts(Box::new(parts)), flight: None }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.remaining(),
            Content::Piece(piece) => Buf::remaining(piece),
            Content::Parts(parts) => parts.prefix.len() + parts.left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes.chunk(),
            Content::Piece(piece) => piece.chunk(),
            Content::Parts(parts) if parts.prefix.is_empty() => parts.message.at(parts.place),
            Content::Parts(parts) => &parts.prefix,
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.chunks_vectored(into),
            Content::Piece(piece) => piece.chunks_vectored(into),
            Content::Parts(parts) => parts.chunks_vectored(into),
        }
    }

    fn advance(&mut self, count: usize) {
        if let Some(Flight(landings)) = &self.flight {
            landings.0.bytes.fetch_add(count as u64, Ordering::Relaxed);
        }
        match &mut self.content {
            Content::Bytes(bytes) => bytes.advance(count),
            Content::Piece(piece) => piece.advance(count),
            Content::Parts(parts) => parts.advance(count),
        }
    }
}

impl Parts {
    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let prefix = (!self.prefix.is_empty()).then_some(&*self.prefix);
        let chunks = prefix.into_iter().chain(self.message.from(self.place));
        let slots = into.iter_mut().zip(chunks);
        slots.map(|(slot, chunk)| *slot = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len());
        self.prefix.advance(of_prefix);
        let count = count - of_prefix;
        assert!(count <= self.left, "no more is sent than there is");
        self.left -= count;
        self.place = self.message.after(self.place, count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainstem_proto::Encoded;
    use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
    use pretty_assertions::assert_eq;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::names::TypeUrl;
    use crate::resource::Resource;
    use crate::version::Version;

    /// A message with resources whose bodies have these parts.
    fn message(bodies: &[Vec<usize>]) -> Message {
        let mut message = Message::default();
        for (n, parts) in bodies.iter().enumerate() {
            let fill = u8::try_from(n).unwrap();
            let parts: Vec<_> = parts.iter().map(|len| Bytes::from(vec![fill; *len])).collect();
            let body = Encoded::of_parts(parts);
            let resource =
                Resource::with_version(&TypeUrl::CLUSTER, n.to_string(), Version(0), body);
            message.push(Arc::new(resource));
        }
        message.write(|out| out.extend_from_slice(b"\x2a\x03end"));
        message
    }

    proptest! {
        #[test]
        fn a_message_arrives_whole_however_it_is_cut(
            bodies in prop::collection::vec(prop::collection::vec(0usize..3000, 0..4), 0..6),
            cuts in prop::collection::vec(1usize..5000, 1..50),
        ) {
            let expected = message(&bodies).to_bytes();
            let mut payload = Payload::of(message(&bodies));
            prop_assert_eq!(payload.remaining(), PREFIX + expected.len());
            let (mut sent, mut cuts) = (Vec::new(), cuts.into_iter().cycle());
            while payload.has_remaining() {
                let most = cuts.next().unwrap();
                let mut slots = [IoSlice::new(&[]); 3];
                let used = payload.chunks_vectored(&mut slots);
                let gathered: Vec<u8> = slots[..used].iter().flat_map(|slot| slot.iter().copied()).collect();
                prop_assert!(gathered.starts_with(payload.chunk()) && !payload.chunk().is_empty());
                let some = most.min(gathered.len());
                sent.extend_from_slice(&gathered[..some]);
                payload.advance(some);
            }
            prop_assert_eq!(&sent[1..PREFIX], &u32::try_from(expected.len()).unwrap().to_be_bytes());
            prop_assert_eq!(&sent[PREFIX..], &expected);
        }
    }

    #[test]
    fn an_empty_message_is_a_prefix() {
        let mut payload = Payload::of(Message::default());
        assert_eq!(payload.copy_to_bytes(payload.remaining()), &[0; PREFIX][..]);
    }

    #[test]
    fn a_large_message_is_what_it_was_made_of() {
        let mut payload = Payload::of(message(&[vec![5_000, 5_000], vec![1]]));
        let all = payload.copy_to_bytes(payload.remaining());
        let decoded = DeltaDiscoveryResponse::decode(&all[PREFIX..]).unwrap();
        let lengths = decoded.resources.into_iter().map(|one| one.resource.unwrap().value.len());
        assert_eq!(lengths.collect::<Vec<_>>(), [10_000, 1]);
    }
}
