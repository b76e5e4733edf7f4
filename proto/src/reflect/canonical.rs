//! Encoding of dynamic messages, byte for byte as their Rust types encode.

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::google::protobuf::Any;

const MAP_KEY: u32 = 1;
const MAP_VALUE: u32 = 2;

/// Encodes a message with its maps in key order, also those inside packed Anys.
///
/// `DynamicMessage` by itself encodes a map in an order that differs from run
/// to run.
pub fn canonical(message: &DynamicMessage) -> Vec<u8> {
    if let Some(any) = repacked(message) {
        return any.encode_to_vec();
    }
    let mut out = Vec::new();
    for (field, value) in message.fields() {
        encode_field(message, &field, value, &mut out);
    }
    for unknown in message.unknown_fields() {
        unknown.encode(&mut out);
    }
    out
}

/// An Any whose body is in canonical form, if the message is an Any of a known type.
fn repacked(message: &DynamicMessage) -> Option<Any> {
    if message.descriptor().full_name() != "google.protobuf.Any" {
        return None;
    }
    let any = Any::decode(message.encode_to_vec().as_slice()).ok()?;
    let body = super::decode(any.message_name(), &any.value).ok()?;
    Some(Any { value: Bytes::from(canonical(&body)), ..any })
}

fn encode_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) {
    match value {
        Value::Message(inner) => encode_bytes(field.number(), &canonical(inner), out),
        Value::List(items) if matches!(field.kind(), Kind::Message(_)) => {
            for inner in items.iter().filter_map(Value::as_message) {
                encode_bytes(field.number(), &canonical(inner), out);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries.iter().collect::<BTreeMap<_, _>>() {
                encode_bytes(field.number(), &encode_entry(field, key, value), out);
            }
        }
        _ => {
            let mut alone = DynamicMessage::new(message.descriptor());
            alone.set_field(field, value.clone());
            out.extend_from_slice(&alone.encode_to_vec());
        }
    }
}

/// A key or value that equals its default is left out, as in generated code.
fn encode_entry(field: &FieldDescriptor, key: &MapKey, value: &Value) -> Vec<u8> {
    let Kind::Message(entry) = field.kind() else {
        unreachable!("a map field's kind is its entry message");
    };
    let mut alone = DynamicMessage::new(entry);
    alone.set_field_by_number(MAP_KEY, key.clone().into());
    let Value::Message(inner) = value else {
        alone.set_field_by_number(MAP_VALUE, value.clone());
        return alone.encode_to_vec();
    };
    let mut out = alone.encode_to_vec();
    let body = canonical(inner);
    if !body.is_empty() {
        encode_bytes(MAP_VALUE, &body, &mut out);
    }
    out
}

fn encode_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
