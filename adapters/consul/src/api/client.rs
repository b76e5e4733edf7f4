//! Sending a query and taking its answer in.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{ClientBuilder, Response, StatusCode, Version};
use url::Url;

use super::answer::{MAX_ANSWER, Raw};
use super::{ApiError, Traffic};
use crate::config::{Consistency, ConsulConfig};
use crate::credentials::Credentials;
use crate::index::CatalogIndex;
use crate::pool::Pool;

/// How long an answer without a wait may take, and a waiting one above its wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of an error's body is told.
const MAX_ERROR_TEXT: usize = 200;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Query {
    path: Vec<String>,
    place: Vec<(&'static str, String)>,
    consistency: Consistency,
    filter: Option<&'static str>,
    index: CatalogIndex,
    has_index: bool,
    from_servers: bool,
    cached: bool,
}

impl Query {
    pub(super) fn new(
        path: &[&str],
        place: Vec<(&'static str, String)>,
        consistency: Consistency,
    ) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            place,
            consistency,
            filter: None,
            index: CatalogIndex::START,
            has_index: true,
            from_servers: false,
            cached: false,
        }
    }

    pub(super) fn after(self, index: CatalogIndex) -> Self {
        Self { index, ..self }
    }

    pub(super) fn filter(self, filter: &'static str) -> Self {
        Self { filter: Some(filter), ..self }
    }

    pub(super) fn consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// Not from the agent's own view, which cannot sort by distance.
    pub(super) fn by_servers(self) -> Self {
        Self { from_servers: true, ..self }
    }

    /// From the agent's cache, where that is allowed.
    pub(super) fn cached(self, cached: bool) -> Self {
        Self { cached, ..self }
    }

    /// For endpoints that are not of the catalog.
    pub(super) fn without_index(self) -> Self {
        Self { has_index: false, ..self }
    }

    fn url(&self, base: &Url, wait: Duration) -> Url {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&self.path);
        }
        {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(&self.place);
            pairs.extend_pairs(self.filter.iter().map(|filter| ("filter", filter)));
            match self.consistency {
                Consistency::Default => {}
                Consistency::Stale => drop(pairs.append_key_only("stale")),
                Consistency::Consistent => drop(pairs.append_key_only("consistent")),
            }
            if self.from_servers {
                pairs.append_pair("near", "_agent");
            }
            if self.cached {
                pairs.append_key_only("cached");
            }
            if self.index.waits() {
                pairs.append_pair("index", &self.index.to_string());
                pairs.append_pair("wait", &format!("{}ms", wait.as_millis()));
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        url
    }

    /// For people: the path without its parameters.
    fn name(&self) -> String {
        format!("/v1/{}", self.path.join("/"))
    }
}

/// Requests to one agent with one set of credentials.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    address: String,
    token: Option<HeaderValue>,
    wait: Duration,
    probe_timeout: Duration,
    traffic: Arc<Traffic>,
    settings: Settings,
    probing: reqwest::Client,
    version: parking_lot::Mutex<Version>,
    pool: Option<Pool>,
}

impl Client {
    pub(super) fn new(
        config: &ConsulConfig,
        credentials: &Credentials,
        traffic: Arc<Traffic>,
    ) -> Result<Self, ApiError> {
        let (base, resolver) = base_url(config)?;
        let settings = Settings {
            credentials: credentials.clone(),
            resolver,
            verify: !config.tls.insecure_skip_verify,
            idle: config.errands(false),
        };
        let probing = settings.client(|builder| builder);
        let probing = probing.map_err(|source| client_error(config, source))?;
        Ok(Self {
            base,
            address: config.address.clone(),
            token: credentials.header()?,
            wait: config.wait.duration(),
            probe_timeout: config.probe_timeout.duration(),
            traffic,
            settings,
            probing,
            version: parking_lot::Mutex::new(Version::HTTP_11),
            pool: None,
        })
    }

    /// Opens the pool that fits the protocol which the probe has found.
    pub(super) fn open_pool(&mut self) -> Result<(), ApiError> {
        let settings = self.settings.clone();
        self.pool = Some(if *self.version.lock() == Version::HTTP_2 {
            // With prior knowledge a client waits for its one connection, where
            // it would otherwise open one for each query of a first burst.
            Pool::lanes(move || settings.client(ClientBuilder::http2_prior_knowledge))
        } else {
            let client = settings.client(ClientBuilder::http1_only);
            let address = self.address.clone();
            Pool::Plain(client.map_err(|source| ApiError::Client { address, source })?)
        });
        Ok(())
    }

    pub(super) fn multiplexes(&self) -> bool {
        matches!(self.pool, Some(Pool::Lanes(_)))
    }

    pub(super) fn connections(&self) -> Option<usize> {
        self.pool.as_ref().and_then(Pool::connections)
    }

    /// Asks on the probe's own connection, which also tells the protocol.
    pub(super) async fn probe(&self, query: Query) -> Result<Raw, ApiError> {
        self.send(&self.probing, query, self.probe_timeout).await
    }

    /// Asks on a connection of the pool.
    pub(super) async fn ask(&self, query: Query) -> Result<Raw, ApiError> {
        let pool = self.pool.as_ref().expect("the pool opens before the first query");
        let address = || self.address.clone();
        let lease =
            pool.lease().map_err(|source| ApiError::Client { address: address(), source })?;
        let patience = match query.index.waits() {
            // Consul adds up to a sixteenth of the wait.
            true => self.wait + self.wait / 16 + PATIENCE,
            false => PATIENCE,
        };
        self.send(&lease.client, query, patience).await
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        query: Query,
        patience: Duration,
    ) -> Result<Raw, ApiError> {
        let path = query.name();
        let answer = tokio::time::timeout(patience, self.take(client, &query, &path)).await;
        answer.unwrap_or_else(|_| Err(ApiError::Silent { path, seconds: patience.as_secs_f64() }))
    }

    async fn take(
        &self,
        client: &reqwest::Client,
        query: &Query,
        path: &str,
    ) -> Result<Raw, ApiError> {
        let transport = |source: reqwest::Error| ApiError::Transport {
            path: path.to_owned(),
            source: source.without_url(),
        };
        let mut request = client.get(query.url(&self.base, self.wait));
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        self.traffic.queries.fetch_add(1, Ordering::Relaxed);
        let mut response = request.send().await.map_err(transport)?;
        *self.version.lock() = response.version();
        let body = body(&mut response, path, transport).await?;
        self.traffic.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if response.status() != StatusCode::OK {
            return Err(ApiError::Status {
                path: path.to_owned(),
                status: response.status(),
                body: beginning(&body),
            });
        }
        Raw::new(path, &self.address, response.headers(), body, query.has_index)
    }
}

async fn body(
    response: &mut Response,
    path: &str,
    transport: impl Fn(reqwest::Error) -> ApiError,
) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(&transport)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ApiError::Oversized { path: path.to_owned(), limit: MAX_ANSWER });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_TEXT)]);
    text.trim().to_owned()
}

/// What all clients of one registry have in common.
#[derive(Clone, Debug)]
struct Settings {
    credentials: Credentials,
    resolver: Option<Arc<HostOf>>,
    verify: bool,
    /// Blocking queries keep their connections busy; only short ones leave some idle.
    idle: usize,
}

impl Settings {
    fn client(
        &self,
        protocol: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<reqwest::Client, reqwest::Error> {
        install_crypto();
        let builder = reqwest::Client::builder()
            .no_proxy()
            // A redirect would carry the token to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(self.idle)
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(20))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .tls_danger_accept_invalid_certs(!self.verify);
        let builder = match &self.resolver {
            Some(resolver) => builder.dns_resolver(resolver.clone()),
            None => builder,
        };
        protocol(self.credentials.secure(builder)?).build()
    }
}

/// Makes ring the process's TLS provider, unless it has one.
pub(crate) fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn client_error(config: &ConsulConfig, source: reqwest::Error) -> ApiError {
    ApiError::Client { address: config.address.clone(), source }
}

/// Resolves every name as one host: the URL then carries the name that the
/// agent's certificate has, and connections go to where the agent is.
#[derive(Debug)]
pub(crate) struct HostOf(String);

impl Resolve for HostOf {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || (host.as_str(), 0).to_socket_addrs());
            let found: Vec<SocketAddr> = found.await??.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

pub(crate) fn base_url(config: &ConsulConfig) -> Result<(Url, Option<Arc<HostOf>>), ApiError> {
    let address = || config.address.clone();
    let with_scheme = match config.address.contains("://") {
        true => address(),
        false => format!("http://{}", config.address),
    };
    let mut url = Url::parse(&with_scheme)
        .map_err(|source| ApiError::Address { address: address(), source: Some(source) })?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(ApiError::Address { address: address(), source: None });
    }
    let Some(name) = config.tls.server_name.as_deref().filter(|_| url.scheme() == "https") else {
        return Ok((url, None));
    };
    url.set_host(Some(name))
        .map_err(|source| ApiError::Address { address: name.to_owned(), source: Some(source) })?;
    Ok((url, Some(Arc::new(HostOf(host)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_carries_what_it_asks() {
        let base = Url::parse("http://consul:8500").unwrap();
        let place = ConsulConfig {
            datacenter: Some("dc1".to_owned()),
            partition: Some("a b".to_owned()),
            consul_namespace: Some("billing".to_owned()),
            peer: Some("emea".to_owned()),
            ..ConsulConfig::new("a")
        };
        let query = Query::new(&["health", "service", "a b/c"], place.place(), Consistency::Stale);
        let wait = Duration::from_secs(300);
        assert_eq!(
            query.url(&base, wait).as_str(),
            "http://consul:8500/v1/health/service/a%20b%2Fc?dc=dc1&partition=a+b&ns=billing&peer=emea&stale"
        );
        let query = query.filter("Node == \"\"").after(CatalogIndex::new(7).unwrap());
        assert_eq!(
            query.url(&base, wait).query(),
            Some(
                "dc=dc1&partition=a+b&ns=billing&peer=emea&filter=Node+%3D%3D+%22%22&stale&index=7&wait=300000ms"
            )
        );
        let plain = Query::new(&["status", "leader"], Vec::new(), Consistency::Default);
        assert_eq!(plain.url(&base, wait).as_str(), "http://consul:8500/v1/status/leader");
    }

    #[test]
    fn an_address_may_leave_out_the_scheme_and_a_wrong_one_is_named() {
        let at = |address: &str| {
            let config = ConsulConfig { address: address.to_owned(), ..ConsulConfig::new("a") };
            base_url(&config).map(|(url, _)| url.to_string()).map_err(|error| error.full())
        };
        assert_eq!(at("consul:8500"), Ok("http://consul:8500/".to_owned()));
        assert_eq!(at("https://[::1]:8501"), Ok("https://[::1]:8501/".to_owned()));
        assert!(at("ftp://consul").unwrap_err().contains("ftp://consul"));
        assert!(at("http://").unwrap_err().contains("empty host"));
    }
}
