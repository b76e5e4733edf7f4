//! The small HTTP client that the servers' types share.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::eventually::TIMEOUT;
use crate::tls::{Ca, Identity};

/// Sends requests to one server. Each value has its own connections, and those
/// belong to the tokio runtime that first used them.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    base: String,
    client: Client,
}

impl HttpClient {
    pub(crate) fn new(base: &str) -> Self {
        Self::with(base, rustls::RootCertStore::empty(), None, HeaderMap::new())
    }

    /// Trusts `ca` alone, shows `identity` and sends `header` with each request.
    pub(crate) fn secured(
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

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
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
