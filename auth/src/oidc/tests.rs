use mainstem_test_support::{KeyServer, TokenIssuer};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::observe::NoObserver;

const ISSUER: &str = "https://issuer.test";

/// An issuer with these keys, whose tokens are meant for `mesh`.
pub(crate) fn settings(keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.to_owned(),
        audiences: vec!["mesh".to_owned()],
        keys,
        ca: None,
        refresh: Duration::from_secs(3600),
        clock_skew: Duration::from_secs(60),
        trust_domain: None,
        clusters: BTreeSet::new(),
        namespace_claim: None,
        service_account_claim: None,
    }
}

/// Seconds since 1970, so much from now.
fn at(seconds: i64) -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap() + seconds
}

/// What a good token says.
pub(crate) fn claims() -> Value {
    json!({"aud": "mesh", "sub": "system:serviceaccount:shop:web", "exp": at(600)})
}

fn by_url(server: &KeyServer) -> IssuerSettings {
    settings(KeySource::Url(server.keys_url().parse().unwrap()))
}

async fn ask(issuer: &Issuer, token: &str) -> Result<String, String> {
    let principal = issuer.principal(token, "mesh.test", &NoObserver).await;
    principal.map(|principal| principal.to_string()).map_err(|error| crate::described(&error))
}

#[rstest]
#[case::good(json!({}), None)]
#[case::several_audiences(json!({"aud": ["other", "mesh"]}), None)]
#[case::just_expired(json!({"exp": at(-30)}), None)]
#[case::clock_ahead(json!({"nbf": at(30)}), None)]
#[case::other_audience(json!({"aud": "other"}), Some("it is not meant for mesh"))]
#[case::no_audience(json!({"aud": null}), Some("it has no claim aud"))]
#[case::expired(json!({"exp": at(-90)}), Some("it has expired"))]
#[case::endless(json!({"exp": null}), Some("it has no claim exp"))]
#[case::early(json!({"nbf": at(90)}), Some("it is not good yet"))]
#[case::other_issuer(json!({"iss": "https://other"}), Some("InvalidIssuer"))]
#[case::several_issuers(json!({"iss": ["https://other"]}), Some("InvalidIssuer"))]
#[case::no_subject(json!({"sub": null}), Some("it has no claim sub"))]
#[case::a_person(json!({"sub": "alice"}), Some("\"alice\" of the token names no service account"))]
#[case::svid(json!({"sub": "spiffe://mesh.test/ns/shop/sa/web"}), None)]
#[case::foreign_svid(
    json!({"sub": "spiffe://other.test/ns/shop/sa/web"}),
    Some("names no service account")
)]
#[tokio::test]
async fn a_token_is_good_if_all_it_says_is(#[case] change: Value, #[case] wrong: Option<&str>) {
    let signer = TokenIssuer::new(ISSUER);
    let server = KeyServer::start(&signer.jwks());
    let mut said = claims();
    said.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let found = ask(&Issuer::new(by_url(&server)), &signer.mint(&said)).await;
    match wrong {
        None => assert_eq!(found.as_deref(), Ok("spiffe://mesh.test/ns/shop/sa/web")),
        Some(wrong) => assert!(found.as_ref().is_err_and(|e| e.contains(wrong)), "{found:?}"),
    }
}

#[tokio::test]
async fn a_signature_of_nobody_known_or_of_a_shared_secret_is_refused() {
    let (signer, other) = (TokenIssuer::new(ISSUER), TokenIssuer::new(ISSUER));
    let server = KeyServer::start(&signer.jwks());
    let issuer = Issuer::new(by_url(&server));
    let good = signer.mint(&claims());
    assert!(ask(&issuer, &good).await.is_ok());
    let forged = other.mint_as(&claims(), &json!({"alg": "ES256", "kid": signer.jwk()["kid"]}));
    let unsigned = signer.mint_as(&claims(), &json!({"alg": "none"}));
    let secret = signer.mint_as(&claims(), &json!({"alg": "HS256", "kid": signer.jwk()["kid"]}));
    let confused = signer.mint_as(&claims(), &json!({"alg": "RS256", "kid": signer.jwk()["kid"]}));
    let (head, _) = good.rsplit_once('.').unwrap();
    for token in [&*forged, &unsigned, &secret, &confused, head, &format!("{head}."), "", "a.b.c"] {
        assert!(ask(&issuer, token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn rotated_keys_are_followed_and_old_ones_forgotten() {
    let (old, new) = (TokenIssuer::new(ISSUER), TokenIssuer::new(ISSUER));
    let server = KeyServer::start(&old.jwks());
    let settings = IssuerSettings { refresh: Duration::ZERO, ..by_url(&server) };
    let issuer = Issuer::new(settings);
    assert!(ask(&issuer, &old.mint(&claims())).await.is_ok());
    assert!(ask(&issuer, &new.mint(&claims())).await.is_err());
    server.serve(&new.jwks());
    assert!(ask(&issuer, &new.mint(&claims())).await.is_ok());
    assert!(ask(&issuer, &old.mint(&claims())).await.is_err());
}

#[tokio::test]
async fn keys_are_read_once_however_often_they_are_needed_and_unknown_ones_sought_rarely() {
    let (signer, other) = (TokenIssuer::new(ISSUER), TokenIssuer::new(ISSUER));
    let server = KeyServer::start(&signer.jwks());
    let issuer = Issuer::new(by_url(&server));
    let tokens: Vec<String> = (0..50)
        .map(|number| if number % 2 == 0 { signer.mint(&claims()) } else { other.mint(&claims()) })
        .collect();
    futures::future::join_all(tokens.iter().map(|token| ask(&issuer, token))).await;
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn keys_once_read_outlive_their_server_and_without_any_the_client_is_to_try_again() {
    let signer = TokenIssuer::new(ISSUER);
    let server = KeyServer::start(&signer.jwks());
    let known = Issuer::new(IssuerSettings { refresh: Duration::ZERO, ..by_url(&server) });
    assert!(ask(&known, &signer.mint(&claims())).await.is_ok());
    server.fail();
    assert!(ask(&known, &signer.mint(&claims())).await.is_ok());
    let unknown = Issuer::new(by_url(&server));
    let error = unknown.principal(&signer.mint(&claims()), "mesh.test", &NoObserver).await;
    assert!(error.unwrap_err().is_passing());
}

#[tokio::test]
async fn keys_are_found_by_discovery_in_the_issuers_own_document() {
    let server = KeyServer::start(&json!({}));
    let signer = TokenIssuer::new(&server.url());
    server.serve(&signer.jwks());
    let own = IssuerSettings { issuer: server.url(), ..settings(KeySource::Discovery) };
    assert!(ask(&Issuer::new(own.clone()), &signer.mint(&claims())).await.is_ok());
    // The document names the issuer without the slash.
    let slash = format!("{}/", server.url());
    let other = IssuerSettings { issuer: slash.clone(), ..own };
    let error = ask(&Issuer::new(other), &TokenIssuer::new(&slash).mint(&claims())).await;
    assert!(error.as_ref().is_err_and(|e| e.contains("discovery document")), "{error:?}");
}

#[tokio::test]
async fn keys_come_over_https_or_from_this_host() {
    for (url, safe) in [
        ("https://issuer.test/keys", true),
        ("http://127.0.0.1:1/keys", true),
        ("http://[::1]:1/keys", true),
        ("http://localhost/keys", true),
        ("http://issuer.test/keys", false),
        ("http://localhost.issuer.test/keys", false),
        ("http://10.0.0.1/keys", false),
        ("file:///etc/keys", false),
    ] {
        assert_eq!(fetch::is_safe(&url.parse().unwrap()), safe, "{url}");
    }
}

#[rstest]
#[case(json!({"ns": "shop", "who": {"name": "web"}}), Ok("spiffe://vm.test/ns/shop/sa/web"))]
#[case(json!({"ns": "shop"}), Err(()))]
#[case(json!({"ns": "shop", "who": {"name": "a:b"}}), Err(()))]
#[case(json!({"ns": "shop", "who": {"name": 7}}), Err(()))]
fn claims_of_any_name_can_say_who_it_is(#[case] said: Value, #[case] expected: Result<&str, ()>) {
    let settings = IssuerSettings {
        namespace_claim: Some("ns".to_owned()),
        service_account_claim: Some("/who/name".to_owned()),
        trust_domain: Some("vm.test".to_owned()),
        ..settings(KeySource::Discovery)
    };
    let found = subject(&settings, said.as_object().unwrap(), "mesh.test");
    assert_eq!(found.map(|p| p.to_string()).map_err(drop), expected.map(str::to_owned));
}
