//! Asking a running control plane.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::api::Failure;

/// How long an answer may take: all services of a large mesh are some megabytes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Nobody answers, or somebody who cannot now: later it may be otherwise.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(String);

/// A control plane's admin API.
pub struct Admin {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Admin {
    /// The API at `address`, `HOST:PORT` or `http://HOST:PORT`, for who has the token of
    /// this file.
    ///
    /// # Errors
    /// When the file has no token, or no client can be made.
    pub fn new(address: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let base = address.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .context("making an HTTP client")?;
        let token = token_file.map(token).transpose()?;
        Ok(Self { base, token, http })
    }

    /// The text of `/api/v1/WHAT`.
    ///
    /// # Errors
    /// [`NotNow`] when nobody answers or the server fails, else why it refuses; both say
    /// what to do.
    pub async fn get(&self, what: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
        let given: Vec<_> =
            query.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        self.answer(self.http.get(self.url(what)).query(&given)).await
    }

    /// What `/api/v1/WHAT` answers to a request to change something.
    ///
    /// # Errors
    /// As [`get`](Self::get), or when the caller may not.
    pub async fn post(&self, what: &str, body: &impl Serialize) -> anyhow::Result<String> {
        self.answer(self.http.post(self.url(what)).json(body)).await
    }

    fn url(&self, what: &str) -> String {
        format!("{}/api/v1/{what}", self.base)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<String> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            let cause = root_cause(&error);
            NotNow(format!(
                "asking {}: {cause}\n  help: is `mainstem serve` running? Name its admin address with --admin ADDRESS",
                self.base
            ))
        })?;
        let (status, url) = (response.status(), response.url().clone());
        let text = response.text().await.with_context(|| format!("reading {url}"))?;
        if status.is_success() {
            return Ok(text);
        }
        let failure = match serde_json::from_str::<Failure>(&text) {
            Ok(failure) => failure.error,
            Err(_) => format!("{url} answered {status}; is that the admin address of Mainstem?"),
        };
        if status.is_server_error() {
            bail!(NotNow(failure));
        }
        bail!(failure)
    }
}

/// The token of a file: of the first line that has one, without its name.
fn token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading the token from {}", file.display()))?;
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let line = lines.next().with_context(|| format!("no token is in {}", file.display()))?;
    Ok(line.split_once(':').map_or(line, |(_, token)| token.trim()).to_owned())
}

/// The innermost cause says what happened; those around it repeat the address.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
