//! Where proxies are served, and who is let in.

mod serving;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeSet;
use std::path::PathBuf;

use mainstem_auth::{KeySource, Principal, is_safe_key_url};
use mainstem_model::{ClusterId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub use serving::{KeepaliveConfig, LimitsConfig, LoadReportsConfig};
pub use socket::{SocketMode, UnixSocketConfig};
pub(super) use tls::warnings as authority_warnings;
pub use tls::{DomainCa, TlsConfig};

use super::addresses::ListenAddress;
use super::decode::decode;
use super::read::Surroundings;
use super::report::Problem;
use super::tree::{Node, Place, Tree};
use super::{AdapterConfig, Config};

/// Where proxies are served, and who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct XdsConfig {
    /// Address and port of the xDS server in plain text, which asks nobody who he
    /// is. Default: `127.0.0.1:15010`.
    pub address: ListenAddress,
    /// Whether there is an xDS server in plain text at all. Default: true.
    pub plaintext: bool,
    /// Allows `address` to be one that other hosts can reach: everybody who does can
    /// read the whole mesh, and so can whoever is on the way. Default: false.
    pub insecure_plaintext_beyond_loopback: bool,
    /// A Unix socket, which asks nobody who he is: its permissions do.
    pub unix_socket: Option<UnixSocketConfig>,
    /// The xDS server with TLS, which lets in whom `authentication` says.
    pub tls: Option<TlsConfig>,
    /// Who is let in at `tls`.
    pub authentication: AuthenticationConfig,
    /// Authorities of federated names: gRPC clients find what is here as
    /// `xdstp://AUTHORITY/…`, too. Default: none.
    pub authorities: Vec<String>,
    /// How this replica names itself to clients. Default: `mainstem/VERSION HOST`.
    /// Takes effect after a restart, as all that follows.
    pub identifier: Option<String>,
    /// After this time, give or take a tenth, a connection takes no new streams and its
    /// client turns to whichever replica it finds; `0s` is never. Default: `30m`.
    pub max_connection_age: TimeSpan,
    /// How long the streams of such a connection may go on. Default: `10s`.
    pub max_connection_age_grace: TimeSpan,
    /// How it is found out that a client is gone.
    pub keepalive: KeepaliveConfig,
    /// How long a client may leave a response unread before its stream is ended.
    /// Default: `60s`.
    pub stall: TimeSpan,
    /// Time over which streams are ended at shutdown. Default: `1s`.
    pub drain: TimeSpan,
    /// Streams at a time, over all clients. Default: 100000.
    pub max_streams: u32,
    /// Streams at a time of one connection. Default: 100.
    pub max_streams_per_connection: u32,
    /// What one stream may cost.
    pub limits: LimitsConfig,
    /// What clients report of what they sent where (LRS).
    pub load_reports: LoadReportsConfig,
}

impl Default for XdsConfig {
    fn default() -> Self {
        Self {
            address: ListenAddress::loopback(15010),
            plaintext: true,
            insecure_plaintext_beyond_loopback: false,
            unix_socket: None,
            tls: None,
            authentication: AuthenticationConfig::default(),
            authorities: Vec::new(),
            identifier: None,
            max_connection_age: TimeSpan::from_secs(30 * 60),
            max_connection_age_grace: TimeSpan::from_secs(10),
            keepalive: KeepaliveConfig::default(),
            stall: TimeSpan::from_secs(60),
            drain: TimeSpan::from_secs(1),
            max_streams: 100_000,
            max_streams_per_connection: 100,
            limits: LimitsConfig::default(),
            load_reports: LoadReportsConfig::default(),
        }
    }
}

/// Who is let in at `tls`. The first proof that holds counts; namespace, service
/// account and cluster that a node claims must fit it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthenticationConfig {
    /// Client certificates with a SPIFFE ID, of the authorities in `tls`.
    pub client_certificate: CertificateConfig,
    /// Tokens of Kubernetes service accounts, reviewed by the cluster that the
    /// proxy says it is in.
    pub kubernetes: KubernetesTokenConfig,
    /// Issuers whose tokens (JWT) are believed.
    pub oidc: Vec<OidcConfig>,
    /// SPIFFE IDs of those who may ask for the status of all clients (CSDS).
    pub operators: Vec<String>,
    /// Lets everybody in at `tls` without any proof: everybody who reaches it can
    /// read the whole mesh. Default: false.
    pub insecure_allow_anonymous: bool,
}

/// Client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateConfig {
    /// Whether they are believed. Default: true.
    pub enabled: bool,
    /// Trust domains that are believed besides those of the mesh and the
    /// registries, for nodes of any cluster. Default: none.
    pub trust_domains: Vec<String>,
}

impl Default for CertificateConfig {
    fn default() -> Self {
        Self { enabled: true, trust_domains: Vec::new() }
    }
}

/// Tokens of Kubernetes service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesTokenConfig {
    /// Whether they are believed. Default: true.
    pub enabled: bool,
    /// A token must be meant for one of these. Default: `[istio-ca]`.
    pub audiences: Vec<String>,
    /// How long an API server's answer is remembered. Default: `30s`.
    pub remember: TimeSpan,
    /// How long an API server's answer may take. Default: `10s`.
    pub timeout: TimeSpan,
}

impl Default for KubernetesTokenConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            audiences: vec!["istio-ca".to_owned()],
            remember: TimeSpan::from_secs(30),
            timeout: TimeSpan::from_secs(10),
        }
    }
}

/// An issuer whose tokens (JWT) are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcConfig {
    /// What its tokens say in `iss`, exactly. Required.
    pub issuer: String,
    /// A token must be meant for one of these. Required.
    pub audiences: Vec<String>,
    /// Where its keys are, a JWK set. Default: where its discovery document at
    /// `ISSUER/.well-known/openid-configuration` says.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// A file with its keys, a JWK set, instead.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The authorities by which the server of the keys is known, a PEM file.
    /// Default: the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How old its keys may get before they are read again; for an unknown key
    /// they are read at once. Default: `10m`.
    #[serde(default = "default_refresh")]
    pub refresh: TimeSpan,
    /// How far clocks may differ. Default: `60s`.
    #[serde(default = "default_clock_skew")]
    pub clock_skew: TimeSpan,
    /// The trust domain of its identities. Default: the mesh's.
    #[serde(default)]
    pub trust_domain: Option<String>,
    /// The clusters that its identities may be in. Default: those of the trust domain.
    #[serde(default)]
    pub clusters: Vec<ClusterId>,
    /// The claim that is the namespace, by name or JSON pointer. Default: the
    /// subject says it, as a SPIFFE ID or `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(default)]
    pub namespace_claim: Option<String>,
    /// The claim that is the service account, likewise. Default: `sub` where
    /// `namespaceClaim` is set.
    #[serde(default)]
    pub service_account_claim: Option<String>,
}

fn default_refresh() -> TimeSpan {
    TimeSpan::from_secs(600)
}

fn default_clock_skew() -> TimeSpan {
    TimeSpan::from_secs(60)
}

impl OidcConfig {
    /// Where its keys are, if what is said of that makes sense.
    ///
    /// # Errors
    /// What is wrong, and the setting that says it.
    pub fn keys(&self) -> Result<KeySource, (&'static str, String)> {
        match (&self.jwks_uri, &self.jwks_file) {
            (Some(_), Some(_)) => {
                Err(("jwksFile", "`jwksUri` and `jwksFile` are both given".to_owned()))
            }
            (None, Some(file)) => Ok(KeySource::File(file.clone())),
            (Some(uri), None) => key_url(uri).map(KeySource::Url).map_err(|why| ("jwksUri", why)),
            (None, None) => {
                key_url(&self.issuer).map(|_| KeySource::Discovery).map_err(|why| ("issuer", why))
            }
        }
    }
}

fn key_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if is_safe_key_url(&url) => Ok(url),
        Ok(_) => Err(format!("{text:?} is not https, so its keys could be anybody's")),
        Err(error) => Err(format!("{text:?} is no URL to find keys by: {error}")),
    }
}

/// Reads the section. `None` when something is wrong with it, which `problems` says.
pub(super) fn read(
    root: &mut Node,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<XdsConfig> {
    let Some(mut node) = root.take("xds") else { return Some(XdsConfig::default()) };
    for name in ["unixSocket.path", "tls.certificate", "tls.key", "tls.clientCa"] {
        around.absolute(&mut node, name);
    }
    let authorities = node.get_mut("tls").and_then(|node| node.get_mut("clientCas"));
    if let Some(Node { tree: Tree::List(authorities), .. }) = authorities {
        authorities.iter_mut().for_each(|of| around.absolute(of, "file"));
    }
    let issuers = node.get_mut("authentication").and_then(|node| node.get_mut("oidc"));
    if let Some(Node { tree: Tree::List(issuers), .. }) = issuers {
        for issuer in issuers {
            around.absolute(issuer, "jwksFile");
            around.absolute(issuer, "ca");
        }
    }
    let before = problems.len();
    match decode::<XdsConfig>(&node) {
        Ok(config) => {
            check(&config, &node, problems);
            (problems.len() == before).then_some(config)
        }
        Err(fault) => {
            problems.push(fault.into());
            None
        }
    }
}

/// What is wrong with the section by itself.
fn check(config: &XdsConfig, node: &Node, problems: &mut Vec<Problem>) {
    let mut wrong = |path: &str, message: String, advice: &str| {
        problems.push(Problem::new(&place(node, path), message).advise(advice));
    };
    if config.reaches_out_unprotected() && !config.insecure_plaintext_beyond_loopback {
        let message = format!(
            "`xds.address` {} can be reached from other hosts, without TLS or authentication",
            config.address
        );
        wrong("address", message, BEYOND_LOOPBACK);
    }
    if !config.plaintext && config.tls.is_none() && config.unix_socket.is_none() {
        let message = "`xds.plaintext` is off, and nothing else serves proxies".to_owned();
        wrong("plaintext", message, "add `xds.tls` or `xds.unixSocket`");
    }
    if let Some(tls) = &config.tls {
        tls::check(tls, &mut wrong);
    }
    serving::check(config, &mut wrong);
    for (index, authority) in config.authorities.iter().enumerate() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:@".contains(c);
        if authority.is_empty() || !authority.chars().all(allowed) {
            let message = format!("{authority:?} cannot be an authority in a name");
            let advice = "write what stands between `xdstp://` and the next `/`";
            wrong(&format!("authorities.{index}"), message, advice);
        }
    }
    let authentication = &config.authentication;
    for id in &authentication.operators {
        if let Err(error) = Principal::from_spiffe(id) {
            wrong("authentication.operators", error.to_string(), "name the service account so");
        }
    }
    if authentication.kubernetes.enabled && authentication.kubernetes.audiences.is_empty() {
        let message = "a token for no audience is a token for everybody".to_owned();
        let advice = "name the audience, such as istio-ca, or leave `audiences` out";
        wrong("authentication.kubernetes.audiences", message, advice);
    }
    let mut names = BTreeSet::new();
    for (index, issuer) in authentication.oidc.iter().enumerate() {
        let at = |name: &str| format!("authentication.oidc.{index}.{name}");
        if !names.insert(&issuer.issuer) {
            let message = format!("issuer {:?} is there twice", issuer.issuer);
            wrong(&at("issuer"), message, "name all its audiences in one entry");
        }
        if issuer.audiences.is_empty() {
            let message = "a token for no audience is a token for everybody".to_owned();
            wrong(&at("audiences"), message, "name the audience of tokens for this mesh");
        }
        if let Err((name, why)) = issuer.keys() {
            wrong(&at(name), why, "give `jwksUri` (https) or `jwksFile`");
        }
    }
}

const BEYOND_LOOPBACK: &str = "listen on 127.0.0.1 or `xds.unixSocket`, and serve other hosts by \
     `xds.tls`; or, if everybody who reaches the address may read the whole mesh, set \
     `xds.insecurePlaintextBeyondLoopback: true`";

/// What is wrong with the section beside the others.
pub(super) fn check_beside(config: &Config, node: Option<&Node>, problems: &mut Vec<Problem>) {
    let Some(tls) = &config.xds.tls else { return };
    let at = |path: &str| node.map_or(Place::Unknown, |node| place(node, path));
    let mut others = vec![("admin.address", config.admin.address)];
    if config.xds.plaintext {
        others.push(("xds.address", config.xds.address));
    }
    for (name, other) in others {
        if tls.address.collides(other) {
            let message = format!("`xds.tls.address` {} and `{name}` {other} collide", tls.address);
            let problem = Problem::new(&at("tls.address"), message);
            problems.push(problem.advise("give one of them another port"));
        }
    }
    let authentication = &config.xds.authentication;
    let kubernetes =
        |registry: &super::RegistryConfig| matches!(registry.adapter, AdapterConfig::Kubernetes(_));
    let somebody = authentication.insecure_allow_anonymous
        || (authentication.client_certificate.enabled && tls.asks_for_certificates())
        || (authentication.kubernetes.enabled && config.registries.iter().any(kubernetes))
        || !authentication.oidc.is_empty();
    if !somebody {
        let message = "nobody can prove at `xds.tls` who he is";
        let problem = Problem::new(&at("tls"), message);
        problems.push(problem.advise(
            "add `xds.tls.clientCa` for client certificates, a Kubernetes registry for service \
             account tokens, or an issuer to `xds.authentication.oidc`",
        ));
    }
}

/// What is odd about the section, though not wrong.
pub(super) fn warnings(config: &XdsConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.reaches_out_unprotected() {
        let address = config.address;
        warnings.push(format!(
            "xds.address {address} is reachable from outside, without TLS or authentication"
        ));
    }
    match &config.tls {
        None if config.authentication != AuthenticationConfig::default() => warnings.push(
            "xds.authentication has no effect without xds.tls: it is for TLS only".to_owned(),
        ),
        Some(tls) if config.authentication.insecure_allow_anonymous => warnings.push(format!(
            "xds.authentication.insecureAllowAnonymous: everybody who reaches {} can read the \
             whole mesh",
            tls.address
        )),
        _ => {}
    }
    warnings
}

impl XdsConfig {
    fn reaches_out_unprotected(&self) -> bool {
        self.plaintext && !self.address.0.ip().is_loopback()
    }
}

/// The place of the setting at a path, or of what it would stand in. A number is
/// an item of a list.
fn place(node: &Node, path: &str) -> Place {
    let mut found = node;
    for step in path.split('.') {
        let next = match (&found.tree, step.parse::<usize>()) {
            (Tree::List(items), Ok(index)) => items.get(index),
            _ => found.get(step),
        };
        match next {
            Some(next) => found = next,
            None => break,
        }
    }
    found.place.clone()
}
