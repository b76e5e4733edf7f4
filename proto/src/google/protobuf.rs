//! The well-known types. All but [`Any`] are prost's own.

use bytes::Bytes;
use prost::{DecodeError, Name};

pub use prost_types::{Duration, FieldMask, ListValue, NullValue, Struct, Timestamp, Value, value};

/// An encoded message under its type URL.
///
/// Unlike `prost_types::Any` the body is shared: cloning one, or decoding a
/// response that carries many, copies no body.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Unpacks the message, if it is a `T`.
    ///
    /// Only what follows the last slash of the type URL counts, as protobuf specifies.
    pub fn unpack<T: Name + Default>(&self) -> Result<T, UnpackError> {
        if self.message_name() != T::full_name() {
            return Err(UnpackError::OtherType {
                found: self.type_url.clone(),
                wanted: T::full_name(),
            });
        }
        T::decode(self.value.clone())
            .map_err(|source| UnpackError::Malformed { type_url: self.type_url.clone(), source })
    }

    /// The full name of the packed message: the type URL after its last slash.
    pub fn message_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";

    fn type_url() -> String {
        "type.googleapis.com/google.protobuf.Any".to_owned()
    }
}

/// Why an [`Any`] did not yield the wanted message.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It packs another message.
    #[error("unpacking {found:?} as {wanted}")]
    OtherType {
        /// The type URL of the [`Any`].
        found: String,
        /// The full name of the wanted message.
        wanted: String,
    },
    /// Its body is not an encoding of that message.
    #[error("decoding the body of {type_url:?}")]
    Malformed {
        /// The type URL of the [`Any`].
        type_url: String,
        /// What the decoder says.
        source: DecodeError,
    },
}
