//! What a client shows and trusts: token and certificates, from files that change.

use std::path::Path;

use reqwest::header::HeaderValue;

use crate::api::ApiError;
use crate::config::ConsulConfig;

/// All files' contents at one moment. Equal values make equal clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    token: Option<String>,
    ca: Option<Vec<u8>>,
    identity: Option<Vec<u8>>,
}

impl Credentials {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`ApiError::File`] when one cannot be read, or is a token file without a
    /// token: files are often written in two steps.
    pub async fn read(config: &ConsulConfig) -> Result<Self, ApiError> {
        let token = match &config.token_file {
            Some(path) => Some(token(path).await?),
            None => config.token.as_ref().map(|token| token.reveal().to_owned()),
        };
        let ca = match &config.tls.ca {
            Some(path) => Some(bytes(path).await?),
            None => None,
        };
        let mut identity = Vec::new();
        for path in [&config.tls.key, &config.tls.cert].into_iter().flatten() {
            identity.extend(bytes(path).await?);
            identity.push(b'\n');
        }
        Ok(Self { token, ca, identity: (!identity.is_empty()).then_some(identity) })
    }

    /// The token as a header's value.
    ///
    /// # Errors
    /// [`ApiError::Token`] when it cannot be one.
    pub fn header(&self) -> Result<Option<HeaderValue>, ApiError> {
        let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(token).map_err(|_| ApiError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Adds authority and client certificate to a client.
    ///
    /// # Errors
    /// When they are no certificates.
    pub fn secure(
        &self,
        builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        let builder = match &self.ca {
            Some(ca) => builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca)?),
            None => builder,
        };
        match &self.identity {
            Some(identity) => Ok(builder.identity(reqwest::Identity::from_pem(identity)?)),
            None => Ok(builder),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

async fn bytes(path: &Path) -> Result<Vec<u8>, ApiError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| ApiError::File { path: path.to_owned(), source })
}

async fn token(path: &Path) -> Result<String, ApiError> {
    let text = String::from_utf8(bytes(path).await?).map_err(|_| ApiError::Token)?;
    let token = text.trim();
    if token.is_empty() {
        let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file is empty");
        return Err(ApiError::File { path: path.to_owned(), source });
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_wins_and_an_empty_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let config = ConsulConfig {
            token: Some("from-config".into()),
            token_file: Some(path.clone()),
            ..ConsulConfig::new("a")
        };

        std::fs::write(&path, "from-file\n").unwrap();
        let first = Credentials::read(&config).await.unwrap();
        assert_eq!(first.header().unwrap().unwrap(), "from-file");

        std::fs::write(&path, "rotated\n").unwrap();
        assert_ne!(Credentials::read(&config).await.unwrap(), first);

        std::fs::write(&path, "").unwrap();
        let error = Credentials::read(&config).await.unwrap_err();
        assert_eq!(error.full(), format!("reading {}: the file is empty", path.display()));
    }
}
