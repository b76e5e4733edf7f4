//! TLS of a listener, with certificates that may change while it serves.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    NoClientAuth, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Certificates and keys, as PEM.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// The server's certificate, followed by its intermediates.
    pub certificates: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Authorities whose client certificates are believed; without any, clients
    /// are not asked for one.
    pub client_authorities: Vec<u8>,
    /// Whether a client without a certificate is turned away.
    pub client_required: bool,
}

/// Without the key.
impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("client_required", &self.client_required)
            .finish_non_exhaustive()
    }
}

/// Certificates and keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is malformed, or lacks what it is for.
    #[error("reading the {what}")]
    Pem {
        /// Which file.
        what: &'static str,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file has no certificate.
    #[error("the {0} contain no certificate")]
    Empty(&'static str),
    /// The key does not fit the certificate, or is of an unknown kind.
    #[error("using the server's certificate and key")]
    Certificate(#[source] rustls::Error),
    /// An authority cannot be used.
    #[error("using the client authorities")]
    Authorities(#[source] VerifierBuilderError),
}

/// TLS of a listener. Connections that are open stay as they are when the
/// material is replaced.
#[derive(Debug)]
pub struct Tls {
    config: RwLock<Arc<rustls::ServerConfig>>,
}

impl Tls {
    /// TLS with this material.
    pub fn new(material: &TlsMaterial) -> Result<Tls, TlsError> {
        Ok(Tls { config: RwLock::new(config(material)?) })
    }

    /// Uses other material from the next connection on; an error changes nothing.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        *self.config.write() = config(material)?;
        Ok(())
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config.read().clone());
        acceptor.accept(tcp).await
    }
}

fn config(material: &TlsMaterial) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("server certificates", &material.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|source| TlsError::Pem { what: "server key", source })?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier(material, provider)?)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    material: &TlsMaterial,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if material.client_authorities.is_empty() {
        return Ok(Arc::new(NoClientAuth));
    }
    let mut roots = RootCertStore::empty();
    for authority in certificates("client authorities", &material.client_authorities)? {
        roots.add(authority).map_err(TlsError::Certificate)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if material.client_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(TlsError::Authorities)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|source| TlsError::Pem { what, source })?;
    if certificates.is_empty() { Err(TlsError::Empty(what)) } else { Ok(certificates) }
}
