//! What is proven, what is claimed, and whether they fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mainstem_model::{ClusterId, NamespaceName, Proxy};

/// A proven workload identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its trust domain.
    pub trust_domain: String,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its service account.
    pub service_account: String,
    /// The clusters that it may be in.
    pub vouched: Vouched,
}

/// The clusters that a proof speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// Those of its trust domain.
    TrustDomain,
    /// These.
    Clusters(BTreeSet<ClusterId>),
}

/// What a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The service account, if it names one.
    pub service_account: Option<String>,
    /// The cluster.
    pub cluster: ClusterId,
}

impl From<&Proxy> for Claim {
    fn from(proxy: &Proxy) -> Self {
        Self {
            namespace: proxy.namespace.clone(),
            service_account: proxy.metadata.service_account.clone(),
            cluster: proxy.cluster.clone(),
        }
    }
}

/// Which trust domain each cluster's identities are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustDomains {
    /// That of the mesh, and of clusters that have none of their own.
    pub mesh: String,
    /// Those of clusters that have their own.
    pub of_clusters: BTreeMap<ClusterId, String>,
    /// Further ones, good for every cluster.
    pub further: BTreeSet<String>,
}

/// A SPIFFE ID that is not of Istio's form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
pub struct SpiffeError(String);

/// Why an identity may not act as a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another namespace.
    #[error("{principal} may not act as a node of namespace {claimed}")]
    Namespace {
        /// Who.
        principal: String,
        /// What it claims.
        claimed: NamespaceName,
    },
    /// Another service account.
    #[error("{principal} may not act as service account {claimed}")]
    ServiceAccount {
        /// Who.
        principal: String,
        /// What it claims.
        claimed: String,
    },
    /// Another cluster.
    #[error("{principal} may not act as a node of cluster {claimed}")]
    Cluster {
        /// Who.
        principal: String,
        /// What it claims.
        claimed: ClusterId,
    },
}

impl Principal {
    /// Reads `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    ///
    /// # Errors
    /// [`SpiffeError`] for anything else.
    pub fn from_spiffe(id: &str) -> Result<Self, SpiffeError> {
        let parts: Option<Vec<&str>> =
            id.strip_prefix("spiffe://").map(|rest| rest.split('/').collect());
        match parts.as_deref() {
            Some([domain, "ns", namespace, "sa", account])
                if is_trust_domain(domain) && is_segment(namespace) && is_segment(account) =>
            {
                Ok(Self {
                    trust_domain: (*domain).to_owned(),
                    namespace: (*namespace).into(),
                    service_account: (*account).to_owned(),
                    vouched: Vouched::TrustDomain,
                })
            }
            _ => Err(SpiffeError(id.chars().take(300).collect())),
        }
    }

    /// A Kubernetes service account by its user name,
    /// `system:serviceaccount:NAMESPACE:NAME`; `None` for other users.
    pub fn from_username(name: &str, trust_domain: &str) -> Option<Self> {
        let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (is_segment(namespace) && is_segment(account)).then(|| Self {
            trust_domain: trust_domain.to_owned(),
            namespace: namespace.into(),
            service_account: account.to_owned(),
            vouched: Vouched::TrustDomain,
        })
    }

    /// The same, but only for these clusters.
    #[must_use]
    pub fn only_in(mut self, clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        self.vouched = Vouched::Clusters(clusters.into_iter().collect());
        self
    }
}

/// The SPIFFE ID.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account, .. } = self;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl TrustDomains {
    /// The trust domain of a cluster's identities.
    pub fn of(&self, cluster: &ClusterId) -> &str {
        self.of_clusters.get(cluster).unwrap_or(&self.mesh)
    }

    /// Whether identities of this trust domain are known at all.
    pub fn contains(&self, trust_domain: &str) -> bool {
        self.mesh == trust_domain
            || self.further.contains(trust_domain)
            || self.of_clusters.values().any(|own| own == trust_domain)
    }

    /// Whether the principal may act as the node: in its namespace, as its
    /// service account if the node names one, in a cluster that the proof speaks of.
    ///
    /// # Errors
    /// The first [`Misfit`], in this order.
    pub fn fit(&self, principal: &Principal, claim: &Claim) -> Result<(), Misfit> {
        let name = || principal.to_string();
        if principal.namespace != claim.namespace {
            return Err(Misfit::Namespace { principal: name(), claimed: claim.namespace.clone() });
        }
        match &claim.service_account {
            Some(claimed) if *claimed != principal.service_account => {
                return Err(Misfit::ServiceAccount { principal: name(), claimed: claimed.clone() });
            }
            _ => {}
        }
        if !self.vouches(principal, &claim.cluster) {
            return Err(Misfit::Cluster { principal: name(), claimed: claim.cluster.clone() });
        }
        Ok(())
    }

    fn vouches(&self, principal: &Principal, cluster: &ClusterId) -> bool {
        match &principal.vouched {
            Vouched::Clusters(clusters) => clusters.contains(cluster),
            Vouched::TrustDomain => {
                let domain = principal.trust_domain.as_str();
                self.of(cluster) == domain || self.further.contains(domain)
            }
        }
    }
}

/// As the SPIFFE specification has it.
fn is_trust_domain(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    !text.is_empty() && text.len() <= 255 && text.chars().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(allowed)
        && text != "."
        && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn web() -> Principal {
        Principal::from_spiffe("spiffe://eu.example/ns/shop/sa/web").unwrap()
    }

    fn claim(namespace: &str, account: Option<&str>, cluster: &str) -> Claim {
        Claim {
            namespace: namespace.into(),
            service_account: account.map(str::to_owned),
            cluster: cluster.into(),
        }
    }

    fn domains() -> TrustDomains {
        TrustDomains {
            mesh: "eu.example".to_owned(),
            of_clusters: BTreeMap::from([("us".into(), "us.example".to_owned())]),
            further: BTreeSet::from(["old.example".to_owned()]),
        }
    }

    #[test]
    fn a_spiffe_id_names_trust_domain_namespace_and_service_account() {
        let web = web();
        assert_eq!(
            (&*web.trust_domain, web.namespace.as_str(), &*web.service_account),
            ("eu.example", "shop", "web")
        );
        assert_eq!(web.to_string(), "spiffe://eu.example/ns/shop/sa/web");
        let same = Principal::from_username("system:serviceaccount:shop:web", "eu.example");
        assert_eq!(same, Some(web));
    }

    #[rstest]
    #[case("https://eu.example/ns/shop/sa/web")]
    #[case("spiffe://eu.example/ns/shop/sa/web/more")]
    #[case("spiffe://eu.example/ns/shop/sa/")]
    #[case("spiffe://eu.example/ns//sa/web")]
    #[case("spiffe://eu.example/ns/../sa/web")]
    #[case("spiffe://eu.example:80/ns/shop/sa/web")]
    #[case("spiffe://user@eu.example/ns/shop/sa/web")]
    #[case("spiffe://EU.example/ns/shop/sa/web")]
    #[case("spiffe:///ns/shop/sa/web")]
    #[case("spiffe://eu.example/ns/shop/sa/web?x=y")]
    #[case("spiffe://eu.example/workload/web")]
    #[case("")]
    fn another_form_is_no_identity(#[case] id: &str) {
        assert_eq!(Principal::from_spiffe(id), Err(SpiffeError(id.to_owned())));
    }

    #[rstest]
    #[case("admin")]
    #[case("system:serviceaccount:shop")]
    #[case("system:serviceaccount::web")]
    #[case("system:serviceaccount:shop:web:more")]
    fn another_user_is_no_service_account(#[case] name: &str) {
        assert_eq!(Principal::from_username(name, "eu.example"), None);
    }

    #[rstest]
    #[case::whole(claim("shop", Some("web"), "eu"), None)]
    #[case::no_account_claimed(claim("shop", None, "eu"), None)]
    #[case::unknown_cluster_is_of_the_mesh(claim("shop", None, "vm"), None)]
    #[case::namespace(
        claim("pay", Some("web"), "eu"),
        Some("spiffe://eu.example/ns/shop/sa/web may not act as a node of namespace pay")
    )]
    #[case::account(
        claim("shop", Some("db"), "eu"),
        Some("spiffe://eu.example/ns/shop/sa/web may not act as service account db")
    )]
    #[case::cluster(
        claim("shop", Some("web"), "us"),
        Some("spiffe://eu.example/ns/shop/sa/web may not act as a node of cluster us")
    )]
    fn the_claim_must_fit_the_proof(#[case] claim: Claim, #[case] misfit: Option<&str>) {
        let found = domains().fit(&web(), &claim).err().map(|misfit| misfit.to_string());
        assert_eq!(found.as_deref(), misfit);
    }

    #[test]
    fn a_proof_for_certain_clusters_is_good_for_no_other() {
        let here = web().only_in(["us".into()]);
        assert_eq!(domains().fit(&here, &claim("shop", None, "us")), Ok(()));
        assert!(domains().fit(&here, &claim("shop", None, "eu")).is_err());
    }

    #[test]
    fn a_further_trust_domain_is_good_for_every_cluster() {
        let old = Principal { trust_domain: "old.example".to_owned(), ..web() };
        assert_eq!(domains().fit(&old, &claim("shop", None, "us")), Ok(()));
        assert!(domains().contains("old.example") && domains().contains("us.example"));
        assert!(!domains().contains("other.example"));
    }
}
