//! Identities of client certificates.

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::authorities::Certificates;
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
    /// Whoever issued it may issue others only.
    #[error("no authority of trust domain {trust_domain} vouches for the client certificate")]
    Authority {
        trust_domain: String,
        #[source]
        source: webpki::Error,
    },
}

/// The identity of a chain that the handshake has verified, its own certificate first.
pub(crate) fn principal(
    chain: &[Bytes],
    domains: &TrustDomains,
    believed: &Certificates,
) -> Result<Option<Principal>, CertificateError> {
    let Some((own, others)) = chain.split_first() else { return Ok(None) };
    if matches!(believed, Certificates::Ignored) {
        return Ok(None);
    }
    let own = CertificateDer::from(own.as_ref());
    let own = EndEntityCert::try_from(&own).map_err(CertificateError::Unreadable)?;
    let names: Vec<&str> = own.valid_uri_names().collect();
    let [name] = names[..] else { return Err(CertificateError::Names(names.len())) };
    let principal = Principal::from_spiffe(name)?;
    if !domains.contains(&principal.trust_domain) {
        return Err(CertificateError::TrustDomain(principal.trust_domain));
    }
    if let Certificates::OfDomain(authorities) = believed {
        authorities.verify(&principal.trust_domain, &own, others).map_err(|source| {
            let trust_domain = principal.trust_domain.clone();
            CertificateError::Authority { trust_domain, source }
        })?;
    }
    Ok(Some(principal))
}

#[cfg(test)]
mod tests {
    use mainstem_test_support::{Ca, Identity};
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;
    use crate::authorities::Authorities;
    use crate::described;

    fn read(identity: &Identity) -> Result<Option<String>, String> {
        read_by(identity, &Certificates::Verified)
    }

    fn read_by(identity: &Identity, believed: &Certificates) -> Result<Option<String>, String> {
        let domains = TrustDomains {
            mesh: "mesh.test".to_owned(),
            further: ["old.test".to_owned()].into(),
            ..TrustDomains::default()
        };
        let found = principal(&[identity.der()], &domains, believed);
        found
            .map(|found| found.map(|principal| principal.to_string()))
            .map_err(|error| described(&error))
    }

    #[test]
    fn a_workloads_certificate_names_it() {
        let id = "spiffe://mesh.test/ns/shop/sa/web";
        assert_eq!(read(&Ca::new("ca").workload(id)), Ok(Some(id.to_owned())));
        let none = principal(&[], &TrustDomains::default(), &Certificates::Verified);
        assert_eq!(none.unwrap(), None);
        let ignored = read_by(&Ca::new("ca").workload(id), &Certificates::Ignored);
        assert_eq!(ignored, Ok(None));
    }

    #[test]
    fn an_authority_vouches_for_its_own_trust_domain_only() {
        let (mesh, old) = (Ca::new("mesh"), Ca::new("old"));
        let files = [("mesh.test", mesh.pem().as_bytes()), ("old.test", old.pem().as_bytes())];
        let believed = Certificates::OfDomain(Authorities::read(files).unwrap());
        let id = |domain: &str| format!("spiffe://{domain}/ns/shop/sa/web");
        let of = |ca: &Ca, domain| read_by(&ca.workload(&id(domain)), &believed);
        assert_eq!(of(&mesh, "mesh.test"), Ok(Some(id("mesh.test"))));
        assert_eq!(of(&old, "old.test"), Ok(Some(id("old.test"))));
        for (ca, domain) in [(&old, "mesh.test"), (&mesh, "old.test")] {
            let expected = format!("no authority of trust domain {domain} vouches");
            let found = of(ca, domain);
            assert!(found.as_ref().is_err_and(|why| why.starts_with(&expected)), "{found:?}");
        }
        let nobodys = Certificates::OfDomain(Authorities::default());
        assert!(read_by(&mesh.workload(&id("mesh.test")), &nobodys).is_err());
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
        let found = principal(
            &[Bytes::from_static(b"garbage")],
            &TrustDomains::default(),
            &Certificates::Verified,
        );
        assert!(matches!(found, Err(CertificateError::Unreadable(_))));
    }
}
