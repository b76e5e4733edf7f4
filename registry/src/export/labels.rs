//! What labels must be.

use std::fmt;

use mainstem_model::Labels;

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Term {
    /// Reads `key=value`, `key!=value`, `key` or `!key`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let word = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        if let Some((key, value)) = text.split_once("!=") {
            return Some(Self::IsNot(word(key)?, value.trim().to_owned()));
        }
        if let Some((key, value)) = text.split_once('=') {
            return Some(Self::Is(word(key)?, value.trim().to_owned()));
        }
        match text.trim().strip_prefix('!') {
            Some(key) => word(key).map(Self::HasNot),
            None => word(text).map(Self::Has),
        }
    }

    /// Whether it is met.
    pub(super) fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::Is(key, value) => labels.get(key) == Some(value),
            Self::IsNot(key, value) => labels.get(key) != Some(value),
            Self::Has(key) => labels.get(key).is_some(),
            Self::HasNot(key) => labels.get(key).is_none(),
        }
    }

    /// Whether no labels can meet both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(a, x), Self::Is(b, y)) => a == b && x != y,
            (Self::Is(a, x), Self::IsNot(b, y)) | (Self::IsNot(b, y), Self::Is(a, x)) => {
                a == b && x == y
            }
            (Self::HasNot(a), Self::Is(b, _) | Self::Has(b))
            | (Self::Is(b, _) | Self::Has(b), Self::HasNot(a)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(key, value) => write!(f, "{key}={value}"),
            Self::IsNot(key, value) => write!(f, "{key}!={value}"),
            Self::Has(key) => f.write_str(key),
            Self::HasNot(key) => write!(f, "!{key}"),
        }
    }
}
