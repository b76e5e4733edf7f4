//! Nodes to types, strictly: unknown fields, wrong kinds of value and numbers
//! that are not quite numbers are refused, with their place and field.

use std::fmt;

use mainstem_registry::{FieldPath, Step};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Flaw;
use super::node::{Content, Node, Place, Scalar};

/// Reads a `T` out of a node.
///
/// # Errors
///
/// The first thing that does not fit.
pub(crate) fn typed<T: DeserializeOwned>(node: &Node) -> Result<T, Flaw> {
    T::deserialize(Reader(node)).map_err(|misfit| misfit.into_flaw(node.place))
}

/// What does not fit; knows its place once it has passed a node, and gathers the
/// way to it from the inside out.
#[derive(Debug)]
struct Misfit {
    place: Option<Place>,
    inner_steps: Vec<Step>,
    message: String,
}

impl Misfit {
    fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), inner_steps: Vec::new(), message: message.into() }
    }

    fn or_at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    fn inside(mut self, step: Step) -> Self {
        self.inner_steps.push(step);
        self
    }

    fn into_flaw(self, place: Place) -> Flaw {
        Flaw {
            place: self.place.unwrap_or(place),
            field: self.inner_steps.into_iter().rev().collect::<FieldPath>(),
            message: self.message,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { place: None, inner_steps: Vec::new(), message: message.to_string() }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a Node);

impl<'a> Reader<'a> {
    fn refuse(self, expected: &str, hint: &str) -> Misfit {
        let found = self.0.describe();
        Misfit::at(self.0.place, format!("expected {expected}, found {found}{hint}"))
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let expected = "a whole number";
        let value = match &self.0.content {
            Content::Scalar(Scalar::Integer(value, _)) => *value,
            Content::Scalar(Scalar::Text(text)) => {
                return Err(self.refuse(expected, &number_hint(text)));
            }
            _ => return Err(self.refuse(expected, "")),
        };
        let place = self.0.place;
        let given = match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => visitor.visit_u64(value),
            (_, Ok(value)) => visitor.visit_i64(value),
            _ => Err(self.refuse(expected, "")),
        };
        given.map_err(|misfit| misfit.or_at(place))
    }

    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Content::Map(entries) = &self.0.content else {
            return Err(self.refuse("a mapping", ""));
        };
        let entries = Entries { entries: entries.iter(), value: None, nulls_count: true };
        visitor.visit_map(entries).map_err(|misfit| misfit.or_at(self.0.place))
    }

    fn fields<'de, V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let Content::Map(entries) = &self.0.content else {
            return Err(self.refuse("a mapping", ""));
        };
        if let Some((key, place, _)) = entries.iter().find(|(k, ..)| !fields.contains(&k.as_str()))
        {
            return Err(Misfit::at(*place, unknown_field(key, fields)));
        }
        let entries = Entries { entries: entries.iter(), value: None, nulls_count: false };
        visitor.visit_map(entries).map_err(|misfit| misfit.or_at(self.0.place))
    }
}

fn number_hint(text: &str) -> String {
    let digits = text.trim_start_matches('0');
    if text.parse::<i128>().is_err() {
        String::new()
    } else if text.len() > 1 && text.starts_with('0') {
        let plain = if digits.is_empty() { "0" } else { digits };
        format!("; write {plain}, or 0o{plain} for an octal number")
    } else {
        "; write it without quotes".to_owned()
    }
}

/// The message for a field that does not exist.
pub(crate) fn unknown_field(key: &str, fields: &[&str]) -> String {
    let close = fields.iter().map(|field| (distance(key, field), *field)).min();
    match close {
        Some((edits, field)) if edits <= field.len() / 3 + 1 => {
            format!("unknown field {key:?}; did you mean {field:?}?")
        }
        _ => format!("unknown field {key:?}; there are: {}", fields.join(", ")),
    }
}

/// How many characters must be put, dropped or changed to turn `a` into `b`,
/// in any case; long names are cut.
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.chars().take(40).map(|c| c.to_ascii_lowercase()).collect();
    let (a, b): (Vec<char>, Vec<char>) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let given = match &self.0.content {
            Content::Null => visitor.visit_unit(),
            Content::Scalar(Scalar::Bool(value)) => visitor.visit_bool(*value),
            Content::Scalar(Scalar::Integer(..)) => self.integer(visitor),
            Content::Scalar(Scalar::Float(value, _)) => visitor.visit_f64(*value),
            Content::Scalar(Scalar::Text(text)) => visitor.visit_str(text),
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Map(_) => self.map(visitor),
        };
        given.map_err(|misfit| misfit.or_at(self.0.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.content {
            Content::Scalar(Scalar::Bool(value)) => visitor.visit_bool(*value),
            _ => Err(self.refuse("true or false", "")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Some(text) = self.0.text() else { return Err(self.refuse("a text", "")) };
        visitor.visit_str(text).map_err(|misfit: Misfit| misfit.or_at(self.0.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Content::List(items) = &self.0.content else {
            return Err(self.refuse("a list", ""));
        };
        visitor.visit_seq(Items(items.iter().enumerate()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let Some(text) = self.0.text() else { return Err(self.refuse("a word", "")) };
        visitor.visit_enum(Word(text)).map_err(|misfit| misfit.or_at(self.0.place))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        ignored_any
    }
}

struct Items<'a>(std::iter::Enumerate<std::slice::Iter<'a, Node>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        let inside = |misfit: Misfit| misfit.or_at(item.place).inside(Step::Index(index));
        seed.deserialize(Reader(item)).map(Some).map_err(inside)
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, Place, Node)>,
    value: Option<&'a (String, Place, Node)>,
    /// In a mapping of names a null is a value; a field that is null is left out.
    nulls_count: bool,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let nulls_count = self.nulls_count;
        let next = self.entries.find(|(.., node)| nulls_count || node.content != Content::Null);
        let Some(entry @ (key, place, _)) = next else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Misfit> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|misfit| misfit.or_at(*place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (key, _, node) = self.value.take().expect("a value is asked for after its key");
        let inside =
            |misfit: Misfit| misfit.or_at(node.place).inside(Step::Field(key.as_str().into()));
        seed.deserialize(Reader(node)).map_err(inside)
    }
}

struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misfit> {
        let word: StrDeserializer<'_, Misfit> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Misfit> {
        Err(de::Error::custom("a word stands here alone"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Misfit> {
        Err(de::Error::custom("a word stands here alone"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Misfit> {
        Err(de::Error::custom("a word stands here alone"))
    }
}
