use std::sync::Mutex;

use mainstem_test_support::{Ca, TokenIssuer};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::oidc::KeySource;
use crate::reviews::{Review, ReviewError, ReviewSettings, TokenReviewer};

/// Knows the tokens of one cluster by heart; `None` where it cannot be asked.
struct Cluster(Option<BTreeMap<&'static str, &'static str>>);

impl TokenReviewer for Cluster {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Review, ReviewError>> {
        Box::pin(async move {
            let tokens = self.0.as_ref().ok_or("connection refused")?;
            let Some(user) = tokens.get(token) else { return Ok(Review::default()) };
            Ok(Review {
                authenticated: true,
                username: format!("system:serviceaccount:{user}"),
                groups: vec!["system:serviceaccounts".to_owned()],
                audiences: audiences.to_vec(),
                error: String::new(),
            })
        })
    }
}

fn reviews(name: &str, cluster: Cluster) -> (ClusterId, Arc<ClusterReviews>) {
    let settings = ReviewSettings::default();
    let reviews = ClusterReviews::new(name.into(), Arc::new(cluster), settings);
    (name.into(), Arc::new(reviews))
}

/// Hears what is decided.
#[derive(Default)]
struct Heard(Mutex<Vec<(Method, Outcome)>>);

impl AuthObserver for Heard {
    fn decided(&self, method: Method, outcome: Outcome) {
        self.0.lock().unwrap().push((method, outcome));
    }
}

struct World {
    authentication: Authentication,
    heard: Arc<Heard>,
    ca: Ca,
    issuer: TokenIssuer,
    _directory: tempfile::TempDir,
}

/// Clusters `eu`, which knows the token `eu-web`, `us`, which knows `us-web`, and
/// `down`; one issuer, whose identities are in `vm`.
fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let issuer = TokenIssuer::new("https://issuer.test");
    let keys = directory.path().join("keys.json");
    std::fs::write(&keys, issuer.jwks().to_string()).unwrap();
    let settings = Settings {
        home: "eu".into(),
        domains: TrustDomains { mesh: "mesh.test".to_owned(), ..TrustDomains::default() },
        certificates: Certificates::Verified,
        clusters: BTreeMap::from([
            reviews("eu", Cluster(Some(BTreeMap::from([("eu-web", "shop:web")])))),
            reviews("us", Cluster(Some(BTreeMap::from([("us-web", "shop:web")])))),
            reviews("down", Cluster(None)),
        ]),
        issuers: vec![IssuerSettings {
            clusters: BTreeSet::from(["vm".into()]),
            ..crate::oidc::tests::settings(KeySource::File(keys))
        }],
        operators: BTreeSet::from(["spiffe://mesh.test/ns/shop/sa/web".to_owned()]),
    };
    let heard = Arc::new(Heard::default());
    let claim: ReadClaim = Arc::new(|node| {
        let parts: Vec<&str> = node.id.split('/').collect();
        let [cluster, namespace, account] = parts[..] else { return Err("malformed".to_owned()) };
        let service_account = Some(account.to_owned()).filter(|account| !account.is_empty());
        Ok(Claim { namespace: namespace.into(), service_account, cluster: cluster.into() })
    });
    let authentication = Authentication::new(settings, claim, heard.clone());
    World { authentication, heard, ca: Ca::new("ca"), issuer, _directory: directory }
}

fn node(id: &str) -> Node {
    Node { id: id.to_owned(), ..Node::default() }
}

fn bearer(token: &str) -> Credentials {
    Credentials { bearer: Some(token.into()), ..Credentials::default() }
}

impl World {
    fn certificate(&self, id: &str) -> Credentials {
        let certificates = vec![self.ca.workload(id).der()];
        Credentials { certificates, ..Credentials::default() }
    }

    async fn ask(&self, credentials: &Credentials, id: &str) -> Result<String, Denied> {
        let identity = self.authentication.authenticate(credentials, Some(&node(id))).await?;
        Ok(identity.names[0].to_string())
    }

    fn last(&self) -> Option<(Method, Outcome)> {
        self.heard.0.lock().unwrap().last().copied()
    }
}

const WEB: &str = "spiffe://mesh.test/ns/shop/sa/web";

#[tokio::test]
async fn a_certificate_proves_its_identity_in_the_clusters_of_its_trust_domain() {
    let world = world();
    let web = world.certificate(WEB);
    assert_eq!(world.ask(&web, "eu/shop/web").await, Ok(WEB.to_owned()));
    assert_eq!(world.last(), Some((Method::Certificate, Outcome::Accepted)));
    assert!(matches!(world.ask(&web, "eu/pay/web").await, Err(Denied::Forbidden(_))));
    assert_eq!(world.last(), Some((Method::Certificate, Outcome::Denied)));
    let foreign = world.certificate("spiffe://other.test/ns/shop/sa/web");
    assert!(matches!(world.ask(&foreign, "eu/shop/web").await, Err(Denied::Unproven(_))));
    assert_eq!(world.last(), Some((Method::Certificate, Outcome::Unauthenticated)));
}

#[rstest]
#[case::its_own("eu-web", "eu/shop/web", Ok(WEB))]
#[case::no_account_claimed("eu-web", "eu/shop/", Ok(WEB))]
#[case::another_clusters("us-web", "eu/shop/web", Err("Unproven"))]
#[case::another_namespace("eu-web", "eu/pay/web", Err("Forbidden"))]
#[case::another_account("eu-web", "eu/shop/db", Err("Forbidden"))]
#[case::unknown_cluster("eu-web", "asia/shop/web", Err("Unproven"))]
#[case::cluster_that_is_down("eu-web", "down/shop/web", Err("Unavailable"))]
#[case::malformed_node("eu-web", "eu", Err("InvalidNode"))]
#[tokio::test]
async fn a_token_is_judged_by_the_cluster_that_the_node_claims(
    #[case] token: &str,
    #[case] node: &str,
    #[case] expected: Result<&str, &str>,
) {
    let found = world().ask(&bearer(token), node).await;
    let kind = found.map_err(|denied| format!("{denied:?}"));
    match expected {
        Ok(name) => assert_eq!(kind.as_deref(), Ok(name)),
        Err(word) => assert!(kind.as_ref().is_err_and(|k| k.starts_with(word)), "{kind:?}"),
    }
}

#[tokio::test]
async fn a_token_of_a_known_issuer_is_judged_by_its_keys_and_in_its_clusters_only() {
    let world = world();
    let token = world.issuer.mint(&crate::oidc::tests::claims());
    let known = bearer(&token);
    assert_eq!(world.ask(&known, "vm/shop/web").await, Ok(WEB.to_owned()));
    assert_eq!(world.last(), Some((Method::Oidc, Outcome::Accepted)));
    assert!(matches!(world.ask(&known, "eu/shop/web").await, Err(Denied::Forbidden(_))));
    let forged = TokenIssuer::new("https://issuer.test").mint(&crate::oidc::tests::claims());
    assert!(matches!(world.ask(&bearer(&forged), "vm/shop/web").await, Err(Denied::Unproven(_))));
}

#[tokio::test]
async fn where_the_certificate_proves_nothing_the_token_may() {
    let world = world();
    let mut both = world.certificate("spiffe://mesh.test/some/other/form");
    both.bearer = Some("eu-web".into());
    assert_eq!(world.ask(&both, "eu/shop/web").await, Ok(WEB.to_owned()));
    both.bearer = Some("us-web".into());
    let Err(Denied::Unproven(why)) = world.ask(&both, "eu/shop/web").await else { panic!() };
    assert!(why.contains("alternative name") && why.contains("refuses the token"), "{why}");
}

#[test]
fn without_any_credentials_nothing_is_read() {
    let authentication = world().authentication;
    let of = |credentials: &Credentials| authentication.screen(credentials).is_ok();
    assert!(!of(&Credentials::default()));
    assert!(!of(&bearer("")) && !of(&bearer(&"a".repeat(1 << 20))));
    assert!(of(&bearer("a")));
}

#[tokio::test]
async fn without_a_node_a_token_is_of_the_home_cluster_and_operators_are_told_apart() {
    let world = world();
    let identity = world.authentication.authenticate(&bearer("eu-web"), None).await.unwrap();
    assert_eq!((identity.method, identity.operator), ("kubernetes", true));
    assert!(world.authentication.authenticate(&bearer("us-web"), None).await.is_err());
}

#[tokio::test]
async fn changed_settings_hold_from_the_next_client_on_and_kept_issuers_keep_their_keys() {
    let world = world();
    let token = bearer(&world.issuer.mint(&crate::oidc::tests::claims()));
    assert!(world.ask(&token, "vm/shop/web").await.is_ok());
    let mut settings = world.authentication.chain.load().settings.clone();
    settings.clusters.clear();
    std::fs::remove_dir_all(world._directory.path()).unwrap();
    world.authentication.replace(settings.clone());
    assert!(world.ask(&token, "vm/shop/web").await.is_ok());
    assert!(world.ask(&bearer("eu-web"), "eu/shop/web").await.is_err());
    settings.issuers[0].clock_skew *= 2;
    world.authentication.replace(settings);
    assert!(matches!(world.ask(&token, "vm/shop/web").await, Err(Denied::Unavailable(_))));
}
