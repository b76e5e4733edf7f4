//! What a token says of itself, before anybody has verified it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// The longest that is looked at, in bytes: what usual servers take as a header.
const LONGEST: usize = 16 << 10;

/// Claims that nobody has verified: good for choosing whom to ask, and for not
/// asking about a token that is worthless by its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Unverified {
    iss: Option<String>,
    exp: Option<u64>,
}

impl Unverified {
    /// The claims of a token; none of one that is not a JWT.
    pub(crate) fn read(token: &str) -> Self {
        jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap_or_default()
    }

    /// Who issued it, as it says.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// How long it is still good, as it says: `None` for ever.
    pub(crate) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.exp.map(|end| Duration::from_secs(end).saturating_sub(now))
    }
}

/// Whether it can be a token at all.
pub(crate) fn check_length(token: &str) -> Result<(), &'static str> {
    match token.len() {
        0 => Err("the bearer token is empty"),
        length if length > LONGEST => Err("the bearer token is too long"),
        _ => Ok(()),
    }
}

/// Stands for a token where the token itself must not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_test_support::TokenIssuer;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    #[test]
    fn a_token_tells_its_issuer_and_its_end() {
        let token = TokenIssuer::new("https://issuer").mint(&json!({"exp": 1000}));
        let claims = Unverified::read(&token);
        assert_eq!(claims.issuer(), Some("https://issuer"));
        let at = |second| claims.remaining(UNIX_EPOCH + Duration::from_secs(second));
        assert_eq!(at(990), Some(Duration::from_secs(10)));
        assert_eq!(at(2000), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_token_tells_nothing() {
        for text in ["", "a.b.c", "opaque", "....", "é.é.é"] {
            assert_eq!(Unverified::read(text), Unverified::default());
        }
        assert!(check_length("").is_err());
        assert!(check_length(&"a".repeat(LONGEST + 1)).is_err());
        assert_eq!(check_length("opaque"), Ok(()));
    }
}
