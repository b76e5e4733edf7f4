//! A document as a tree that remembers where everything stands.

use std::fmt;

use mainstem_registry::{FieldPath, Step};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Error, Spanned, UserMessageFormatter};
use xxhash_rust::xxh3::Xxh3;

use super::{Document, Flaw};

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The line of the file.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Place {
    /// The first character of a file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// A parser's location within a document that begins at `line` of its file.
    fn within(line: u32, location: &serde_saphyr::Location) -> Self {
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
        Self {
            line: line.saturating_add(count(location.line()) - 1),
            column: count(location.column()),
        }
    }
}

/// A value and where it stands; where an alias brings it, where the alias stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub content: Content,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// `~`, `null` or nothing.
    Null,
    /// One word or text.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written, each key once.
    Map(Vec<(String, Place, Node)>),
}

/// A scalar as written and as understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, and how it was written.
    Integer(i128, String),
    /// Another number, and how it was written.
    Float(f64, String),
    /// Everything else.
    Text(String),
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// Where it stops being YAML, has a key twice, has unknown tags, or exceeds
    /// the limits of nesting, size or alias expansion.
    pub(crate) fn parse(document: Document<'_>) -> Result<Self, Flaw> {
        let raw: Raw = serde_saphyr::from_str_with_options(document.text, options())
            .map_err(|error| flaw(&error, document))?;
        Ok(raw.place_in(document))
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(own, ..)| own == key).map(|(_, _, node)| node)
    }

    /// The entries, if this is a mapping.
    pub(crate) fn entries(&self) -> &[(String, Place, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, if this is a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar.text()),
            _ => None,
        }
    }

    /// Where the field stands, or as much of the way to it as exists.
    pub(crate) fn place_of(&self, field: &FieldPath) -> Place {
        let mut node = self;
        for step in field.steps() {
            let next = match (step, &node.content) {
                (Step::Field(name), Content::Map(_)) => node.get(name),
                (Step::Index(index), Content::List(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.place
    }

    /// A hash of everything that stands here and of `more`, whatever its place.
    pub(crate) fn digest(&self, more: &str) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(more.as_bytes());
        self.feed(&mut hasher);
        hasher.digest()
    }

    fn feed(&self, hasher: &mut Xxh3) {
        match &self.content {
            Content::Null => hasher.update(b"n"),
            Content::Scalar(scalar) => {
                let quoted = matches!(scalar, Scalar::Text(_));
                feed_text(hasher, if quoted { b"t" } else { b"s" }, scalar.text());
            }
            Content::List(items) => {
                hasher.update(b"[");
                items.iter().for_each(|item| item.feed(hasher));
                hasher.update(b"]");
            }
            Content::Map(entries) => {
                hasher.update(b"{");
                for (key, _, value) in entries {
                    feed_text(hasher, b"k", key);
                    value.feed(hasher);
                }
                hasher.update(b"}");
            }
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar(scalar) => scalar.describe(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl Scalar {
    /// As written.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Integer(_, text) | Self::Float(_, text) | Self::Text(text) => text,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("the text {:?}", shortened(text)),
            other => format!("`{}`", other.text()),
        }
    }
}

fn feed_text(hasher: &mut Xxh3, mark: &[u8], text: &str) {
    hasher.update(mark);
    hasher.update(&text.len().to_le_bytes());
    hasher.update(text.as_bytes());
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 2_000_000,
            max_events: 8_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
        },
    }
}

fn flaw(error: &Error, document: Document<'_>) -> Flaw {
    let location = error.location();
    let place = location.map_or(Place { line: document.line, column: 1 }, |location| {
        Place::within(document.line, &location)
    });
    let message = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key:?} stands here twice; keep one")
        }
        error => {
            let text = error.render_with_formatter(&UserMessageFormatter);
            // The place is told apart, and counts lines of the file.
            text.split(" at line ").next().unwrap_or_default().trim_end().to_owned()
        }
    };
    Flaw::at(place, message)
}

/// A node as the parser brings it.
struct Raw(Spanned<RawContent>);

enum RawContent {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn place_in(self, document: Document<'_>) -> Node {
        let Self(Spanned { value, referenced, defined }) = self;
        // A number's own spelling: 1.10 is another version than 1.1.
        let written = |otherwise: String| {
            let span = defined.span();
            let begin = span.byte_offset().and_then(|at| usize::try_from(at).ok());
            let length = span.byte_len().and_then(|len| usize::try_from(len).ok());
            let text = begin.zip(length).and_then(|(at, len)| document.text.get(at..at + len));
            text.map_or(otherwise, str::to_owned)
        };
        let content = match value {
            RawContent::Null => Content::Null,
            RawContent::Bool(value) => Content::Scalar(Scalar::Bool(value)),
            RawContent::Integer(value) => {
                Content::Scalar(Scalar::Integer(value, written(value.to_string())))
            }
            RawContent::Float(value) => {
                Content::Scalar(Scalar::Float(value, written(value.to_string())))
            }
            RawContent::Text(text) => Content::Scalar(Scalar::Text(text)),
            RawContent::List(items) => {
                Content::List(items.into_iter().map(|item| item.place_in(document)).collect())
            }
            RawContent::Map(entries) => {
                let entry = |(key, value): (Spanned<String>, Self)| {
                    let place = Place::within(document.line, &key.referenced);
                    (key.value, place, value.place_in(document))
                };
                Content::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { place: Place::within(document.line, &referenced), content }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyContent)
    }
}

struct AnyContent;

impl<'de> Visitor<'de> for AnyContent {
    type Value = RawContent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawContent, E> {
        Ok(RawContent::Null)
    }

    fn visit_none<E>(self) -> Result<RawContent, E> {
        Ok(RawContent::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<RawContent, D::Error> {
        value.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawContent, E> {
        Ok(RawContent::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawContent, E> {
        Ok(RawContent::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawContent, E> {
        Ok(RawContent::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawContent, E> {
        Ok(RawContent::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawContent, E> {
        Ok(RawContent::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawContent, E> {
        Ok(RawContent::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawContent, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawContent::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawContent, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawContent::Map(map))
    }
}
