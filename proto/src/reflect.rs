//! Messages of Envoy's API as JSON, by their descriptors.
//!
//! Field names are as in Envoy's own output: `snake_case`, defaults left out.
//! Both `snake_case` and `camelCase` are read.

mod canonical;

use std::sync::LazyLock;

pub use canonical::canonical;
use prost::Name;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage,
    SerializeOptions,
};
use serde_json::Value;

use crate::google::protobuf::Any;

/// Every message of Envoy's API, also those that have no Rust type here.
pub static DESCRIPTOR_POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("build.rs writes a complete descriptor set")
});

/// Why a message and JSON could not be turned into each other.
#[derive(Debug, thiserror::Error)]
pub enum ReflectError {
    /// No message of that name is part of Envoy's API.
    #[error("looking up message {0:?}")]
    UnknownMessage(String),
    /// The bytes are not an encoding of the message.
    #[error("decoding {message}")]
    Decode {
        /// Full name of the message.
        message: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// The message has no JSON form, for example because it holds an Any of an unknown type.
    #[error("writing {message} as JSON")]
    ToJson {
        /// Full name of the message.
        message: String,
        /// What the serializer says.
        source: serde_json::Error,
    },
    /// The JSON is not a form of the message.
    #[error("reading {message} from JSON")]
    FromJson {
        /// Full name of the message.
        message: String,
        /// What the deserializer says.
        source: serde_json::Error,
    },
}

/// The message that an Any packs, as JSON without `@type`.
pub fn body_to_json(any: &Any) -> Result<Value, ReflectError> {
    encoded_to_json(any.message_name(), &any.value)
}

/// An encoded message, named by its full name, as JSON.
pub fn encoded_to_json(message: &str, body: &[u8]) -> Result<Value, ReflectError> {
    dynamic_to_json(&decode(message, body)?)
}

/// An Any as JSON: its message's fields and `@type`.
pub fn any_to_json(any: &Any) -> Result<Value, ReflectError> {
    to_json(any)
}

/// Any message as JSON; Anys inside are unpacked.
pub fn to_json<T: Name>(message: &T) -> Result<Value, ReflectError> {
    dynamic_to_json(&decode(&T::full_name(), &message.encode_to_vec())?)
}

/// Reads JSON as the message of that type URL and packs it. Unknown fields are errors.
pub fn any_from_json(type_url: &str, json: &Value) -> Result<Any, ReflectError> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let message = dynamic_from_json(name, json, true)?;
    Ok(Any { type_url: type_url.to_owned(), value: canonical(&message).into() })
}

/// Reads JSON as a message. Unknown fields are errors.
pub fn from_json<T: Name + Default>(json: &Value) -> Result<T, ReflectError> {
    typed(dynamic_from_json(&T::full_name(), json, true)?)
}

/// Reads JSON as a message, leaving out fields that are not known here: for
/// what a newer peer says.
pub fn from_json_lenient<T: Name + Default>(json: &Value) -> Result<T, ReflectError> {
    typed(dynamic_from_json(&T::full_name(), json, false)?)
}

/// The descriptor of a message by its full name.
pub fn descriptor(message: &str) -> Result<MessageDescriptor, ReflectError> {
    DESCRIPTOR_POOL
        .get_message_by_name(message)
        .ok_or_else(|| ReflectError::UnknownMessage(message.to_owned()))
}

/// Decodes a message by its full name.
pub fn decode(message: &str, body: &[u8]) -> Result<DynamicMessage, ReflectError> {
    DynamicMessage::decode(descriptor(message)?, body)
        .map_err(|source| ReflectError::Decode { message: message.to_owned(), source })
}

fn dynamic_to_json(message: &DynamicMessage) -> Result<Value, ReflectError> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|source| {
        ReflectError::ToJson { message: message.descriptor().full_name().to_owned(), source }
    })
}

fn dynamic_from_json(
    message: &str,
    json: &Value,
    strict: bool,
) -> Result<DynamicMessage, ReflectError> {
    let options = DeserializeOptions::new().deny_unknown_fields(strict);
    DynamicMessage::deserialize_with_options(descriptor(message)?, json, &options)
        .map_err(|source| ReflectError::FromJson { message: message.to_owned(), source })
}

fn typed<T: Name + Default>(message: DynamicMessage) -> Result<T, ReflectError> {
    T::decode(canonical(&message).as_slice())
        .map_err(|source| ReflectError::Decode { message: T::full_name(), source })
}
