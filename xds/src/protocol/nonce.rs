//! Nonces of one stream.

use std::fmt;

/// Gives each response of a stream a number of its own.
///
/// The salt differs from stream to stream, so that a nonce which a client kept
/// from an earlier stream matches nothing on this one.
#[derive(Debug, Clone)]
pub(super) struct Nonces {
    salt: u32,
    last: u64,
}

/// The number of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce {
    salt: u32,
    number: u64,
}

impl Nonces {
    pub(super) fn new(salt: u32) -> Nonces {
        Nonces { salt, last: 0 }
    }

    pub(super) fn next(&mut self) -> Nonce {
        self.last += 1;
        Nonce { salt: self.salt, number: self.last }
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.salt, self.number)
    }
}

impl Nonce {
    pub(super) fn matches(self, text: &str) -> bool {
        self.to_string() == text
    }
}
