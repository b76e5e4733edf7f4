//! The index of Consul's blocking queries.
//!
//! Rules, from Consul's documentation of blocking queries: an index is above 0;
//! one that goes back (a restored or restarted server) means to start again from
//! 0; one that stays means that nothing changed.

use std::fmt;

/// Where a blocking query goes on. Opaque but for its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CatalogIndex(u64);

/// How an answer's index stands to the one that was asked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something may have changed.
    Ahead,
    /// Nothing changed: the wait is over.
    Same,
    /// The server knows less than it did: the answer is not to be believed, and
    /// the query starts again.
    Back,
}

impl CatalogIndex {
    /// Asks for the present state, without waiting.
    pub const START: Self = Self(0);

    /// An index as a server gave it; 0 is none.
    pub fn new(index: u64) -> Option<Self> {
        (index > 0).then_some(Self(index))
    }

    /// How `answered` stands to this index, from which was asked.
    pub fn step(self, answered: Self) -> Step {
        match answered.cmp(&self) {
            std::cmp::Ordering::Greater => Step::Ahead,
            std::cmp::Ordering::Equal => Step::Same,
            std::cmp::Ordering::Less => Step::Back,
        }
    }

    /// Whether a query from here waits for a change.
    pub fn waits(self) -> bool {
        self > Self::START
    }
}

impl fmt::Display for CatalogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(index: u64) -> CatalogIndex {
        CatalogIndex::new(index).unwrap()
    }

    #[test]
    fn an_index_goes_ahead_stays_or_goes_back() {
        assert_eq!(CatalogIndex::START.step(index(1)), Step::Ahead);
        assert_eq!(index(7).step(index(8)), Step::Ahead);
        assert_eq!(index(7).step(index(7)), Step::Same);
        assert_eq!(index(7).step(index(6)), Step::Back);
    }

    #[test]
    fn zero_is_no_index() {
        assert_eq!(CatalogIndex::new(0), None);
        assert!(!CatalogIndex::START.waits());
    }
}
