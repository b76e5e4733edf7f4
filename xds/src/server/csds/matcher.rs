//! Which nodes an operator asks about: Envoy's matchers, read once a request.

use std::ops::Range;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::r#type::matcher::v3::double_matcher::MatchPattern as OfNumber;
use mainstem_proto::envoy::r#type::matcher::v3::list_matcher::MatchPattern as OfList;
use mainstem_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern as OfText;
use mainstem_proto::envoy::r#type::matcher::v3::struct_matcher::path_segment::Segment;
use mainstem_proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as OfValue;
use mainstem_proto::envoy::r#type::matcher::v3::{
    DoubleMatcher, NodeMatcher, RegexMatcher, StringMatcher, StructMatcher, ValueMatcher,
};
use mainstem_proto::google::protobuf::value::Kind;
use mainstem_proto::google::protobuf::{Struct, Value};
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled regular expression may take.
const PROGRAM_BYTES: usize = 1 << 20;

/// Matches a node if any of several does, or if there is none.
#[derive(Debug)]
pub(super) struct Nodes(Vec<One>);

/// Matches a node if its id and all of its metadata do.
#[derive(Debug)]
struct One {
    id: Option<Text>,
    metadata: Vec<Field>,
}

/// Matches what stands at a path of metadata.
#[derive(Debug)]
struct Field {
    path: Vec<String>,
    value: Expected,
}

#[derive(Debug)]
struct Text {
    pattern: Pattern,
    ignore_case: bool,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

#[derive(Debug)]
enum Expected {
    Null,
    Number(f64),
    Within(Range<f64>),
    Text(Text),
    Bool(bool),
    Present(bool),
    OneOfList(Box<Expected>),
    Either(Vec<Expected>),
}

/// A matcher that says too little, or what cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMatcher {
    #[error("a matcher of nodes lacks its {0}")]
    Lacks(&'static str),
    #[error("a matcher of nodes has an extension, and none is known")]
    Extension,
    #[error("the regular expression {pattern:?} cannot be used")]
    Regex { pattern: String, source: regex::Error },
}

impl From<BadMatcher> for tonic::Status {
    fn from(error: BadMatcher) -> Self {
        use std::error::Error;
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        tonic::Status::invalid_argument(format!("{error}{cause}"))
    }
}

impl Nodes {
    pub(super) fn read(matchers: &[NodeMatcher]) -> Result<Nodes, BadMatcher> {
        matchers.iter().map(One::read).collect::<Result<_, _>>().map(Nodes)
    }

    pub(super) fn matches(&self, node: &Node) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.matches(node))
    }
}

impl One {
    fn read(matcher: &NodeMatcher) -> Result<One, BadMatcher> {
        Ok(One {
            id: matcher.node_id.as_ref().map(Text::read).transpose()?,
            metadata: matcher.node_metadatas.iter().map(Field::read).collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, node: &Node) -> bool {
        self.id.as_ref().is_none_or(|id| id.matches(&node.id))
            && self.metadata.iter().all(|field| field.matches(node.metadata.as_ref()))
    }
}

impl Field {
    fn read(matcher: &StructMatcher) -> Result<Field, BadMatcher> {
        let keys = matcher.path.iter().map(|part| match &part.segment {
            Some(Segment::Key(key)) if !key.is_empty() => Ok(key.clone()),
            _ => Err(BadMatcher::Lacks("key")),
        });
        let path: Vec<String> = keys.collect::<Result<_, _>>()?;
        if path.is_empty() {
            return Err(BadMatcher::Lacks("path"));
        }
        let value = matcher.value.as_ref().ok_or(BadMatcher::Lacks("value"))?;
        Ok(Field { path, value: Expected::read(value)? })
    }

    fn matches(&self, metadata: Option<&Struct>) -> bool {
        self.value.matches(metadata.and_then(|metadata| at(metadata, &self.path)))
    }
}

/// What stands at the end of a path, if it leads anywhere.
fn at<'a>(metadata: &'a Struct, path: &[String]) -> Option<&'a Kind> {
    let (key, rest) = path.split_first()?;
    let kind = metadata.fields.get(key)?.kind.as_ref()?;
    match kind {
        found if rest.is_empty() => Some(found),
        Kind::StructValue(inner) => at(inner, rest),
        _ => None,
    }
}

impl Text {
    fn read(matcher: &StringMatcher) -> Result<Text, BadMatcher> {
        let lower =
            |text: &String| if matcher.ignore_case { text.to_lowercase() } else { text.clone() };
        let some = |text: &String, what| match text.as_str() {
            "" => Err(BadMatcher::Lacks(what)),
            _ => Ok(lower(text)),
        };
        let pattern = match matcher.match_pattern.as_ref().ok_or(BadMatcher::Lacks("pattern"))? {
            OfText::Exact(text) => Pattern::Exact(lower(text)),
            OfText::Prefix(text) => Pattern::Prefix(some(text, "prefix")?),
            OfText::Suffix(text) => Pattern::Suffix(some(text, "suffix")?),
            OfText::Contains(text) => Pattern::Contains(some(text, "part")?),
            OfText::SafeRegex(matcher) => Pattern::Regex(regex(matcher)?),
            OfText::Custom(_) => return Err(BadMatcher::Extension),
        };
        // As Envoy has it, case counts in regular expressions whatever is said.
        let ignore_case = matcher.ignore_case && !matches!(pattern, Pattern::Regex(_));
        Ok(Text { pattern, ignore_case })
    }

    fn matches(&self, text: &str) -> bool {
        if self.ignore_case {
            return self.pattern.matches(&text.to_lowercase());
        }
        self.pattern.matches(text)
    }
}

/// Matches the whole text, and in linear time.
fn regex(matcher: &RegexMatcher) -> Result<Regex, BadMatcher> {
    if matcher.regex.is_empty() {
        return Err(BadMatcher::Lacks("regular expression"));
    }
    let whole = format!("^(?:{})$", matcher.regex);
    let built = RegexBuilder::new(&whole).size_limit(PROGRAM_BYTES).build();
    built.map_err(|source| BadMatcher::Regex { pattern: matcher.regex.clone(), source })
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(exact) => text == exact,
            Pattern::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Pattern::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Pattern::Contains(part) => text.contains(part.as_str()),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Expected {
    fn read(matcher: &ValueMatcher) -> Result<Expected, BadMatcher> {
        Ok(match matcher.match_pattern.as_ref().ok_or(BadMatcher::Lacks("value"))? {
            OfValue::NullMatch(_) => Expected::Null,
            OfValue::DoubleMatch(matcher) => number(matcher)?,
            OfValue::StringMatch(matcher) => Expected::Text(Text::read(matcher)?),
            OfValue::BoolMatch(expected) => Expected::Bool(*expected),
            OfValue::PresentMatch(expected) => Expected::Present(*expected),
            OfValue::ListMatch(matcher) => match &matcher.match_pattern {
                Some(OfList::OneOf(one)) => Expected::OneOfList(Box::new(Expected::read(one)?)),
                None => return Err(BadMatcher::Lacks("element")),
            },
            OfValue::OrMatch(matcher) => {
                let all = matcher.value_matchers.iter().map(Expected::read);
                Expected::Either(all.collect::<Result<_, _>>()?)
            }
        })
    }

    fn matches(&self, found: Option<&Kind>) -> bool {
        match (self, found) {
            (Expected::Either(all), found) => all.iter().any(|one| one.matches(found)),
            (Expected::Present(expected), found) => match found {
                Some(Kind::StructValue(_) | Kind::ListValue(_)) => false,
                found => found.is_some() == *expected,
            },
            (Expected::Null, Some(Kind::NullValue(_))) => true,
            #[allow(clippy::float_cmp, reason = "the matcher asks for that very number")]
            (Expected::Number(exact), Some(Kind::NumberValue(number))) => exact == number,
            (Expected::Within(range), Some(Kind::NumberValue(number))) => range.contains(number),
            (Expected::Text(text), Some(Kind::StringValue(value))) => text.matches(value),
            (Expected::Bool(expected), Some(Kind::BoolValue(value))) => expected == value,
            (Expected::OneOfList(one), Some(Kind::ListValue(list))) => {
                let kinds = list.values.iter().map(|value: &Value| value.kind.as_ref());
                kinds.into_iter().any(|kind| one.matches(kind))
            }
            _ => false,
        }
    }
}

fn number(matcher: &DoubleMatcher) -> Result<Expected, BadMatcher> {
    match matcher.match_pattern.as_ref().ok_or(BadMatcher::Lacks("number"))? {
        OfNumber::Exact(exact) => Ok(Expected::Number(*exact)),
        OfNumber::Range(range) => Ok(Expected::Within(range.start..range.end)),
    }
}

#[cfg(test)]
mod tests;
