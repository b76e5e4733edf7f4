//! Certificates for tests.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority with a new key.
#[derive(Clone)]
pub struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key (PKCS #8).
    pub key_pem: String,
}

impl Ca {
    /// An authority whose common name is `name`.
    pub fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = generate();
        let certificate = params.self_signed(&key).expect("our parameters are sound");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    /// The authority's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// A server on loopback: `localhost`, 127.0.0.1, ::1, and `names` besides.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.sign(server_params(names))
    }

    /// A server whose certificate ended in 2001.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        let mut params = server_params(names);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    /// A client whose common name is `name`.
    pub fn client(&self, name: &str) -> Identity {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A workload with that SPIFFE id, for both ends of mutual TLS.
    pub fn workload(&self, spiffe_id: &str) -> Identity {
        let mut params = named("");
        params.subject_alt_names = uri_names(&[spiffe_id]);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A client with these URIs as alternative names, however many.
    pub fn client_with_uris(&self, name: &str, uris: &[&str]) -> Identity {
        let mut params = named(name);
        params.subject_alt_names = uri_names(uris);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A workload whose certificate ended in 2001.
    pub fn expired_workload(&self, spiffe_id: &str) -> Identity {
        let mut params = named("");
        params.subject_alt_names = uri_names(&[spiffe_id]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Identity {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = generate();
        let certificate = params.signed_by(&key, &self.issuer).expect("our parameters are sound");
        Identity { cert_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Identity {
    /// The certificate in DER.
    pub fn der(&self) -> Bytes {
        Bytes::copy_from_slice(&self.chain()[0])
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<_, _>>()
            .expect("a certificate of ours is well-formed")
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .expect("a key of ours is well-formed")
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A new P-256 key pair: the private key and the public one, as PEM.
pub(crate) fn key_pair() -> (String, String) {
    let key = generate();
    (key.serialize_pem(), key.public_key_pem())
}

fn generate() -> KeyPair {
    KeyPair::generate().expect("ring makes P-256 keys")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

fn uri_names(uris: &[&str]) -> Vec<SanType> {
    let uri = |&uri: &&str| SanType::URI(uri.try_into().expect("a URI is ASCII"));
    uris.iter().map(uri).collect()
}

fn server_params(names: &[&str]) -> CertificateParams {
    let all: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .iter()
        .chain(names)
        .map(|&name| name.to_owned())
        .collect();
    let mut params = CertificateParams::new(all).expect("host names are ASCII");
    debug_assert!(params.subject_alt_names.iter().any(is_loopback));
    params.distinguished_name = named("localhost").distinguished_name;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        // Consul servers are each other's clients with the same certificate.
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn is_loopback(name: &SanType) -> bool {
    matches!(name, SanType::IpAddress(IpAddr::V4(address)) if address.is_loopback())
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn verdict(ca: &Ca, identity: &Identity, name: &'static str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).expect("the CA is sound");
        let provider = rustls::crypto::ring::default_provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into())
            .build()
            .expect("there is a root");
        let name = ServerName::try_from(name).expect("the name is sound");
        verifier
            .verify_server_cert(&identity.chain()[0], &[], &name, &[], UnixTime::now())
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_good_for_its_names_under_its_own_ca_and_in_its_time() {
        let ca = Ca::new("one");
        let server = ca.server(&["more.example"]);

        for name in ["localhost", "127.0.0.1", "more.example"] {
            assert_eq!(verdict(&ca, &server, name), Ok(()));
        }
        assert!(verdict(&ca, &server, "less.example").is_err());
        assert!(verdict(&Ca::new("two"), &server, "localhost").is_err());
        let expired = verdict(&ca, &ca.expired_server(&[]), "localhost");
        assert!(expired.is_err_and(|error| error.contains("expired")));
    }
}
