//! From the tree to typed values, each error at the place of what is wrong.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::tree::{Key, Node, Place, Tree};

/// What is wrong, and where as soon as somebody knew.
#[derive(Debug)]
pub struct Fault {
    /// The innermost node or key that was being read.
    pub place: Option<Place>,
    /// What is wrong with it.
    pub message: String,
}

impl Fault {
    /// What is wrong with a setting, told at its place.
    pub(super) fn of(node: &Node, setting: &str, error: impl fmt::Display) -> Self {
        let place = node.get(setting).unwrap_or(node).place.clone();
        Self { place: Some(place), message: error.to_string() }
    }

    fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { place: None, message: message.to_string() }
    }
}

/// Reads a typed value out of a node.
pub fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, Fault> {
    T::deserialize(node).map_err(|fault| fault.at(&node.place))
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.tree {
            Tree::Null => Unexpected::Unit,
            Tree::Bool(value) => Unexpected::Bool(*value),
            Tree::Integer(value) => match i64::try_from(*value) {
                Ok(value) => Unexpected::Signed(value),
                Err(_) => Unexpected::Other("a large integer"),
            },
            Tree::Float(value) => Unexpected::Float(*value),
            Tree::Text(value) => Unexpected::Str(value),
            Tree::List(_) => Unexpected::Seq,
            Tree::Map(_) => Unexpected::Map,
        }
    }

    /// Text where the value looks like something else: only quotes help.
    fn visit_text<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        match &self.tree {
            Tree::Text(text) => visitor.visit_borrowed_str(text),
            Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) => {
                let message = format!("{} where text belongs: put it in quotes", self.unexpected());
                Err(de::Error::custom(message))
            }
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn visit_any<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        match &self.tree {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(de::Error::invalid_value(self.unexpected(), &visitor)),
            },
            Tree::Float(value) => visitor.visit_f64(*value),
            Tree::Text(value) => visitor.visit_borrowed_str(value),
            Tree::List(items) => visitor.visit_seq(Items(items.iter())),
            Tree::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_any(visitor).map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor).map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            Tree::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault: Fault| fault.at(&self.place))
    }

    /// A mapping, or nothing at all, which is a mapping without entries.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.tree {
            Tree::Map(_) => self.visit_any(visitor),
            Tree::Null => visitor.visit_map(Entries { rest: [].iter(), value: None }),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.tree {
            Tree::Text(variant) => visitor.visit_enum(variant.as_str().into_deserializer()),
            Tree::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { key: &entries[0].0, value: &entries[0].1 })
            }
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a variant's name")),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.0.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|fault| fault.at(&node.place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        key.read(seed).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let value = self.value.take().expect("serde asks for a key before its value");
        seed.deserialize(value).map_err(|fault| fault.at(&value.place))
    }
}

impl Key {
    fn read<'de, K: DeserializeSeed<'de>>(&'de self, seed: K) -> Result<K::Value, Fault> {
        let name: StrDeserializer<'_, Fault> = (&*self.name).into_deserializer();
        seed.deserialize(name).map_err(|fault| fault.at(&self.place))
    }
}

struct Variant<'de> {
    key: &'de Key,
    value: &'de Node,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = &'de Node;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, &'de Node), Fault> {
        Ok((self.key.read(seed)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for &'de Node {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        decode(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self).map_err(|fault| fault.at(&self.place))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        port: u16,
        #[serde(default)]
        mode: Mode,
        #[serde(default)]
        inner: Option<Box<Sample>>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Plain,
        Tuned(u32),
    }

    fn read(yaml: &str) -> Result<Sample, (u64, u64, String)> {
        let node: Node = serde_saphyr::from_str(yaml).unwrap();
        decode(&node).map_err(|fault| match fault.place {
            Some(Place::File { line, column, .. }) => (line, column, fault.message),
            place => panic!("{place:?} {}", fault.message),
        })
    }

    #[test]
    fn every_shape_is_read() {
        let inner = Sample { name: "b".to_owned(), port: 80, mode: Mode::Tuned(3), inner: None };
        assert_eq!(
            read("name: a\nmode: plain\ninner: { name: b, port: 80, mode: { tuned: 3 } }\n"),
            Ok(Sample {
                name: "a".to_owned(),
                port: 0,
                mode: Mode::Plain,
                inner: Some(Box::new(inner)),
            })
        );
    }

    #[rstest]
    #[case("name: a\nprot: 1", 2, 1, "unknown field `prot`")]
    #[case("name: a\nport: 70000", 2, 7, "integer `70000`")]
    #[case("name: 12\n", 1, 7, "integer `12` where text belongs: put it in quotes")]
    #[case("name: a\ninner:\n  port: 1\n", 3, 3, "missing field `name`")]
    #[case("name: a\nmode: odd", 2, 7, "unknown variant `odd`")]
    #[case("name: a\ninner: [x]", 2, 8, "invalid type: sequence")]
    fn an_error_points_at_what_is_wrong(
        #[case] yaml: &str,
        #[case] line: u64,
        #[case] column: u64,
        #[case] message: &str,
    ) {
        let (at_line, at_column, text) = read(yaml).unwrap_err();
        assert_eq!((at_line, at_column), (line, column), "{text}");
        assert!(text.contains(message), "{text}");
    }
}
