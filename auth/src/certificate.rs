//! Identities of client certificates.

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::principal::{Principal, SpiffeError, TrustDomains};

/// A certificate that names no identity of this mesh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("reading the client certificate")]
    Unreadable(#[source] webpki::Error),
    /// The SPIFFE specification demands exactly one.
    #[error("the client certificate has {0} URIs as alternative names where one SPIFFE ID belongs")]
    Names(usize),
    #[error("the client certificate's alternative name")]
    Form(#[from] SpiffeError),
    #[error("trust domain {0} of the client certificate is not one of this mesh")]
    TrustDomain(String),
}

/// The identity of a chain that the handshake has verified, its own certificate first.
pub(crate) fn principal(
    chain: &[Bytes],
    domains: &TrustDomains,
) -> Result<Option<Principal>, CertificateError> {
    let Some(own) = chain.first() else { return Ok(None) };
    let own = CertificateDer::from(own.as_ref());
    let own = EndEntityCert::try_from(&own).map_err(CertificateError::Unreadable)?;
    let names: Vec<&str> = own.valid_uri_names().collect();
    let [name] = names[..] else { return Err(CertificateError::Names(names.len())) };
    let principal = Principal::from_spiffe(name)?;
    if domains.contains(&principal.trust_domain) {
        Ok(Some(principal))
    } else {
        Err(CertificateError::TrustDomain(principal.trust_domain))
    }
}

#[cfg(test)]
mod tests {
    use mainstem_test_support::{Ca, Identity};
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;
    use crate::described;

    fn read(identity: &Identity) -> Result<Option<String>, String> {
        let domains = TrustDomains { mesh: "mesh.test".to_owned(), ..TrustDomains::default() };
        let found = principal(&[identity.der()], &domains);
        found
            .map(|found| found.map(|principal| principal.to_string()))
            .map_err(|error| described(&error))
    }

    #[test]
    fn a_workloads_certificate_names_it() {
        let id = "spiffe://mesh.test/ns/shop/sa/web";
        assert_eq!(read(&Ca::new("ca").workload(id)), Ok(Some(id.to_owned())));
        assert_eq!(principal(&[], &TrustDomains::default()).unwrap(), None);
    }

    #[rstest]
    #[case::none(&[], "the client certificate has 0 URIs")]
    #[case::two(
        &["spiffe://mesh.test/ns/shop/sa/web", "spiffe://mesh.test/ns/pay/sa/db"],
        "the client certificate has 2 URIs"
    )]
    #[case::form(&["spiffe://mesh.test/web"], "the client certificate's alternative name: \"spiffe")]
    #[case::foreign(&["spiffe://other.test/ns/shop/sa/web"], "trust domain other.test")]
    fn another_certificate_names_nobody(#[case] uris: &[&str], #[case] expected: &str) {
        let error = read(&Ca::new("ca").client_with_uris("web", uris)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        let found = principal(&[Bytes::from_static(b"garbage")], &TrustDomains::default());
        assert!(matches!(found, Err(CertificateError::Unreadable(_))));
    }
}
