//! Named texts kept under a prefix of the key-value store, for replicas that share them.
//!
//! Reads are blocking queries, writes check and set by `ModifyIndex`.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::api::{base_url, install_crypto};
use crate::config::ConsulConfig;
use crate::credentials::Credentials;

/// The most that a text may have, in bytes: a value takes 512 KiB.
pub const MOST: usize = 500_000;

/// How long a blocking query waits.
const WAIT: Duration = Duration::from_secs(240);
/// How long an answer without a wait may take, and a waiting one above its wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// One entry as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the key without the prefix.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its `ModifyIndex`.
    pub revision: String,
}

/// Something did not work.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} keys below {prefix} of Consul at {address}")]
pub struct KvError {
    attempt: &'static str,
    prefix: String,
    address: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// The answer is none.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it answered {0}: {1}")]
    Status(StatusCode, String),
    #[error("its answer has no index")]
    Index,
    #[error("its servers know no leader")]
    Leader,
    #[error("its answer is not of the key-value store")]
    Foreign,
    #[error("{0:?} is not an address of its HTTP API")]
    Address(String),
}

/// The entries below one prefix.
#[derive(Debug)]
pub struct Kv {
    config: ConsulConfig,
    prefix: String,
    /// The index of the last read, from which blocking queries go on.
    read: AtomicU64,
    /// The client, with the credentials that it was made for.
    client: Mutex<Option<(Credentials, reqwest::Client)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Option<String>,
    modify_index: u64,
}

impl Kv {
    /// Entries below `prefix`, which has no slash at its ends; asks nothing yet. Of the
    /// configuration counts how the agent is reached.
    pub fn new(config: ConsulConfig, prefix: &str) -> Self {
        Self {
            config,
            prefix: prefix.trim_matches('/').to_owned(),
            read: AtomicU64::new(0),
            client: Mutex::default(),
        }
    }

    /// Everything that stands there now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn load(&self) -> Result<Vec<Entry>, KvError> {
        self.list(None).await.map_err(|source| self.error("reading", source))
    }

    /// Waits until what stands there is not what `known` holds for. May return early.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn changed(&self, known: impl Fn(&[Entry]) -> bool) -> Result<(), KvError> {
        loop {
            let index = self.read.load(Ordering::Relaxed);
            let found = self.list(Some(index)).await;
            if !known(&found.map_err(|source| self.error("watching", source))?) {
                return Ok(());
            }
        }
    }

    /// Sets an entry's text, or removes it; whether it stood there as expected: at this
    /// revision, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write(
        &self,
        name: &str,
        text: Option<String>,
        expected: Option<&str>,
    ) -> Result<bool, KvError> {
        let written = self.set(name, text, expected).await;
        written.map_err(|source| self.error("writing", source))
    }

    async fn set(
        &self,
        name: &str,
        text: Option<String>,
        expected: Option<&str>,
    ) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let method = if text.is_some() { Method::PUT } else { Method::DELETE };
        let mut url = self.url(name.split('/'))?;
        url.query_pairs_mut().append_pair("cas", expected.unwrap_or("0"));
        let request = self.request(method, url).await?.timeout(PATIENCE);
        let answer = request.body(text.unwrap_or_default()).send().await?;
        match (answer.status(), answer.text().await?.trim()) {
            (StatusCode::OK, "true") => Ok(true),
            (StatusCode::OK, "false") => Ok(false),
            (status, text) => Err(Unusable::Status(status, beginning(text)).into()),
        }
    }

    async fn list(&self, after: Option<u64>) -> Result<Vec<Entry>, Box<dyn Error + Send + Sync>> {
        let mut url = self.url([""])?;
        url.query_pairs_mut().append_pair("recurse", "true");
        let mut patience = PATIENCE;
        if let Some(index) = after.filter(|index| *index > 0) {
            patience += WAIT + WAIT / 16;
            url.query_pairs_mut()
                .append_pair("index", &index.to_string())
                .append_pair("wait", &format!("{}s", WAIT.as_secs()));
        }
        let answer = self.request(Method::GET, url).await?.timeout(patience).send().await?;
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        if header("x-consul-knownleader").as_deref() == Some("false") {
            return Err(Unusable::Leader.into());
        }
        let index = header("x-consul-index").and_then(|text| text.parse::<u64>().ok());
        let status = answer.status();
        if status != StatusCode::OK && status != StatusCode::NOT_FOUND {
            return Err(Unusable::Status(status, beginning(&answer.text().await?)).into());
        }
        let index = index.ok_or(Unusable::Index)?;
        // An index that went back, as after a restore, begins anew.
        let before = self.read.load(Ordering::Relaxed);
        self.read.store(if index < before { 0 } else { index }, Ordering::Relaxed);
        if status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let pairs: Vec<Pair> = answer.json().await?;
        pairs.into_iter().filter(|pair| !pair.key.ends_with('/')).map(|p| self.entry(p)).collect()
    }

    fn entry(&self, pair: Pair) -> Result<Entry, Box<dyn Error + Send + Sync>> {
        let below = pair.key.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/'));
        let name = below.ok_or(Unusable::Foreign)?.to_owned();
        let text = BASE64.decode(pair.value.unwrap_or_default())?;
        Ok(Entry {
            name,
            text: String::from_utf8_lossy(&text).into_owned(),
            revision: pair.modify_index.to_string(),
        })
    }

    fn url<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Url, Box<dyn Error + Send + Sync>> {
        let (mut url, _) = base_url(&self.config)?;
        url.path_segments_mut()
            .map_err(|()| Unusable::Address(self.config.address.clone()))?
            .pop_if_empty()
            .extend(["v1", "kv"])
            .extend(self.prefix.split('/'))
            .extend(parts);
        if let Some(datacenter) = &self.config.datacenter {
            url.query_pairs_mut().append_pair("dc", datacenter);
        }
        Ok(url)
    }

    /// A request with credentials as they are in their files now.
    async fn request(
        &self,
        method: Method,
        url: Url,
    ) -> Result<RequestBuilder, Box<dyn Error + Send + Sync>> {
        let credentials = Credentials::read(&self.config).await?;
        let client = self.client(&credentials)?;
        let mut request = client.request(method, url);
        if let Some(token) = credentials.header()? {
            request = request.header("x-consul-token", token);
        }
        Ok(request)
    }

    fn client(
        &self,
        credentials: &Credentials,
    ) -> Result<reqwest::Client, Box<dyn Error + Send + Sync>> {
        let mut held = self.client.lock();
        if let Some((_, client)) = held.as_ref().filter(|(made_for, _)| made_for == credentials) {
            return Ok(client.clone());
        }
        install_crypto();
        let (_, resolver) = base_url(&self.config)?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            // A redirect would carry the token to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(20))
            .tls_danger_accept_invalid_certs(self.config.tls.insecure_skip_verify);
        let builder = match resolver {
            Some(resolver) => builder.dns_resolver(resolver),
            None => builder,
        };
        let client = credentials.secure(builder)?.build()?;
        *held = Some((credentials.clone(), client.clone()));
        Ok(client)
    }

    fn error(&self, attempt: &'static str, source: Box<dyn Error + Send + Sync>) -> KvError {
        let (prefix, address) = (self.prefix.clone(), self.config.address.clone());
        KvError { attempt, prefix, address, source }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}
