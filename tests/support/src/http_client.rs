//! A small HTTP client, for the servers' APIs and for what a test asks itself.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::eventually::TIMEOUT;
use crate::tls::{Ca, Identity};

/// Sends requests to one server. Each value has its own connections, kept open
/// between requests; they belong to the tokio runtime that first used them.
#[derive(Debug, Clone)]
pub struct HttpClient {
    base: String,
    client: Client,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, by lower-case name; of several the last.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Answer {
    async fn read(response: Response) -> Result<Self, String> {
        let pairs = response.headers().iter();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Self {
            status: response.status().as_u16(),
            headers: pairs.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.text().await.map_err(|error| chain(&error))?,
        })
    }

    /// The status and the body, for comparing at once.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

impl HttpClient {
    /// For a server at `base` (`http://HOST:PORT`).
    pub fn new(base: &str) -> Self {
        Self::with(base, rustls::RootCertStore::empty(), None, HeaderMap::new())
    }

    /// Trusts `ca` alone, shows `identity` and sends `header` with each request.
    pub fn secured(
        base: &str,
        ca: Option<&Ca>,
        identity: Option<&Identity>,
        header: Option<(&'static str, String)>,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(ca) = ca {
            roots.add(ca.der()).expect("a CA of ours is well-formed");
        }
        let headers = header.into_iter().map(|(name, value)| {
            let value = HeaderValue::from_str(&value).expect("tokens are printable");
            (HeaderName::from_static(name), value)
        });
        Self::with(base, roots, identity, headers.collect())
    }

    fn with(
        base: &str,
        roots: rustls::RootCertStore,
        identity: Option<&Identity>,
        headers: HeaderMap,
    ) -> Self {
        let provider = rustls::crypto::ring::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_root_certificates(roots);
        let tls = match identity {
            Some(identity) => tls
                .with_client_auth_cert(identity.chain(), identity.key())
                .expect("an identity of ours is well-formed"),
            None => tls.with_no_client_auth(),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .expect("the settings fit together");
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    /// Sends a GET request for `path` with these headers besides, `host` for
    /// another authority than the address; the error is one of transport.
    pub async fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let request =
            headers.iter().fold(self.request(Method::GET, path), |request, (name, value)| {
                request.header(*name, *value)
            });
        Answer::read(send(request).await?).await
    }

    /// A request to be filled and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response, String> {
        send(self.request(Method::GET, path)).await
    }

    /// The answer's status and body, which is a JSON string if it is no JSON.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), String> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        read(send(request).await?).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Result<Response, String> {
    request.send().await.map_err(|error| chain(&error))
}

pub(crate) async fn read(response: Response) -> Result<(StatusCode, Value), String> {
    let status = response.status();
    let text = response.text().await.map_err(|error| chain(&error))?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok((status, body))
}

/// The body of a good answer; else an error with method, path, status and body.
pub(crate) fn good(what: &str, answer: (StatusCode, Value)) -> Result<Value, String> {
    let (status, body) = answer;
    if status.is_success() { Ok(body) } else { Err(format!("{what}: {status}: {body}")) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
