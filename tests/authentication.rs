//! Who is let in at the TLS listener: real Envoys with certificates and tokens, a
//! real Kubernetes API server that reviews, and keys of an issuer.

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use common::Mainstem;
use futures::StreamExt;
use mainstem_proto::envoy::admin::v3::ClustersConfigDump;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use mainstem_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use mainstem_test_support::{
    Ca, Envoy, EnvoyVersion, HttpClient, Identity, KeyServer, Kubernetes, Scratch, TIMEOUT,
    TokenIssuer, eventually, free_port,
};
use pretty_assertions::assert_eq;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const OPERATOR: &str = "spiffe://cluster.local/ns/istio-system/sa/istioctl";
const ISSUER: &str = "https://issuer.test";

/// A control plane with a TLS listener, a Kubernetes cluster and an issuer.
struct Secured {
    kubernetes: Kubernetes,
    mainstem: Mainstem,
    authority: Ca,
    issuer: TokenIssuer,
    tls: SocketAddr,
    files: Scratch,
    _keys: KeyServer,
}

impl Secured {
    async fn start() -> Self {
        let kubernetes = Kubernetes::start().await;
        for (namespace, account) in [("shop", "web"), ("pay", "db")] {
            kubernetes.apply(&object("Namespace", None, namespace)).await;
            kubernetes.apply(&object("ServiceAccount", Some(namespace), account)).await;
        }
        let (authority, issuer) = (Ca::new("mesh"), TokenIssuer::new(ISSUER));
        let keys = KeyServer::start(&issuer.jwks());
        let files = Scratch::new("certificates");
        write(&files, "server", &authority.server(&[]));
        files.write("ca.pem", authority.pem());
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let registry = json!({
            "type": "kubernetes", "cluster": "home", "kubeconfig": kubernetes.kubeconfig(),
        });
        let settings = json!({ "xds": {
            "plaintext": false,
            "tls": {
                "address": tls,
                "certificate": files.path().join("server.pem"),
                "key": files.path().join("server.key"),
                "clientCa": files.path().join("ca.pem"),
            },
            "authentication": {
                "oidc": [{ "issuer": ISSUER, "audiences": ["mesh"], "jwksUri": keys.keys_url() }],
                "operators": [OPERATOR],
            },
        }});
        let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &[registry], settings).await;
        mainstem.ready().await;
        Self { kubernetes, mainstem, authority, issuer, tls, files, _keys: keys }
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_string_lossy().into_owned()
    }

    /// An Envoy of the workload `web` in `shop`, with these arguments besides.
    async fn envoy(&self, credentials: &[&str]) -> Envoy {
        let (address, ca) = (self.tls.to_string(), self.file("ca.pem"));
        let common = [
            "--name",
            "web-1",
            "--namespace",
            "shop",
            "--service-account",
            "web",
            "--cluster",
            "home",
            "--xds-address",
            &address,
            "--tls-ca",
            &ca,
        ];
        let bootstrap = self.mainstem.bootstrap(&[&common, credentials].concat());
        Envoy::start(&bootstrap, EnvoyVersion::DEFAULT).await
    }

    async fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        self.kubernetes.service_account_token(namespace, account, &[audience]).await
    }

    /// What a poll for clusters comes to: status and reason.
    async fn poll(&self, client: &HttpClient, node: &Value) -> (u16, String) {
        let request = client.request(Method::POST, "/v3/discovery:clusters");
        let answer = request.json(&json!({ "node": node })).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("polling for clusters: {error:?}"));
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("an answer has a body");
        (status, if status == 200 { String::new() } else { text })
    }

    fn client(&self, identity: Option<&Identity>, token: Option<&str>) -> HttpClient {
        let header = token.map(|token| ("authorization", format!("Bearer {token}")));
        let base = format!("https://{}", self.tls);
        HttpClient::secured(&base, Some(&self.authority), identity, header)
    }

    /// Who is connected, by what proof.
    fn identities(&self) -> BTreeMap<String, String> {
        let proxies = self.mainstem.cli(&["proxies"]);
        let rows = proxies.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter()
            .map(|row| &row["identity"])
            .map(|identity| (text(&identity["method"]), text(&identity["name"])))
            .collect()
    }
}

fn object(kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata })
}

fn write(files: &Scratch, name: &str, identity: &Identity) {
    files.write(&format!("{name}.key"), &identity.key_pem);
    files.write(&format!("{name}.pem"), &identity.cert_pem);
}

fn node(namespace: &str, account: &str, cluster: &str) -> Value {
    json!({
        "id": format!("sidecar~127.0.0.1~web-1.{namespace}~{namespace}.svc.cluster.local"),
        "metadata": {
            "NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "CLUSTER_ID": cluster,
        },
    })
}

fn in_an_hour() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_secs() + 3600
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_known_by_its_certificate_its_clusters_token_or_an_issuers() {
    let secured = Secured::start().await;
    write(&secured.files, "web", &secured.authority.workload(WEB));
    secured.files.write("kubernetes.jwt", secured.token("shop", "web", "istio-ca").await);
    let claims =
        json!({ "sub": "system:serviceaccount:shop:web", "aud": "mesh", "exp": in_an_hour() });
    secured.files.write("oidc.jwt", secured.issuer.mint(&claims));
    let (certificate, key) = (secured.file("web.pem"), secured.file("web.key"));
    let certified = secured.envoy(&["--tls-cert", &certificate, "--tls-key", &key]).await;
    let reviewed = secured.envoy(&["--token-file", &secured.file("kubernetes.jwt")]).await;
    let issued = secured.envoy(&["--token-file", &secured.file("oidc.jwt")]).await;
    for envoy in [&certified, &reviewed, &issued] {
        envoy.ready().await;
    }
    let expected = ["certificate", "kubernetes", "oidc"].map(|by| (by.to_owned(), WEB.to_owned()));
    assert_eq!(secured.identities(), BTreeMap::from(expected));
}

/// What a client presents.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Nothing,
    Certificate(&'static str),
    ServiceAccount { namespace: &'static str, name: &'static str, audience: &'static str },
    Issued { audience: &'static str, good: bool },
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_fit_the_node_that_it_claims_is_refused() {
    use Shown::{Certificate, Issued, Nothing, ServiceAccount};
    let secured = Secured::start().await;
    let web = || node("shop", "web", "home");
    let account = |namespace, name, audience| ServiceAccount { namespace, name, audience };
    let table = [
        (Certificate(WEB), web(), 200, ""),
        (account("shop", "web", "istio-ca"), web(), 200, ""),
        (Issued { audience: "mesh", good: true }, web(), 200, ""),
        (
            Nothing,
            web(),
            401,
            "a client certificate or a token (authorization: Bearer …) is needed",
        ),
        (
            Certificate(WEB),
            node("pay", "web", "home"),
            403,
            "may not act as a node of namespace pay",
        ),
        (Certificate(WEB), node("shop", "db", "home"), 403, "may not act as service account db"),
        (
            Certificate("spiffe://other.test/ns/shop/sa/web"),
            web(),
            401,
            "trust domain other.test of the client certificate is not one of this mesh",
        ),
        (
            Certificate("spiffe://cluster.local/web"),
            web(),
            401,
            "is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT",
        ),
        (account("pay", "db", "istio-ca"), web(), 403, "may not act as a node of namespace shop"),
        (account("shop", "web", "other"), web(), 401, "refuses the token"),
        (
            account("shop", "web", "istio-ca"),
            node("shop", "web", "elsewhere"),
            401,
            "for cluster elsewhere",
        ),
        (Issued { audience: "other", good: true }, web(), 401, "it is not meant for mesh"),
        (Issued { audience: "mesh", good: false }, web(), 401, ISSUER),
    ];
    for (shown, node, status, reason) in table {
        let client = match shown {
            Nothing => secured.client(None, None),
            Certificate(id) => secured.client(Some(&secured.authority.workload(id)), None),
            ServiceAccount { namespace, name, audience } => {
                let token = secured.token(namespace, name, audience).await;
                secured.client(None, Some(&token))
            }
            Issued { audience, good } => {
                let claims = json!({
                    "sub": "system:serviceaccount:shop:web", "aud": audience, "exp": in_an_hour(),
                });
                let other = TokenIssuer::new(ISSUER);
                let issuer = if good { &secured.issuer } else { &other };
                secured.client(None, Some(&issuer.mint(&claims)))
            }
        };
        let (found, text) = secured.poll(&client, &node).await;
        assert_eq!(found, status, "{shown:?} as {node}: {text}");
        assert!(text.contains(reason), "{shown:?} as {node}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_replaced_hold_from_the_next_connection_on() {
    let secured = Secured::start().await;
    let web = secured.authority.workload(WEB);
    let node = node("shop", "web", "home");
    assert_eq!(secured.poll(&secured.client(Some(&web), None), &node).await.0, 200);
    // What cannot be used changes nothing.
    secured.files.write("server.pem", "no certificate");
    eventually("the unusable certificate is counted", TIMEOUT, async || {
        let failed = "mainstem_xds_certificate_loads_total{result=\"failed\"} 1";
        let metrics = secured.mainstem.metrics().await;
        if metrics.contains(failed) { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(secured.poll(&secured.client(Some(&web), None), &node).await.0, 200);
    // Another authority, for both sides.
    let next = Ca::new("next");
    secured.files.write("ca.pem", next.pem());
    write(&secured.files, "server", &next.server(&[]));
    let base = format!("https://{}", secured.tls);
    eventually("the new authority's client is served", TIMEOUT, async || {
        let client = HttpClient::secured(&base, Some(&next), Some(&next.workload(WEB)), None);
        let request = client.request(Method::POST, "/v3/discovery:clusters");
        match request.json(&json!({ "node": node })).send().await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let old = HttpClient::secured(&base, Some(&next), Some(&web), None);
    let request =
        old.request(Method::POST, "/v3/discovery:clusters").json(&json!({ "node": node }));
    assert!(request.send().await.is_err(), "the old authority's client is still served");
}

#[rstest]
#[case(json!({ "address": "0.0.0.0:15010" }), "insecurePlaintextBeyondLoopback")]
#[case(json!({ "plaintext": false }), "add `xds.tls` or `xds.unixSocket`")]
fn what_would_expose_the_mesh_or_serve_nobody_is_refused(#[case] xds: Value, #[case] hint: &str) {
    let files = Scratch::new("config");
    let config = json!({ "cluster": "home", "xds": xds, "registries": [] });
    let file = files.write("mainstem.yaml", config.to_string());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mainstem"))
        .args(["serve", "--config"])
        .arg(file)
        .output()
        .expect("the binary under test starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(hint), "{said}");
}

/// What istioctl gets, asking as it does: the first answer, or why there is none.
async fn istioctl(
    secured: &Secured,
    identity: &str,
    type_url: &str,
    names: &[&str],
) -> Result<DiscoveryResponse, tonic::Status> {
    let own = secured.authority.workload(identity);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(secured.authority.pem()))
        .identity(tonic::transport::Identity::from_pem(own.cert_pem, own.key_pem))
        .domain_name("localhost");
    let channel = Channel::from_shared(format!("https://{}", secured.tls)).expect("an address");
    let channel = channel.tls_config(tls).expect("certificates").connect().await;
    let channel = channel.unwrap_or_else(|error| panic!("connecting: {error:?}"));
    let node = Node { id: "debug~0.0.0.0~istioctl~cluster.local".to_owned(), ..Node::default() };
    let request = DiscoveryRequest {
        node: Some(node),
        type_url: type_url.to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    };
    // The stream stays open, as istioctl's does until it has its answer.
    let requests = futures::stream::iter([request]).chain(futures::stream::pending());
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut responses = client.stream_aggregated_resources(requests).await?.into_inner();
    let answer = tokio::time::timeout(TIMEOUT, responses.message()).await;
    Ok(answer.expect("an answer in time")?.expect("an answer before the end"))
}

#[tokio::test(flavor = "multi_thread")]
async fn istioctl_learns_over_ads_who_is_in_sync_and_what_a_proxy_is_given() {
    let secured = Secured::start().await;
    write(&secured.files, "web", &secured.authority.workload(WEB));
    let (certificate, key) = (secured.file("web.pem"), secured.file("web.key"));
    let envoy = secured.envoy(&["--tls-cert", &certificate, "--tls-key", &key]).await;
    envoy.ready().await;
    let clients = eventually("the proxy is in sync", TIMEOUT, async || {
        let answer = istioctl(&secured, OPERATOR, "istio.io/debug/syncz", &[]).await;
        let answer = answer.map_err(|status| status.to_string())?;
        assert_eq!(answer.type_url, "istio.io/debug/syncz");
        let clients: Vec<ClientConfig> = answer
            .resources
            .iter()
            .map(|any| any.unpack::<ClientConfig>().expect("a ClientConfig"))
            .collect();
        let status = |client: &ClientConfig, kind: &str| {
            let all = client.generic_xds_configs.iter();
            let found = all.into_iter().find(|of| of.type_url.ends_with(kind));
            found.map(|of| of.config_status())
        };
        let synced = |client: &ClientConfig| {
            ["Cluster", "Listener"]
                .iter()
                .all(|kind| status(client, kind) == Some(ConfigStatus::Synced))
        };
        if clients.iter().all(synced) { Ok(clients) } else { Err(format!("{clients:?}")) }
    })
    .await;
    let [client] = &clients[..] else { panic!("one proxy: {clients:?}") };
    let node = client.node.as_ref().expect("its node");
    assert!(node.id.contains("~web-1.shop~"), "{}", node.id);
    assert!(node.metadata.as_ref().expect("metadata").fields.contains_key("CLUSTER_ID"));
    assert_eq!(client.generic_xds_configs.len(), 5);

    let dump = istioctl(&secured, OPERATOR, "istio.io/debug/config_dump", &["web-1.shop"]).await;
    let dump = dump.expect("a dump");
    let kinds: Vec<&str> =
        dump.resources.iter().filter_map(|any| any.type_url.rsplit('.').next()).collect();
    let expected =
        ["ClustersConfigDump", "EndpointsConfigDump", "ListenersConfigDump", "RoutesConfigDump"];
    assert_eq!(kinds, expected);
    let clusters = dump.resources[0].unpack::<ClustersConfigDump>().expect("clusters");
    assert!(!clusters.dynamic_active_clusters.is_empty());

    // Others learn nothing.
    for kind in ["istio.io/debug/syncz", "istio.io/debug/config_dump"] {
        let refused = istioctl(&secured, WEB, kind, &[]).await.expect_err("no operator");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains("xds.authentication.operators"), "{refused}");
    }
}
