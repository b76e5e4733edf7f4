//! From the configuration to whom the TLS listener believes.
//!
//! ```text
//!  configuration ─▶ Gate ─▶ mainstem_auth::Authentication ─▶ identity, or Denied
//!                     │          ├─ TokenReviews of each Kubernetes registry
//!                     │          └─ keys of issuers
//!                     └─ insecureAllowAnonymous: everybody, as nobody in particular
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use mainstem_auth::{
    Authentication, Authorities, Certificates, Claim, ClusterReviews, IssuerSettings, ReadClaim,
    Review, ReviewError, ReviewSettings, Settings, TokenReviewer, TrustDomains,
};
use mainstem_kubernetes::{KubernetesConfig, TokenReviews};
use mainstem_model::ClusterId;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_xds::{Authenticator, Credentials, Denied, Identity};
use parking_lot::Mutex;

use crate::config::{AdapterConfig, AuthenticationConfig, Config, OidcConfig};
use crate::metrics::AuthMetrics;
use crate::xds::{Source, is_debug};

/// Lets clients in by the configuration in force.
pub struct Gate {
    authentication: Authentication,
    /// Whether everybody is let in.
    open: AtomicBool,
    reviews: Mutex<Reviews>,
    /// Those of `clientCas`, as the TLS listener has read them.
    authorities: Mutex<Authorities>,
}

/// The clusters that review tokens. One that stays keeps what it remembers.
#[derive(Default)]
struct Reviews(BTreeMap<ClusterId, (KubernetesConfig, ReviewSettings, Arc<ClusterReviews>)>);

impl Gate {
    /// Believes whom `config` says; nodes are read as `source` reads them.
    pub fn new(config: &Config, source: Source, metrics: AuthMetrics) -> Arc<Self> {
        let mut reviews = Reviews::default();
        // Nobody's certificate is believed before its authorities are read.
        let authorities = Authorities::default();
        let settings = settings(config, reviews.of(config), &authorities);
        let claim: ReadClaim = Arc::new(move |node: &Node| {
            let proxy = source.proxy_of(node).map_err(|refusal| refusal.to_string())?;
            Ok(Claim::from(&proxy))
        });
        Arc::new(Self {
            authentication: Authentication::new(settings, claim, Arc::new(metrics)),
            open: AtomicBool::new(config.xds.authentication.insecure_allow_anonymous),
            reviews: Mutex::new(reviews),
            authorities: Mutex::new(authorities),
        })
    }

    /// Believes whom this configuration says from now on.
    pub fn follow(&self, config: &Config) {
        let reviews = self.reviews.lock().of(config);
        let authorities = self.authorities.lock().clone();
        self.authentication.replace(settings(config, reviews, &authorities));
        let open = config.xds.authentication.insecure_allow_anonymous;
        self.open.store(open, Ordering::Release);
    }

    /// Believes these authorities from now on, where the configuration names any by
    /// trust domain.
    pub fn trust(&self, authorities: Authorities, config: &Config) {
        *self.authorities.lock() = authorities;
        self.follow(config);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

impl Authenticator for Gate {
    fn screen(&self, credentials: &Credentials) -> Result<(), Denied> {
        if self.is_open() { Ok(()) } else { self.authentication.screen(credentials) }
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        node: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        if self.is_open() {
            return Box::pin(std::future::ready(Ok(Identity::anonymous())));
        }
        // Who looks on stands for no workload that an identity could fit; whether he may
        // is for whom he asks about.
        let node = node.filter(|node| !is_debug(node));
        self.authentication.authenticate(credentials, node)
    }
}

impl Reviews {
    /// Those of the configuration's Kubernetes registries.
    fn of(&mut self, config: &Config) -> BTreeMap<ClusterId, Arc<ClusterReviews>> {
        let wanted = &config.xds.authentication.kubernetes;
        let settings = ReviewSettings {
            audiences: wanted.audiences.clone(),
            remember: wanted.remember.duration(),
            timeout: wanted.timeout.duration(),
        };
        let before = std::mem::take(&mut self.0);
        let registries = config.registries.iter().filter(|_| wanted.enabled);
        for registry in registries {
            let AdapterConfig::Kubernetes(kubernetes) = &registry.adapter else { continue };
            let cluster = kubernetes.cluster.clone();
            let same = before
                .get(&cluster)
                .filter(|(own, how, _)| reached_alike(own, kubernetes) && *how == settings);
            let reviews = match same {
                Some((.., reviews)) => reviews.clone(),
                None => reviews(kubernetes, &settings),
            };
            self.0.insert(cluster, (kubernetes.clone(), settings.clone(), reviews));
        }
        self.0.iter().map(|(cluster, (.., reviews))| (cluster.clone(), reviews.clone())).collect()
    }
}

fn reviews(config: &KubernetesConfig, settings: &ReviewSettings) -> Arc<ClusterReviews> {
    let reviewer = Arc::new(ApiServer(TokenReviews::new(config.clone())));
    Arc::new(ClusterReviews::new(config.cluster.clone(), reviewer, settings.clone()))
}

/// Whether both lead to the same API server with the same credentials.
fn reached_alike(one: &KubernetesConfig, other: &KubernetesConfig) -> bool {
    (&one.kubeconfig, &one.context) == (&other.kubeconfig, &other.context)
}

/// A Kubernetes registry's API server.
struct ApiServer(TokenReviews);

impl TokenReviewer for ApiServer {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Review, ReviewError>> {
        Box::pin(async move {
            let verdict = self.0.review(token, audiences).await?;
            Ok(Review {
                authenticated: verdict.authenticated,
                username: verdict.username,
                groups: verdict.groups,
                audiences: verdict.audiences,
                error: verdict.error,
            })
        })
    }
}

fn settings(
    config: &Config,
    clusters: BTreeMap<ClusterId, Arc<ClusterReviews>>,
    authorities: &Authorities,
) -> Settings {
    let AuthenticationConfig { oidc, operators, .. } = &config.xds.authentication;
    Settings {
        home: config.cluster.clone(),
        domains: trust_domains(config),
        certificates: certificates(config, authorities),
        clusters,
        issuers: oidc.iter().filter_map(issuer).collect(),
        operators: operators.iter().cloned().collect(),
    }
}

fn certificates(config: &Config, authorities: &Authorities) -> Certificates {
    let by_domain = config.xds.tls.as_ref().is_some_and(|tls| !tls.client_cas.is_empty());
    match config.xds.authentication.client_certificate.enabled {
        false => Certificates::Ignored,
        true if by_domain => Certificates::OfDomain(authorities.clone()),
        true => Certificates::Verified,
    }
}

/// Registries that share a cluster agree, or the Kubernetes one, then the first is right.
fn trust_domains(config: &Config) -> TrustDomains {
    let mut of_clusters = BTreeMap::new();
    let own = |registry: &crate::config::RegistryConfig| match &registry.adapter {
        AdapterConfig::Kubernetes(kubernetes) => Some(kubernetes.trust_domain.clone()),
        _ => registry.trust_domain.clone(),
    };
    let mut registries: Vec<_> = config.registries.iter().collect();
    registries.sort_by_key(|registry| !matches!(registry.adapter, AdapterConfig::Kubernetes(_)));
    for registry in registries {
        if let Some(domain) = own(registry) {
            of_clusters.entry(registry.id.cluster().into()).or_insert(domain);
        }
    }
    let further = &config.xds.authentication.client_certificate.trust_domains;
    TrustDomains {
        mesh: config.mesh.trust_domain.clone(),
        of_clusters,
        further: further.iter().cloned().collect(),
    }
}

fn issuer(config: &OidcConfig) -> Option<IssuerSettings> {
    Some(IssuerSettings {
        issuer: config.issuer.clone(),
        audiences: config.audiences.clone(),
        // What makes no sense was refused with the configuration.
        keys: config.keys().ok()?,
        ca: config.ca.clone(),
        refresh: config.refresh.duration(),
        clock_skew: config.clock_skew.duration(),
        trust_domain: config.trust_domain.clone(),
        clusters: config.clusters.iter().cloned().collect(),
        namespace_claim: config.namespace_claim.clone(),
        service_account_claim: config.service_account_claim.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Input};
    use pretty_assertions::assert_eq;

    fn config(yaml: &str) -> Config {
        let document = Document { path: Some("/etc/m.yaml".into()), text: yaml.into() };
        let input = Input { document, ..Input::default() };
        input.load().unwrap_or_else(|error| panic!("{error}")).config
    }

    const TWO: &str = "
cluster: eu
mesh: { trustDomain: mesh.test }
xds:
  authentication:
    clientCertificate: { trustDomains: [old.test] }
    kubernetes: { remember: 7s }
registries:
  - { type: file, cluster: us, path: /etc/m, trustDomain: file.test }
  - { type: kubernetes, cluster: eu }
  - { type: kubernetes, cluster: us, trustDomain: us.test }
";

    #[test]
    fn each_clusters_identities_are_of_its_own_trust_domain_else_of_the_meshs() {
        let domains = trust_domains(&config(TWO));
        let of = |cluster: &str| domains.of(&cluster.into()).to_owned();
        assert_eq!([of("eu"), of("us"), of("vm")], ["mesh.test", "us.test", "mesh.test"]);
        assert!(domains.contains("old.test"));
    }

    #[test]
    fn where_authorities_are_of_trust_domains_none_is_believed_before_it_is_read() {
        let of = |tls: &str, more: &str| {
            let text =
                format!("cluster: eu\nxds:\n  tls: {{ certificate: c, key: k, {tls} }}\n{more}");
            certificates(&config(&text), &Authorities::default())
        };
        let one = of("clientCa: ca", "");
        assert!(matches!(one, Certificates::Verified), "{one:?}");
        let bound = of("clientCas: [{ trustDomain: a.test, file: ca }]", "");
        assert!(matches!(bound, Certificates::OfDomain(_)), "{bound:?}");
        let off = "  authentication: { clientCertificate: { enabled: false }, \
                   insecureAllowAnonymous: true }\n";
        let ignored = of("clientCa: ca", off);
        assert!(matches!(ignored, Certificates::Ignored), "{ignored:?}");
    }

    #[test]
    fn a_cluster_that_stays_keeps_what_it_remembers() {
        let mut reviews = Reviews::default();
        let before = reviews.of(&config(TWO));
        let same = reviews.of(&config(&TWO.replace("trustDomain: us.test", "pageSize: 7")));
        assert!(Arc::ptr_eq(&before["us"], &same["us"]));
        let other = reviews.of(&config(&TWO.replace("remember: 7s", "audiences: [mesh]")));
        assert!(!Arc::ptr_eq(&before["us"], &other["us"]));
        let off = reviews.of(&config(&TWO.replace("remember: 7s", "enabled: false")));
        assert!(off.is_empty());
    }
}
