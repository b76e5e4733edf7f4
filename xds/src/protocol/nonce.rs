//! Nonces of one stream.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

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
pub struct Nonce {
    salt: u32,
    number: u64,
}

/// Both numbers of a nonce in hexadecimal: every response has one, so it is
/// written without a formatter and without memory.
pub(super) struct Text {
    bytes: [u8; Text::LONGEST],
    begin: usize,
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
        f.write_str(&self.text())
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Nonce {
    /// That of the response of this number on the stream of this salt.
    pub fn new(salt: u32, number: u64) -> Nonce {
        Nonce { salt, number }
    }

    /// Whether this is what the client repeats.
    pub(super) fn matches(self, text: &str) -> bool {
        *self.text() == *text
    }

    pub(super) fn text(self) -> Text {
        let mut text = Text { bytes: [b'-'; Text::LONGEST], begin: Text::LONGEST };
        text.prepend(self.number);
        text.begin -= 1;
        text.prepend(u64::from(self.salt));
        text
    }
}

impl Text {
    const LONGEST: usize = 8 + 1 + 16;

    fn prepend(&mut self, mut number: u64) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        loop {
            self.begin -= 1;
            self.bytes[self.begin] = DIGITS[(number % 16) as usize];
            number /= 16;
            if number == 0 {
                return;
            }
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.begin..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_nonce_is_both_numbers_in_hexadecimal(salt: u32, number: u64) {
            let nonce = Nonce { salt, number };
            assert_eq!(nonce.to_string(), format!("{salt:x}-{number:x}"));
            prop_assert!(nonce.matches(&nonce.to_string()));
        }
    }
}
