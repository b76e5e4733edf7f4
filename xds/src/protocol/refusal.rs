//! What to do about a NACK.

use crate::names::Name;

/// What follows from a refused response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consequence {
    /// Surely bad: not sent again in this version.
    pub(super) culprits: Vec<Name>,
    /// To be sent again, each batch in a response of its own.
    pub(super) batches: Vec<Vec<Name>>,
}

/// Judges the names of a refused response by the client's message.
///
/// 1. A response of one resource condemns it.
/// 2. The resources that the message names are condemned, the rest sent again.
/// 3. Otherwise either half is tried by itself.
pub(super) fn judge(sent: Vec<Name>, message: &str) -> Consequence {
    if sent.len() <= 1 {
        return Consequence { culprits: sent, batches: Vec::new() };
    }
    let (culprits, rest): (Vec<Name>, Vec<Name>) =
        sent.into_iter().partition(|name| mentions(message, name));
    if !culprits.is_empty() {
        let batches = if rest.is_empty() { Vec::new() } else { vec![rest] };
        return Consequence { culprits, batches };
    }
    let mut first = rest;
    let second = first.split_off(first.len() / 2);
    Consequence { culprits, batches: vec![first, second] }
}

/// Whether the message has the name as a word of its own: not as a part of a
/// longer name.
fn mentions(message: &str, name: &str) -> bool {
    !name.is_empty()
        && message.match_indices(name).any(|(at, _)| {
            let before = message[..at].chars().next_back();
            let mut after = message[at + name.len()..].chars();
            let ends = match after.next() {
                // Punctuation that ends a word, and does not continue a name.
                Some('.' | ':' | ',' | ';') => !after.next().is_some_and(in_name),
                next => !next.is_some_and(in_name),
            };
            ends && !before.is_some_and(in_name)
        })
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '|' | '/' | ':' | '%' | '~' | '*' | '@')
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::from(*name)).collect()
    }

    #[test]
    fn a_name_counts_only_as_a_whole() {
        let message = "Error adding/updating cluster(s) outbound|80||a.b: bad port, c. d-e: x";
        assert!(mentions(message, "outbound|80||a.b"));
        assert!(mentions(message, "c"));
        assert!(mentions(message, "d-e"));
        assert!(mentions("no 'quoted' name", "quoted"));
        assert!(!mentions(message, "a.b"));
        assert!(!mentions(message, "d"));
        assert!(!mentions(message, "outbound|80||a"));
        assert!(!mentions(message, ""));
    }

    #[test]
    fn named_culprits_are_condemned_and_the_rest_tried_again() {
        let consequence = judge(names(&["a", "b", "c"]), "bad: b: reason");
        assert_eq!(
            consequence,
            Consequence { culprits: names(&["b"]), batches: vec![names(&["a", "c"])] }
        );
    }

    #[test]
    fn halves_are_tried_when_nobody_is_named() {
        let consequence = judge(names(&["a", "b", "c"]), "no");
        assert_eq!(
            consequence,
            Consequence { culprits: vec![], batches: vec![names(&["a"]), names(&["b", "c"])] }
        );
        let consequence = judge(names(&["a"]), "no");
        assert_eq!(consequence, Consequence { culprits: names(&["a"]), batches: vec![] });
    }
}
