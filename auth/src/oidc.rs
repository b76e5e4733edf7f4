//! Tokens of configured issuers, verified with their keys.
//!
//! ```text
//!  token ─▶ header (algorithm, key id) ─▶ KeySet ─▶ keys that may have signed it
//!        ─▶ signature, issuer, audience, times ─▶ subject ─▶ Principal
//! ```

mod fetch;
mod keys;
mod set;
mod verify;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use mainstem_model::ClusterId;
use serde_json::{Map, Value};
use url::Url;

use crate::observe::AuthObserver;
use crate::principal::Principal;
use set::KeySet;

pub use fetch::is_safe as is_safe_key_url;
pub(crate) use set::KeysError;

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What its tokens say in `iss`, exactly.
    pub issuer: String,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// The certificates by which the server of the keys is known; the system's
    /// where there are none.
    pub ca: Option<PathBuf>,
    /// How old its keys may get before they are read again.
    pub refresh: Duration,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The trust domain of its identities; the mesh's where it has none.
    pub trust_domain: Option<String>,
    /// The clusters that its identities may be in; those of the trust domain
    /// where none is named.
    pub clusters: BTreeSet<ClusterId>,
    /// The claim that is the namespace, where the subject does not say it: a name
    /// or a JSON pointer.
    pub namespace_claim: Option<String>,
    /// The claim that is the service account, likewise.
    pub service_account_claim: Option<String>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Where its discovery document says, at
    /// `ISSUER/.well-known/openid-configuration`.
    Discovery,
    /// A JWK set at a URL.
    Url(Url),
    /// A JWK set in a file.
    File(PathBuf),
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    #[error("reading the token")]
    Malformed(#[source] jsonwebtoken::errors::Error),
    #[error("the token is signed by {0}, which is not accepted")]
    Algorithm(&'static str),
    #[error("no key of {issuer} has signed the token")]
    Signature { issuer: String },
    #[error("the token of {issuer} is not good: {why}")]
    Claims { issuer: String, why: String },
    #[error("the subject {0:?} of the token names no service account")]
    Subject(String),
    #[error("the keys of {issuer} cannot be read now")]
    Keys { issuer: String, source: KeysError },
}

impl OidcError {
    /// Whether the token may yet turn out good.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }
}

/// An issuer and its keys.
#[derive(Debug)]
pub(crate) struct Issuer {
    settings: IssuerSettings,
    keys: KeySet,
}

impl Issuer {
    pub(crate) fn new(settings: IssuerSettings) -> Arc<Self> {
        verify::install();
        let keys = KeySet::new(settings.clone());
        Arc::new(Self { settings, keys })
    }

    pub(crate) fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Whose token it is, if the issuer has signed it for us and it is good now.
    pub(crate) async fn principal(
        &self,
        token: &str,
        mesh_trust_domain: &str,
        observer: &dyn AuthObserver,
    ) -> Result<Principal, OidcError> {
        let claims = self.claims(token, observer).await?;
        subject(&self.settings, &claims, mesh_trust_domain)
    }

    async fn claims(
        &self,
        token: &str,
        observer: &dyn AuthObserver,
    ) -> Result<Map<String, Value>, OidcError> {
        let issuer = || self.settings.issuer.clone();
        let header = decode_header(token).map_err(OidcError::Malformed)?;
        if !verify::accepts(header.alg) {
            return Err(OidcError::Algorithm("a shared secret"));
        }
        let keys = self.keys.matching(header.kid.as_deref(), header.alg, observer).await;
        let keys = keys.map_err(|source| OidcError::Keys { issuer: issuer(), source })?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.settings.clock_skew.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&self.settings.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        for key in keys {
            match decode::<Map<String, Value>>(token, &key, &validation) {
                Ok(token) => return Ok(token.claims),
                // Another of its keys may have.
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => {
                    let why = explained(error.kind(), &self.settings);
                    return Err(OidcError::Claims { issuer: issuer(), why });
                }
            }
        }
        Err(OidcError::Signature { issuer: issuer() })
    }
}

fn explained(kind: &ErrorKind, settings: &IssuerSettings) -> String {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired".to_owned(),
        ErrorKind::ImmatureSignature => "it is not good yet".to_owned(),
        ErrorKind::InvalidAudience => {
            format!("it is not meant for {}", settings.audiences.join(" or "))
        }
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no claim {claim}"),
        other => jsonwebtoken::errors::Error::from(other.clone()).to_string(),
    }
}

/// Who the subject is, by the first that applies: the claims configured, a SPIFFE
/// ID of the issuer's trust domain, a Kubernetes user name.
fn subject(
    settings: &IssuerSettings,
    claims: &Map<String, Value>,
    mesh: &str,
) -> Result<Principal, OidcError> {
    let trust_domain = settings.trust_domain.as_deref().unwrap_or(mesh);
    let text = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let unknown = || OidcError::Subject(text.chars().take(300).collect());
    let principal = match (&settings.namespace_claim, &settings.service_account_claim) {
        (None, None) => Principal::from_spiffe(text)
            .ok()
            .or_else(|| Principal::from_username(text, trust_domain)),
        (namespace, account) => {
            let namespace = claim(claims, namespace.as_deref().unwrap_or("sub"));
            let account = claim(claims, account.as_deref().unwrap_or("sub"));
            namespace.zip(account).and_then(|(namespace, account)| {
                let name = format!("system:serviceaccount:{namespace}:{account}");
                Principal::from_username(&name, trust_domain)
            })
        }
    };
    // An issuer speaks for its own trust domain only.
    let principal =
        principal.filter(|found| found.trust_domain == trust_domain).ok_or_else(unknown)?;
    if settings.clusters.is_empty() {
        Ok(principal)
    } else {
        Ok(principal.only_in(settings.clusters.iter().cloned()))
    }
}

/// The text of a claim by its name, or by a JSON pointer.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    match name.strip_prefix('/') {
        None => claims.get(name)?.as_str(),
        Some(path) => {
            let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
            let first = claims.get(&steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(&step))?.as_str()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
