//! Strict YAML (and with it JSON) that knows where everything stands.
//!
//! ```text
//! text ─ documents ─▶ Document ─ Node::parse ─▶ Node ─ typed ─▶ T
//!                                                 └── where a field stands, for later findings
//! ```
//!
//! A document that is broken costs that document, a value that does not fit its
//! type costs the value that is being read. Words keep their meaning: only
//! `true` and `false` are booleans, `0644` is no number, and a version `1.10`
//! read as text stays `1.10`.

mod documents;
mod node;
mod report;
mod typed;

pub(crate) use documents::{Document, documents};
pub(crate) use node::{Content, Node, Place};
pub(crate) use report::Source;
pub(crate) use typed::{typed, unknown_field};

use mainstem_registry::{FieldPath, Problems};

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Where.
    pub place: Place,
    /// In which field of what is being read; may be empty.
    pub field: FieldPath,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Flaw {
    /// A flaw of the whole at `place`.
    pub(crate) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place, field: FieldPath::root(), message: message.into() }
    }

    /// The findings of a conversion, with the places where `node` has the fields.
    pub(crate) fn of_problems(problems: &Problems, node: &Node) -> Vec<Self> {
        let locate = |invalid: &mainstem_registry::Invalid| Self {
            place: node.place_of(&invalid.field),
            field: invalid.field.clone(),
            message: invalid.problem.clone(),
        };
        problems.all().iter().map(locate).collect()
    }
}

#[cfg(test)]
mod tests;
