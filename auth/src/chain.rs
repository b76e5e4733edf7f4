//! All ways to prove an identity, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use mainstem_model::ClusterId;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_xds::{Authenticator, Credentials, Denied, Identity};
use tracing::{info, warn};

use crate::authorities::Certificates;
use crate::certificate;
use crate::described;
use crate::observe::{AuthObserver, Method, Outcome};
use crate::oidc::{Issuer, IssuerSettings};
use crate::principal::{Claim, Principal, TrustDomains};
use crate::reviews::{ClusterReviews, TokenDenied};
use crate::token::{self, Unverified};

/// Reads what a node claims; the same words as for what it is then told.
pub type ReadClaim = Arc<dyn Fn(&Node) -> Result<Claim, String> + Send + Sync>;

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The cluster that is meant where nobody names one.
    pub home: ClusterId,
    /// Whose identities are of this mesh.
    pub domains: TrustDomains,
    /// Which client certificates are believed.
    pub certificates: Certificates,
    /// The clusters whose service account tokens are believed.
    pub clusters: BTreeMap<ClusterId, Arc<ClusterReviews>>,
    /// The issuers whose tokens are believed.
    pub issuers: Vec<IssuerSettings>,
    /// SPIFFE IDs of those who may see what others are given.
    pub operators: BTreeSet<String>,
}

/// Authenticates clients by settings that may change while it serves.
pub struct Authentication {
    chain: ArcSwap<Chain>,
    claim: ReadClaim,
    observer: Arc<dyn AuthObserver>,
}

struct Chain {
    settings: Settings,
    issuers: Vec<Arc<Issuer>>,
}

/// What was proven, and how.
struct Proven {
    method: Method,
    principal: Principal,
}

impl Authentication {
    /// Believes whom the settings say.
    pub fn new(settings: Settings, claim: ReadClaim, observer: Arc<dyn AuthObserver>) -> Self {
        let chain = Chain::new(settings, &[]);
        Self { chain: ArcSwap::from_pointee(chain), claim, observer }
    }

    /// Believes others from now on. Issuers that stay keep the keys that were read.
    pub fn replace(&self, settings: Settings) {
        let before = self.chain.load();
        self.chain.store(Arc::new(Chain::new(settings, &before.issuers)));
    }

    async fn decide(
        &self,
        credentials: &Credentials,
        node: Option<&Node>,
    ) -> (Method, Result<Identity, Denied>) {
        let chain = self.chain.load_full();
        let claim = match node.map(|node| (self.claim)(node)).transpose() {
            Ok(claim) => claim,
            Err(why) => return (Method::None, Err(Denied::InvalidNode(why))),
        };
        let cluster = claim.as_ref().map_or(&chain.settings.home, |claim| &claim.cluster);
        let proven = match chain.prove(credentials, cluster, &*self.observer).await {
            Ok(proven) => proven,
            Err((method, denied)) => return (method, Err(denied)),
        };
        let Proven { method, principal } = proven;
        let fits = claim.map_or(Ok(()), |claim| chain.settings.domains.fit(&principal, &claim));
        let identity = fits.map_err(|misfit| Denied::Forbidden(misfit.to_string()));
        (method, identity.map(|()| chain.identity(method, &principal)))
    }

    fn note(
        &self,
        credentials: &Credentials,
        node: Option<&Node>,
        method: Method,
        decision: Result<(), &Denied>,
    ) {
        let outcome = match decision {
            Ok(()) => Outcome::Accepted,
            Err(Denied::Unproven(_)) => Outcome::Unauthenticated,
            Err(Denied::Forbidden(_)) => Outcome::Denied,
            Err(Denied::InvalidNode(_)) => Outcome::Invalid,
            Err(Denied::Unavailable(_)) => Outcome::Unavailable,
        };
        self.observer.decided(method, outcome);
        let Err(denied) = decision else { return };
        let peer = credentials.peer.map(|peer| peer.to_string());
        let node = node.map(|node| node.id.as_str());
        // Whoever proved who he is and claims to be another is worth a look.
        if outcome == Outcome::Denied {
            warn!(peer, node, method = method.name(), reason = %denied, "client refused");
        } else {
            info!(peer, node, method = method.name(), reason = %denied, "client refused");
        }
    }
}

impl Authenticator for Authentication {
    fn screen(&self, credentials: &Credentials) -> Result<(), Denied> {
        let checked = match &credentials.bearer {
            Some(token) => token::check_length(token),
            None if credentials.certificates.is_empty() => Err("a client certificate or a token \
                 (authorization: Bearer …) is needed"),
            None => Ok(()),
        };
        checked.map_err(|why| {
            let denied = Denied::Unproven(why.to_owned());
            self.note(credentials, None, Method::None, Err(&denied));
            denied
        })
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        node: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async move {
            let (method, decision) = self.decide(credentials, node).await;
            self.note(credentials, node, method, decision.as_ref().map(drop));
            decision
        })
    }
}

impl Chain {
    fn new(settings: Settings, before: &[Arc<Issuer>]) -> Self {
        let issuers = settings.issuers.iter().map(|wanted| {
            let same = before.iter().find(|issuer| issuer.settings() == wanted);
            same.cloned().unwrap_or_else(|| Issuer::new(wanted.clone()))
        });
        Self { issuers: issuers.collect(), settings }
    }

    /// The first proof that holds: the certificate's, else the token's.
    async fn prove(
        &self,
        credentials: &Credentials,
        cluster: &ClusterId,
        observer: &dyn AuthObserver,
    ) -> Result<Proven, (Method, Denied)> {
        let mut why = Vec::new();
        let mut tried = Method::None;
        let Settings { domains, certificates, .. } = &self.settings;
        match certificate::principal(&credentials.certificates, domains, certificates) {
            Ok(Some(principal)) => return Ok(Proven { method: Method::Certificate, principal }),
            Ok(None) => {}
            Err(error) => {
                tried = Method::Certificate;
                why.push(described(&error));
            }
        }
        if let Some(token) = credentials.bearer.as_deref() {
            match self.token(token, cluster, observer).await {
                Ok(proven) => return Ok(proven),
                Err((method, Denied::Unproven(reason))) => {
                    tried = method;
                    why.push(reason);
                }
                Err(denied) => return Err(denied),
            }
        }
        if why.is_empty() {
            why.push("nothing that is accepted here was presented".to_owned());
        }
        Err((tried, Denied::Unproven(why.join("; "))))
    }

    /// Its issuer's keys judge a token where the issuer is configured, else the
    /// API server of the cluster.
    async fn token(
        &self,
        token: &str,
        cluster: &ClusterId,
        observer: &dyn AuthObserver,
    ) -> Result<Proven, (Method, Denied)> {
        let claims = Unverified::read(token);
        let issuer = claims.issuer();
        let known = self.issuers.iter().find(|known| issuer == Some(&known.settings().issuer));
        if let Some(known) = known {
            return self.of_issuer(known, token, observer).await;
        }
        let denied = |denied| (Method::Kubernetes, denied);
        let Some(reviews) = self.settings.clusters.get(cluster) else {
            let who = issuer.map_or_else(String::new, |issuer| format!(" of issuer {issuer:?}"));
            let why = format!("nobody here can judge a token{who} for cluster {cluster}");
            return Err(denied(Denied::Unproven(why)));
        };
        let domain = self.settings.domains.of(cluster);
        match reviews.principal(token, domain, observer).await {
            Ok(principal) => Ok(Proven { method: Method::Kubernetes, principal }),
            Err(error @ TokenDenied::Refused(_)) => {
                Err(denied(Denied::Unproven(error.to_string())))
            }
            Err(error) => {
                if let TokenDenied::Unavailable { cluster, reason } = &error {
                    warn!(%cluster, reason, "tokens cannot be reviewed");
                }
                Err(denied(Denied::Unavailable(error.to_string())))
            }
        }
    }

    async fn of_issuer(
        &self,
        issuer: &Issuer,
        token: &str,
        observer: &dyn AuthObserver,
    ) -> Result<Proven, (Method, Denied)> {
        let mesh = &self.settings.domains.mesh;
        match issuer.principal(token, mesh, observer).await {
            Ok(principal) => Ok(Proven { method: Method::Oidc, principal }),
            Err(error) if error.is_passing() => {
                // Where and why is for the log, and was said when the keys were read.
                Err((Method::Oidc, Denied::Unavailable(error.to_string())))
            }
            Err(error) => Err((Method::Oidc, Denied::Unproven(described(&error)))),
        }
    }

    fn identity(&self, method: Method, principal: &Principal) -> Identity {
        let name = principal.to_string();
        let operator = self.settings.operators.contains(&name);
        Identity { method: method.name(), names: vec![name.into()], operator }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.chain.load().settings;
        f.debug_struct("Authentication").field("settings", settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
