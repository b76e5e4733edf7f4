//! Encoded messages whose parts may be shared.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// An encoded message: in one piece, or in parts that follow each other on the
/// wire, so that messages which have most of their fields alike share the bytes.
///
/// Equal bytes are equal, however they are cut.
#[derive(Clone)]
pub struct Encoded(Cut);

#[derive(Clone)]
enum Cut {
    Whole(Bytes),
    Parts(Arc<[Bytes]>),
}

impl Encoded {
    /// A message out of parts in order.
    pub fn of_parts(parts: impl Into<Arc<[Bytes]>>) -> Self {
        Self(Cut::Parts(parts.into()))
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Bytes] {
        match &self.0 {
            Cut::Whole(bytes) => std::slice::from_ref(bytes),
            Cut::Parts(parts) => parts,
        }
    }

    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.parts().iter().map(Bytes::len).sum()
    }

    /// Whether the message has no fields.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(Bytes::is_empty)
    }

    /// The message in one piece. Copies if it is in parts.
    pub fn to_bytes(&self) -> Bytes {
        let parts = match &self.0 {
            Cut::Whole(bytes) => return bytes.clone(),
            Cut::Parts(parts) => parts,
        };
        let mut all = BytesMut::with_capacity(self.len());
        parts.iter().for_each(|part| all.put_slice(part));
        all.freeze()
    }

    fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.parts().iter().flat_map(|part| part.iter())
    }
}

impl<T: Into<Bytes>> From<T> for Encoded {
    fn from(bytes: T) -> Self {
        Self(Cut::Whole(bytes.into()))
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.parts(), other.parts());
        ours == theirs || (self.len() == other.len() && self.bytes().eq(other.bytes()))
    }
}

impl Eq for Encoded {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[&'static str]) -> Encoded {
        Encoded::of_parts(parts.iter().map(|part| Bytes::from(*part)).collect::<Vec<_>>())
    }

    #[test]
    fn a_message_is_its_bytes_however_they_are_cut() {
        let whole = Encoded::from("abc");
        for same in [parts(&["abc"]), parts(&["a", "", "bc"]), parts(&["ab", "c"])] {
            assert!(same == whole);
            assert_eq!((same.len(), same.to_bytes()), (3, Bytes::from("abc")));
        }
        for other in [parts(&["a", "b"]), parts(&["a", "bd"]), parts(&[])] {
            assert!(other != whole);
        }
        assert!(parts(&[]) == Encoded::from("") && parts(&[""]).is_empty());
    }
}
