//! The xDS server with TLS.

use std::collections::BTreeSet;
use std::path::PathBuf;

use mainstem_auth::Principal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{AdapterConfig, Config};
use super::ListenAddress;

/// The xDS server with TLS. Its files are read again when they change; connections
/// that are open stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
// The schemas of registries have a TlsConfig of their own.
#[schemars(rename = "XdsTlsConfig")]
pub struct TlsConfig {
    /// Address and port. Default: `0.0.0.0:15012`.
    #[serde(default = "default_tls_address")]
    pub address: ListenAddress,
    /// The server's certificate and its intermediates, a PEM file. Required.
    pub certificate: PathBuf,
    /// The certificate's private key, a PEM file. Required.
    pub key: PathBuf,
    /// The authorities of client certificates, a PEM file; each of them may issue
    /// identities of every trust domain. Without, clients are not asked for a certificate.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Instead, authorities by trust domain: none may issue identities of another's.
    #[serde(default)]
    pub client_cas: Vec<DomainCa>,
    /// Whether a client without a certificate is turned away, whatever token it
    /// may have. Default: false.
    #[serde(default)]
    pub require_client_certificate: bool,
}

fn default_tls_address() -> ListenAddress {
    ListenAddress::anywhere(15012)
}

/// The authorities of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainCa {
    /// The trust domain of which they may issue identities. Required.
    pub trust_domain: String,
    /// A PEM file. Required.
    pub file: PathBuf,
}

impl TlsConfig {
    /// Whether clients are asked for a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.client_ca.is_some() || !self.client_cas.is_empty()
    }
}

/// What is wrong with these settings: where below the section, what, and what to do.
pub(super) fn check(tls: &TlsConfig, wrong: &mut impl FnMut(&str, String, &str)) {
    if tls.require_client_certificate && !tls.asks_for_certificates() {
        let message = "client certificates are required, and none can be verified".to_owned();
        let advice = "add `xds.tls.clientCa`, the authorities of client certificates";
        wrong("tls.requireClientCertificate", message, advice);
    }
    if tls.client_ca.is_some() && !tls.client_cas.is_empty() {
        let message = "`xds.tls.clientCa` and `xds.tls.clientCas` are both given".to_owned();
        wrong("tls.clientCas", message, "name the trust domain of each file in `clientCas` alone");
    }
    let mut known = BTreeSet::new();
    for (index, DomainCa { trust_domain, .. }) in tls.client_cas.iter().enumerate() {
        let at = format!("tls.clientCas.{index}.trustDomain");
        if Principal::from_spiffe(&format!("spiffe://{trust_domain}/ns/a/sa/b")).is_err() {
            let message = format!("{trust_domain:?} is no trust domain");
            wrong(&at, message, "write what stands between `spiffe://` and `/ns/` in identities");
        }
        if !known.insert(trust_domain) {
            let message = format!("trust domain {trust_domain} is there twice");
            wrong(&at, message, "put all its authorities into one file");
        }
    }
}

/// What is odd about the authorities beside the trust domains that are believed.
pub(in super::super) fn warnings(config: &Config) -> Vec<String> {
    let Some(tls) = &config.xds.tls else { return Vec::new() };
    if !config.xds.authentication.client_certificate.enabled {
        return Vec::new();
    }
    let believed = trust_domains(config);
    let mut warnings = Vec::new();
    if tls.client_ca.is_some() && believed.len() > 1 {
        let all = believed.iter().copied().collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "every authority in xds.tls.clientCa may issue identities of each of the trust domains \
             {all}: xds.tls.clientCas gives each its own"
        ));
    }
    let unknown = tls.client_cas.iter().map(|of| &*of.trust_domain);
    warnings.extend(unknown.filter(|domain| !believed.contains(domain)).map(|domain| {
        format!(
            "xds.tls.clientCas has authorities of trust domain {domain}, which is believed nowhere: \
             it is not the mesh's, no registry's, and not in \
             xds.authentication.clientCertificate.trustDomains"
        )
    }));
    warnings
}

/// Those of the mesh, of registries, and further ones.
fn trust_domains(config: &Config) -> BTreeSet<&str> {
    let own = config.registries.iter().filter_map(|registry| match &registry.adapter {
        AdapterConfig::Kubernetes(kubernetes) => Some(&*kubernetes.trust_domain),
        _ => registry.trust_domain.as_deref(),
    });
    let further = &config.xds.authentication.client_certificate.trust_domains;
    std::iter::once(&*config.mesh.trust_domain)
        .chain(own)
        .chain(further.iter().map(|domain| &**domain))
        .collect()
}
