//! What a client shows and trusts, from files that change.

use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};

use crate::McpConfig;

/// All files' contents at one moment.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Credentials {
    pub(crate) token: Option<String>,
    pub(crate) ca: Option<Vec<u8>>,
    /// Certificate chain and key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("reading {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the token file has no token that a header can carry; write the bare token into it")]
    Token,
    #[error("tls.cert and tls.key belong together; set both")]
    Half,
}

impl Credentials {
    pub(crate) async fn read(config: &McpConfig) -> Result<Self, CredentialsError> {
        let token = match &config.token_file {
            Some(path) => Some(token(&bytes(path).await?)?),
            None => None,
        };
        let ca = match &config.tls.ca {
            Some(path) => Some(bytes(path).await?),
            None => None,
        };
        let identity = match (&config.tls.cert, &config.tls.key) {
            (Some(cert), Some(key)) => Some((bytes(cert).await?, bytes(key).await?)),
            (None, None) => None,
            _ => return Err(CredentialsError::Half),
        };
        Ok(Self { token, ca, identity })
    }

    /// The header's value.
    pub(crate) fn header(&self) -> Result<Option<MetadataValue<Ascii>>, CredentialsError> {
        let Some(token) = &self.token else { return Ok(None) };
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| CredentialsError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn bytes(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}

/// Files are often written in two steps: an empty one is no token.
fn token(bytes: &[u8]) -> Result<String, CredentialsError> {
    let token = std::str::from_utf8(bytes).map_err(|_| CredentialsError::Token)?.trim();
    if token.is_empty() { Err(CredentialsError::Token) } else { Ok(token.to_owned()) }
}
