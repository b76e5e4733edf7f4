//! The ways to reach a server.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use common::client::{Ads, Stream};
use futures::future::BoxFuture;
use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mainstem_test_support::{Ca, HttpClient, Identity as Pem, Scratch};
use mainstem_xds::protocol::Rejection;
use mainstem_xds::{
    Anonymous, Authenticator, Client, Credentials, Denied, Identity, Listener, PushObserver,
    Resource, RoundTrip, Server, ServerConfig, StaticSource, Tls, TlsMaterial, TypeUrl,
};
use pretty_assertions::assert_eq;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

fn server() -> Server {
    let source = StaticSource::new();
    source.set(Resource::of("a", &Cluster { name: "a".into(), ..Default::default() }));
    Server::new(ServerConfig::default(), Arc::new(source))
}

fn start(server: Server, listener: Listener, authenticator: impl Authenticator) -> DropGuard {
    let shutdown = CancellationToken::new();
    let guard = shutdown.clone().drop_guard();
    let serving = async move {
        server.serve_authenticated(listener, Arc::new(authenticator), shutdown).await;
    };
    tokio::spawn(serving);
    guard
}

fn ask() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: TypeUrl::CLUSTER.to_string(), ..Default::default() }
}

async fn first_name(client: &mut Ads) -> String {
    let mut stream: Delta =
        Stream::open(|requests| client.delta_aggregated_resources(requests)).await;
    stream.send(ask());
    stream.next().await.resources.remove(0).name
}

fn material(server: &Pem, clients: Option<&Ca>) -> TlsMaterial {
    TlsMaterial {
        certificates: server.cert_pem.clone().into_bytes(),
        key: server.key_pem.clone().into_bytes(),
        client_authorities: clients.map(|ca| ca.pem().as_bytes().to_vec()).unwrap_or_default(),
        client_required: clients.is_some(),
    }
}

async fn dial(port: u16, ca: &Ca, identity: Option<&Pem>) -> Result<Ads, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.pem()))
        .domain_name("localhost");
    if let Some(identity) = identity {
        tls = tls
            .identity(tonic::transport::Identity::from_pem(&identity.cert_pem, &identity.key_pem));
    }
    let endpoint =
        Endpoint::from_shared(format!("https://localhost:{port}")).unwrap().tls_config(tls)?;
    Ok(Ads::new(endpoint.connect().await?))
}

#[tokio::test]
async fn a_unix_socket_is_served_and_removed() {
    let scratch = Scratch::new("xds");
    let path = scratch.path().join("xds.sock");
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::unix(&path).await.unwrap();
    let server = server();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });
    let channel = Endpoint::from_shared(format!("unix://{}", path.display()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = Ads::new(channel);
    assert_eq!(first_name(&mut client).await, "a");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A socket in use is not taken away from its server.
    assert!(Listener::unix(&path).await.is_err());
    drop(client);
    shutdown.cancel();
    serving.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn tls_serves_those_who_trust_it() {
    let (ca, other) = (Ca::new("ours"), Ca::new("theirs"));
    let tls = Arc::new(Tls::new(&material(&ca.server(&[]), None)).unwrap());
    let listener = Listener::tls((Ipv4Addr::LOCALHOST, 0).into(), tls).await.unwrap();
    let port = listener.address().unwrap().port();
    let _server = start(server(), listener, Anonymous);
    assert_eq!(first_name(&mut dial(port, &ca, None).await.unwrap()).await, "a");
    assert!(dial(port, &other, None).await.is_err());
}

#[tokio::test]
async fn replaced_certificates_are_used_from_the_next_connection_on() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let tls = Arc::new(Tls::new(&material(&old.server(&[]), None)).unwrap());
    let listener = Listener::tls((Ipv4Addr::LOCALHOST, 0).into(), tls.clone()).await.unwrap();
    let port = listener.address().unwrap().port();
    let _server = start(server(), listener, Anonymous);
    let mut before = dial(port, &old, None).await.unwrap();
    assert!(tls.replace(&TlsMaterial::default()).is_err());
    tls.replace(&material(&new.server(&[]), None)).unwrap();
    assert_eq!(first_name(&mut before).await, "a");
    assert!(dial(port, &old, None).await.is_err());
    assert_eq!(first_name(&mut dial(port, &new, None).await.unwrap()).await, "a");
}

/// Takes anybody with a certificate, or with one token, as any node but one; about
/// another it never makes up its mind.
struct Guard;

impl Authenticator for Guard {
    fn screen(&self, credentials: &Credentials) -> Result<(), Denied> {
        match credentials.bearer.as_deref() {
            Some("garbage") => Err(Denied::Unproven("garbage".into())),
            _ => Ok(()),
        }
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        node: Option<&'a Node>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async move {
            assert!(credentials.peer.unwrap().ip().is_loopback());
            match node.map(|node| node.id.as_str()) {
                Some("forbidden") => return Err(Denied::Forbidden("not as that node".into())),
                Some("endless") => std::future::pending().await,
                _ => {}
            }
            let certificate =
                credentials.certificates.first().map(|der| format!("{} bytes", der.len() / 10_000));
            match (certificate, credentials.bearer.as_deref()) {
                (Some(name), _) => Ok(Identity {
                    method: "certificate",
                    names: vec![name.into()],
                    operator: false,
                }),
                (None, Some("secret")) => {
                    Ok(Identity { method: "token", names: vec!["holder".into()], operator: false })
                }
                _ => Err(Denied::Unproven("no credentials".into())),
            }
        })
    }
}

#[tokio::test]
async fn mutual_tls_turns_strangers_away_and_tells_who_came() {
    let (ca, other) = (Ca::new("ours"), Ca::new("theirs"));
    let tls = Arc::new(Tls::new(&material(&ca.server(&[]), Some(&ca))).unwrap());
    let listener = Listener::tls((Ipv4Addr::LOCALHOST, 0).into(), tls).await.unwrap();
    let port = listener.address().unwrap().port();
    let server = server();
    let _server = start(server.clone(), listener, Guard);
    let known = ca.client("known");
    let mut client = dial(port, &ca, Some(&known)).await.unwrap();
    assert_eq!(first_name(&mut client).await, "a");
    assert_eq!(server.clients().list()[0].identity.method, "certificate");
    for stranger in [None, Some(other.client("stranger"))] {
        // By TLS 1.3 a client hears of the refusal when it first reads.
        let refused = match dial(port, &ca, stranger.as_ref()).await {
            Err(_) => true,
            Ok(mut client) => {
                let requests = tonic::Request::new(tokio_stream::once(ask()));
                client.delta_aggregated_resources(requests).await.is_err()
            }
        };
        assert!(refused);
    }
}

#[tokio::test]
async fn a_bearer_token_is_shown_to_the_authenticator() {
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    let _server = start(server(), listener, Guard);
    let mut client = common::client::connect(address).await;
    let request = |token: &str| {
        let mut request = tonic::Request::new(tokio_stream::once(ask()));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    // What is plainly worthless is refused before anything is read.
    let denied = client.delta_aggregated_resources(request("garbage")).await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (Code::Unauthenticated, "authenticating the client: garbage")
    );
    let mut stream =
        client.delta_aggregated_resources(request("wrong")).await.unwrap().into_inner();
    let denied = stream.message().await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (Code::Unauthenticated, "authenticating the client: no credentials")
    );
    let mut stream =
        client.delta_aggregated_resources(request("secret")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().resources[0].name, "a");
}

#[tokio::test]
async fn who_may_not_act_as_a_node_is_refused_and_who_is_still_asked_about_holds_up_nobody() {
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    let config = ServerConfig { authentication: Duration::from_secs(2), ..Default::default() };
    let source = StaticSource::new();
    source.set(Resource::of("a", &Cluster { name: "a".into(), ..Default::default() }));
    let _server = start(Server::new(config, Arc::new(source)), listener, Guard);
    let mut client = common::client::connect(address).await;
    let mut open = async |node: &str| {
        let node = Node { id: node.into(), ..Default::default() };
        let first = DeltaDiscoveryRequest { node: Some(node), ..ask() };
        let mut request = tonic::Request::new(tokio_stream::once(first));
        request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
        client.delta_aggregated_resources(request).await.unwrap().into_inner()
    };
    let (mut endless, mut forbidden, mut known) =
        (open("endless").await, open("forbidden").await, open("known").await);
    assert_eq!(known.message().await.unwrap().unwrap().resources[0].name, "a");
    let denied = forbidden.message().await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (Code::PermissionDenied, "authorising the client: not as that node")
    );
    assert_eq!(endless.message().await.unwrap_err().code(), Code::Unavailable);
}

/// A plaintext server; its address as `http://HOST:PORT`.
async fn plaintext(authenticator: impl Authenticator) -> (DropGuard, String) {
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    (start(server(), listener, authenticator), format!("http://{address}"))
}

#[tokio::test]
async fn a_fetch_is_answered_once() {
    let (_server, address) = plaintext(Anonymous).await;
    let mut client = ClusterDiscoveryServiceClient::connect(address).await.unwrap();
    let response = client.fetch_clusters(DiscoveryRequest::default()).await.unwrap().into_inner();
    assert_eq!(response.type_url, *TypeUrl::CLUSTER);
    assert_eq!(response.resources[0].unpack::<Cluster>().unwrap().name, "a");
    let other = DiscoveryRequest { type_url: TypeUrl::LISTENER.to_string(), ..Default::default() };
    assert_eq!(client.fetch_clusters(other).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn rule_28_a_poll_is_answered_in_json_or_protobuf_and_by_304_when_nothing_changed() {
    use prost::Message;
    let source = StaticSource::new();
    source.set(Resource::of("a", &Cluster { name: "a".into(), ..Default::default() }));
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let client = HttpClient::new(&format!("http://{}", listener.address().unwrap()));
    let _server =
        start(Server::new(ServerConfig::default(), Arc::new(source.clone())), listener, Anonymous);

    let post = async |body: &str| post(&client, ("content-type", "application/json"), body).await;
    let json_of = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap();
    let (status, body) = post(r#"{"node":{"id":"n","aFieldOfTheFuture":1}}"#).await;
    assert_eq!(status, 200);
    let json = json_of(&body);
    assert_eq!(json["resources"][0]["name"], "a");
    let version = json["version_info"].as_str().unwrap();
    let held = format!(r#"{{"version_info":"{version}"}}"#);
    assert_eq!(post(&held).await, (304, vec![]));
    let (_, body) = post(r#"{"resource_names":["b"]}"#).await;
    assert_eq!(json_of(&body)["resources"], serde_json::Value::Null);
    assert_eq!(post("garbage").await.0, 400);
    assert_eq!(post(r#"{"type_url":"other"}"#).await.0, 400);
    assert_eq!(client.fetch("/v3/discovery:clusters", &[]).await.unwrap().status, 405);

    source.remove(&TypeUrl::CLUSTER, "a");
    assert_eq!(post(&held).await.0, 200);
    let (status, body) = self::post(&client, ("content-type", "application/x-protobuf"), "").await;
    assert_eq!(status, 200);
    assert_eq!(DiscoveryResponse::decode(body.as_slice()).unwrap().resources, []);
    assert_eq!(self::post(&client, ("content-type", "text/plain"), "").await.0, 415);
}

/// Hears refusals: type and message.
#[derive(Default)]
struct Refusals(std::sync::Mutex<Vec<(TypeUrl, String)>>);

impl PushObserver for Refusals {
    fn rejected(&self, _: &Client, of: &TypeUrl, _: RoundTrip, rejection: &Rejection) {
        self.0.lock().unwrap().push((of.clone(), rejection.message.clone()));
    }
}

#[tokio::test]
async fn what_a_poll_refuses_is_counted_once_and_not_sent_again_until_it_changes() {
    let source = StaticSource::new();
    let cluster =
        |alt: &str| Cluster { name: "a".into(), alt_stat_name: alt.into(), ..Default::default() };
    source.set(Resource::of("a", &cluster("good")));
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let client = HttpClient::new(&format!("http://{}", listener.address().unwrap()));
    let heard = Arc::new(Refusals::default());
    let clients = mainstem_xds::Clients::default();
    let server =
        Server::observed(ServerConfig::default(), Arc::new(source.clone()), clients, heard.clone());
    let _server = start(server, listener, Anonymous);
    let poll = async |more: &str| {
        let body = format!(r#"{{"node":{{"id":"n"}}{more}}}"#);
        let (status, body) = post(&client, ("content-type", "application/json"), &body).await;
        let json = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        (status, text("version_info"), text("nonce"))
    };

    let (_, held, _) = poll("").await;
    source.set(Resource::of("a", &cluster("bad")));
    let held = format!(r#","version_info":"{held}""#);
    let (status, _, nonce) = poll(&held).await;
    assert_eq!(status, 200);
    let error = r#""error_detail":{"code":13,"message":"a is bad"}"#;
    let refusing = format!(r#"{held},"response_nonce":"{nonce}",{error}"#);
    for more in [&refusing, &refusing, &held] {
        assert_eq!(poll(more).await.0, 304, "{more}");
    }
    let refusal = (TypeUrl::CLUSTER, "a is bad".to_owned());
    assert_eq!(*heard.0.lock().unwrap(), [refusal]);
    // Who begins anew is given it anew, and what changed is given to everybody.
    assert_eq!(poll("").await.0, 200);
    source.set(Resource::of("a", &cluster("better")));
    assert_eq!(poll(&refusing).await.0, 200);
    assert_eq!(heard.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_poll_for_a_collection_is_answered_with_its_members() {
    let source = StaticSource::new();
    for name in ["xdstp://a/t/web/1", "xdstp://a/t/web/2", "xdstp://a/t/db/1"] {
        source.set(Resource::of(name, &Cluster { name: name.into(), ..Default::default() }));
    }
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let client = HttpClient::new(&format!("http://{}", listener.address().unwrap()));
    let _server =
        start(Server::new(ServerConfig::default(), Arc::new(source)), listener, Anonymous);
    let asked = r#"{"resource_names":["xdstp://a/t/web/*"]}"#;
    let (_, body) = post(&client, ("content-type", "application/json"), asked).await;
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let names: Vec<_> =
        json["resources"].as_array().unwrap().iter().map(|of| of["name"].clone()).collect();
    assert_eq!(names, ["xdstp://a/t/web/1", "xdstp://a/t/web/2"]);
}

/// Polls for clusters; status and body of the answer.
async fn post(client: &HttpClient, (name, value): (&str, &str), body: &str) -> (u16, Vec<u8>) {
    let request = client.request(http::Method::POST, "/v3/discovery:clusters");
    let answer = request.header(name, value).body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn a_poll_without_credentials_is_turned_away() {
    let (_server, address) = plaintext(Guard).await;
    let client = HttpClient::new(&address);
    assert_eq!(post(&client, ("authorization", "Bearer wrong"), "{}").await.0, 401);
    assert_eq!(post(&client, ("authorization", "Bearer secret"), "{}").await.0, 200);
}
