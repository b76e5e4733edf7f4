//! Reading a JWK set from where it is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use url::{Host, Url};

use super::keys::{self, Key};
use super::{IssuerSettings, KeySource};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest document that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// Keys that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("reading {}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0} has more than {LONGEST} bytes")]
    Long(String),
    #[error("preparing to ask {url}")]
    Client { url: Url, source: reqwest::Error },
    #[error("asking {url}")]
    Request { url: Url, source: reqwest::Error },
    #[error("{url} is not https, and not on this host")]
    Insecure { url: Url },
    #[error("{issuer:?} is no URL to find keys by")]
    Issuer { issuer: String, source: url::ParseError },
    #[error("the discovery document at {url} is of {found:?}")]
    OtherIssuer { url: Url, found: String },
    #[error("{place} is no JSON of the expected form")]
    Json { place: String, source: serde_json::Error },
}

/// What is read of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

/// Reads the keys of an issuer.
pub(super) async fn fetch(settings: &IssuerSettings) -> Result<Vec<Key>, FetchError> {
    let (place, text) = match &settings.keys {
        KeySource::File(path) => (path.display().to_string(), file(path).await?),
        KeySource::Url(url) => (url.to_string(), get(url, settings).await?),
        KeySource::Discovery => {
            let url = discover(settings).await?;
            (url.to_string(), get(&url, settings).await?)
        }
    };
    keys::parse(&text).map_err(|source| FetchError::Json { place, source })
}

/// Where the issuer says its keys are. The document must be the issuer's own.
async fn discover(settings: &IssuerSettings) -> Result<Url, FetchError> {
    let issuer = settings.issuer.trim_end_matches('/');
    let url = Url::parse(&format!("{issuer}/.well-known/openid-configuration"));
    let url =
        url.map_err(|source| FetchError::Issuer { issuer: settings.issuer.clone(), source })?;
    let text = get(&url, settings).await?;
    let place = url.to_string();
    let found: Discovery =
        serde_json::from_slice(&text).map_err(|source| FetchError::Json { place, source })?;
    if found.issuer == settings.issuer {
        Ok(found.jwks_uri)
    } else {
        Err(FetchError::OtherIssuer { url, found: found.issuer })
    }
}

async fn file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::File { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
    file.take(most).read_to_end(&mut text).await.map_err(failed)?;
    if text.len() > LONGEST {
        return Err(FetchError::Long(path.display().to_string()));
    }
    Ok(text)
}

async fn get(url: &Url, settings: &IssuerSettings) -> Result<Vec<u8>, FetchError> {
    if !is_safe(url) {
        return Err(FetchError::Insecure { url: url.clone() });
    }
    let request_failed = |source| FetchError::Request { url: url.clone(), source };
    let client = client(url, settings).await?;
    let answer = client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(request_failed)?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(request_failed)? {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST {
            return Err(FetchError::Long(url.to_string()));
        }
    }
    Ok(text)
}

/// Made for each question: they are rare, and the authority's file may have changed.
async fn client(url: &Url, settings: &IssuerSettings) -> Result<reqwest::Client, FetchError> {
    // One TLS provider for the whole program; another that came first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |source| FetchError::Client { url: url.clone(), source };
    let mut builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        // Whoever could send us elsewhere could as well name his keys there.
        .redirect(Policy::none());
    if let Some(ca) = &settings.ca {
        let certificates = reqwest::Certificate::from_pem_bundle(&file(ca).await?);
        builder = builder.tls_certs_only(certificates.map_err(failed)?);
    }
    builder.build().map_err(failed)
}

/// Whether keys of this URL can be believed: over plain HTTP they could be
/// anybody's, unless they come from this host.
pub fn is_safe(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(ip))) => ip.is_loopback(),
        ("http", Some(Host::Ipv6(ip))) => ip.is_loopback(),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}
