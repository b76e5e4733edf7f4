//! Whose word counts at the TLS listener: which authority may vouch for which trust
//! domain, and how far what a proxy claims of itself goes.

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::Mainstem;
use mainstem_test_support::{Ca, HttpClient, Identity, Scratch, TIMEOUT, eventually, free_port};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

/// A control plane of two trust domains, each with an authority of its own. The
/// workload `db` of namespace `pay` is at 10.0.0.2.
struct Meshes {
    mainstem: Mainstem,
    eu: Ca,
    us: Ca,
    tls: SocketAddr,
    files: Scratch,
}

impl Meshes {
    async fn start() -> Self {
        let (eu, us, files) = (Ca::new("eu"), Ca::new("us"), Scratch::new("trust"));
        let server = eu.server(&[]);
        files.write("server.key", &server.key_pem);
        files.write("server.pem", &server.cert_pem);
        files.write("eu.pem", eu.pem());
        files.write("us.pem", us.pem());
        files.write("pay.yaml", workload());
        let path = |name: &str| files.path().join(name);
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let settings = json!({
            "mesh": { "trustDomain": "eu.test" },
            "xds": {
                "tls": {
                    "address": tls,
                    "certificate": path("server.pem"),
                    "key": path("server.key"),
                    "clientCas": [
                        { "trustDomain": "eu.test", "file": path("eu.pem") },
                        { "trustDomain": "us.test", "file": path("us.pem") },
                    ],
                },
                "authentication": { "clientCertificate": { "trustDomains": ["us.test"] } },
            },
        });
        let registry = json!({ "type": "file", "cluster": "static", "path": path("pay.yaml") });
        let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &[registry], settings).await;
        mainstem.ready().await;
        Self { mainstem, eu, us, tls, files }
    }

    /// What a poll for listeners of a client with this certificate comes to.
    async fn poll(&self, identity: &Identity, address: &str) -> (u16, String) {
        let base = format!("https://{}", self.tls);
        poll(&HttpClient::secured(&base, Some(&self.eu), Some(identity), None), address).await
    }
}

fn workload() -> String {
    json!({
        "services": [{
            "hostname": "db.pay.svc.cluster.local",
            "ports": [{ "number": 80, "name": "http", "targetPort": 8080 }],
            "selector": { "app": "db" },
        }],
        "workloads": [{
            "name": "db-1", "namespace": "pay", "addresses": ["10.0.0.2"],
            "labels": { "app": "db" },
        }],
    })
    .to_string()
}

fn id(domain: &str) -> String {
    format!("spiffe://{domain}/ns/shop/sa/web")
}

/// Polls for listeners as `web-1` of `shop`, which says to be at an address.
async fn poll(client: &HttpClient, address: &str) -> (u16, String) {
    let node = json!({
        "id": format!("sidecar~{address}~web-1.shop~shop.svc.cluster.local"),
        "metadata": { "INTERCEPTION_MODE": "NONE" },
    });
    let request = client.request(Method::POST, "/v3/discovery:listeners");
    let answer = request.json(&json!({ "node": node })).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("polling: {error:?}"));
    (answer.status().as_u16(), answer.text().await.expect("an answer has a body"))
}

/// The names of the listeners in an answer.
fn names(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).expect("it was asked for JSON");
    let listeners = body["resources"].as_array().into_iter().flatten();
    listeners.map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_issues_identities_of_its_own_trust_domain_until_the_files_change() {
    let meshes = Meshes::start().await;
    let status =
        async |ca: &Ca, domain: &str| meshes.poll(&ca.workload(&id(domain)), "10.0.0.1").await.0;
    assert_eq!(status(&meshes.eu, "eu.test").await, 200);
    assert_eq!(status(&meshes.us, "us.test").await, 200);
    let forged = meshes.us.workload(&id("eu.test"));
    let (code, why) = meshes.poll(&forged, "10.0.0.1").await;
    assert!(why.contains("no authority of trust domain eu.test vouches"), "{why}");
    assert_eq!((code, status(&meshes.eu, "us.test").await), (401, 401));

    // A new authority of the same trust domain is believed once its file is read.
    let next = Ca::new("next");
    meshes.files.write("us.pem", next.pem());
    eventually("the new authority is believed", TIMEOUT, async || {
        let base = format!("https://{}", meshes.tls);
        let identity = next.workload(&id("us.test"));
        let client = HttpClient::secured(&base, Some(&meshes.eu), Some(&identity), None);
        match client.request(Method::GET, "/v3/discovery:listeners").send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    assert_eq!(status(&next, "us.test").await, 200);
    assert_eq!(status(&next, "eu.test").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_claims_the_address_of_another_namespace_is_not_given_its_inbound_listeners() {
    let meshes = Meshes::start().await;
    let (code, body) = meshes.poll(&meshes.eu.workload(&id("eu.test")), "10.0.0.2").await;
    let inbound = |body: &str| -> Vec<String> {
        names(body).into_iter().filter(|name| name.starts_with("10.0.0.2")).collect()
    };
    assert_eq!((code, inbound(&body)), (200, Vec::new()));
    // Where nobody proves anything, it is taken at its word.
    let plaintext = HttpClient::new(&format!("http://{}", meshes.mainstem.xds()));
    assert_eq!(inbound(&poll(&plaintext, "10.0.0.2").await.1), ["10.0.0.2_8080"]);
}
