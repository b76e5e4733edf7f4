//! The keys of a JWK set.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys that are read of one set; further ones are left out.
const MOST: usize = 128;

/// A public key that signs tokens.
#[derive(Clone, Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    family: AlgorithmFamily,
    pub(super) key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a JWK set that can verify tokens; what else is there is left out.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Key>, serde_json::Error> {
    let set: Set = serde_json::from_slice(text)?;
    Ok(set.keys.into_iter().filter_map(key).take(MOST).collect())
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let family = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
        AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
        AlgorithmParameters::OctetKeyPair(_) => AlgorithmFamily::Ed,
        // A shared secret in public is none.
        _ => return None,
    };
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = match jwk.common.key_algorithm {
        None => None,
        // One that is for something else verifies nothing.
        Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithm, family, key })
}

impl Key {
    /// Whether it may have signed a token with this header. A token that names no
    /// key may be signed by any.
    pub(super) fn fits(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        let named = id.is_none() || self.id.is_none() || self.id.as_deref() == id;
        let fits = self
            .algorithm
            .map_or_else(|| self.family.algorithms().contains(&algorithm), |own| own == algorithm);
        named && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_test_support::TokenIssuer;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    #[test]
    fn what_is_no_signing_key_is_left_out_and_its_neighbours_are_not() {
        let good = TokenIssuer::new("https://issuer").jwk();
        let encrypting = {
            let mut key = good.clone();
            key["use"] = json!("enc");
            key
        };
        let set = json!({"keys": [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "EC", "crv": "secp256k1", "x": "", "y": "", "kid": "odd"},
            "nonsense", 7, encrypting, good,
        ]});
        let keys = parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        let id = good["kid"].as_str();
        assert!(keys[0].fits(id, Algorithm::ES256) && keys[0].fits(None, Algorithm::ES256));
        assert!(!keys[0].fits(Some("other"), Algorithm::ES256));
        assert!(!keys[0].fits(id, Algorithm::RS256) && !keys[0].fits(id, Algorithm::HS256));
    }

    #[test]
    fn a_set_has_no_more_keys_than_it_may() {
        let key = TokenIssuer::new("https://issuer").jwk();
        let set = json!({"keys": vec![key; 2 * MOST]});
        assert_eq!(parse(set.to_string().as_bytes()).unwrap().len(), MOST);
        assert!(parse(b"[]").is_err());
    }
}
