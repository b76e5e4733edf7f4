//! Which authorities may vouch for which trust domain.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Which client certificates are believed.
#[derive(Clone, Debug, Default)]
pub enum Certificates {
    /// None.
    #[default]
    Ignored,
    /// Those that the handshake has verified, whichever authority they are of.
    Verified,
    /// Of those, the ones whose chain leads to an authority of their own trust domain.
    OfDomain(Authorities),
}

/// The authorities of client certificates, by the trust domain that they may name.
#[derive(Clone, Default)]
pub struct Authorities(Arc<BTreeMap<String, Vec<TrustAnchor<'static>>>>);

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// Not PEM.
    #[error("reading the authorities of trust domain {trust_domain}")]
    Pem {
        /// Whose.
        trust_domain: String,
        /// Why not.
        source: pem::Error,
    },
    /// Not a certificate.
    #[error("using an authority of trust domain {trust_domain}")]
    Certificate {
        /// Whose.
        trust_domain: String,
        /// Why not.
        source: webpki::Error,
    },
    /// There are none.
    #[error("there is no certificate among the authorities of trust domain {0}")]
    Empty(String),
}

impl Authorities {
    /// Reads the PEM files of trust domains.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, AuthoritiesError> {
        let read =
            files.into_iter().map(|(domain, pem)| Ok((domain.to_owned(), anchors(domain, pem)?)));
        Ok(Self(Arc::new(read.collect::<Result<_, _>>()?)))
    }

    /// Whether an authority of this trust domain vouches for a certificate now, by way
    /// of those that came with it.
    pub(crate) fn verify(
        &self,
        trust_domain: &str,
        own: &EndEntityCert<'_>,
        others: &[Bytes],
    ) -> Result<(), webpki::Error> {
        let anchors = self.0.get(trust_domain).map(Vec::as_slice).unwrap_or_default();
        let others: Vec<CertificateDer<'_>> =
            others.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let (now, usage) = (UnixTime::now(), KeyUsage::client_auth());
        own.verify_for_usage(algorithms, anchors, &others, now, usage, None, None).map(drop)
    }
}

fn anchors(domain: &str, pem: &[u8]) -> Result<Vec<TrustAnchor<'static>>, AuthoritiesError> {
    let trust_domain = || domain.to_owned();
    let mut anchors = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|source| AuthoritiesError::Pem { trust_domain: trust_domain(), source })?;
        let anchor = anchor_from_trusted_cert(&certificate).map_err(|source| {
            AuthoritiesError::Certificate { trust_domain: trust_domain(), source }
        })?;
        anchors.push(anchor.to_owned());
    }
    if anchors.is_empty() { Err(AuthoritiesError::Empty(trust_domain())) } else { Ok(anchors) }
}

/// The trust domains, without the keys.
impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use mainstem_test_support::Ca;
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::described;

    #[test]
    fn what_is_no_authority_is_said_with_its_trust_domain() {
        let read = |pem: &str| {
            let read = Authorities::read([("a.test", pem.as_bytes())]);
            read.map(drop).map_err(|error| described(&error))
        };
        assert_eq!(read(Ca::new("ca").pem()), Ok(()));
        let none = "there is no certificate among the authorities of trust domain a.test";
        assert_eq!(read("# nothing\n"), Err(none.to_owned()));
        let broken = read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let expected = "using an authority of trust domain a.test: ";
        assert!(broken.as_ref().is_err_and(|error| error.starts_with(expected)), "{broken:?}");
    }
}
