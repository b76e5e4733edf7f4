//! Streams over loopback: what is visible from outside, by the numbers of the rules.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::Running;
use common::client::{Ads, Stream, connect};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mainstem_proto::google::rpc::Status as RpcStatus;
use mainstem_test_support::{TIMEOUT, eventually};
use mainstem_xds::clients::{Protocol, SyncState};
use mainstem_xds::protocol::{Rejection, Response};
use mainstem_xds::{
    Client, Clients, Limits, PushObserver, Refusal, Resource, ResourceSource, ResourceView,
    RoundTrip, Server, ServerConfig, StaticSource, TypeUrl,
};
use pretty_assertions::assert_eq;
use tonic::Code;

type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
type Sotw = Stream<DiscoveryRequest, DiscoveryResponse>;

async fn delta(client: &mut Ads) -> Delta {
    Stream::open(|requests| client.delta_aggregated_resources(requests)).await
}

async fn sotw(client: &mut Ads) -> Sotw {
    Stream::open(|requests| client.stream_aggregated_resources(requests)).await
}

fn cluster(name: &str, body: &str) -> Resource {
    Resource::new(&TypeUrl::CLUSTER, name, body.to_owned())
}

fn source(resources: &[(&str, &str)]) -> StaticSource {
    let source = StaticSource::new();
    for (name, body) in resources {
        source.set(cluster(name, body));
    }
    source
}

fn node(id: &str) -> Option<Node> {
    Some(Node {
        id: id.into(),
        cluster: "test".into(),
        user_agent_name: "test".into(),
        ..Default::default()
    })
}

fn ask_delta() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("n"),
        type_url: TypeUrl::CLUSTER.to_string(),
        ..Default::default()
    }
}

fn ask_sotw() -> DiscoveryRequest {
    DiscoveryRequest {
        node: node("n"),
        type_url: TypeUrl::CLUSTER.to_string(),
        ..Default::default()
    }
}

fn ack_delta(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

fn ack_sotw(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        version_info: response.version_info.clone(),
        ..Default::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> (Vec<&str>, Vec<&str>) {
    let sent = response.resources.iter().map(|resource| resource.name.as_str()).collect();
    (sent, response.removed_resources.iter().map(String::as_str).collect())
}

fn bodies(response: &DiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|any| std::str::from_utf8(&any.value).unwrap()).collect()
}

#[tokio::test]
async fn a_delta_client_gets_what_changes() {
    let running = Running::start(source(&[("a", "1"), ("b", "1")])).await;
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    let first = stream.next().await;
    assert_eq!(names(&first), (vec!["a", "b"], vec![]));
    assert_eq!(first.control_plane.as_ref().unwrap().identifier, "mainstem");
    stream.send(ack_delta(&first));
    running.source.update(|batch| {
        batch.set(cluster("c", "1")).remove(&TypeUrl::CLUSTER, "a");
    });
    let second = stream.next().await;
    assert_eq!(names(&second), (vec!["c"], vec!["a"]));
    assert_ne!(second.nonce, first.nonce);
    assert_eq!(second.control_plane, None);
}

#[tokio::test]
async fn a_sotw_client_gets_everything_at_each_change() {
    let running = Running::start(source(&[("a", "1"), ("b", "1")])).await;
    let mut stream = sotw(&mut connect(running.address).await).await;
    stream.send(ask_sotw());
    let first = stream.next().await;
    assert_eq!(bodies(&first), ["1", "1"]);
    stream.send(ack_sotw(&first));
    running.source.set(cluster("b", "2"));
    let second = stream.next().await;
    assert_eq!(bodies(&second), ["1", "2"]);
    assert_ne!(second.version_info, first.version_info);
}

#[tokio::test]
async fn rule_02_a_stream_of_one_type_implies_it() {
    let running = Running::start(source(&[("a", "1")])).await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
    let mut client = ClusterDiscoveryServiceClient::new(channel.connect().await.unwrap());
    let mut stream: Sotw = Stream::open(|requests| client.stream_clusters(requests)).await;
    stream.send(DiscoveryRequest { type_url: String::new(), ..ask_sotw() });
    let response = stream.next().await;
    assert_eq!((bodies(&response), response.type_url.as_str()), (vec!["1"], &*TypeUrl::CLUSTER));
    stream.send(DiscoveryRequest { type_url: TypeUrl::LISTENER.to_string(), ..Default::default() });
    assert_eq!(stream.end().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn rule_02_an_aggregated_stream_needs_a_type() {
    let running = Running::start(source(&[])).await;
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(DeltaDiscoveryRequest { node: node("n"), ..Default::default() });
    assert_eq!(stream.end().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn rule_20_a_second_replica_resends_nothing_that_is_unchanged() {
    let resources = [("a", "1"), ("b", "1"), ("c", "1")];
    let (one, two) =
        (Running::start(source(&resources)).await, Running::start(source(&resources)).await);
    let mut stream = delta(&mut connect(one.address).await).await;
    stream.send(ask_delta());
    let held = stream
        .next()
        .await
        .resources
        .into_iter()
        .map(|resource| (resource.name, resource.version))
        .collect();
    two.source.set(cluster("b", "2"));
    let mut stream = delta(&mut connect(two.address).await).await;
    stream.send(DeltaDiscoveryRequest { initial_resource_versions: held, ..ask_delta() });
    assert_eq!(names(&stream.next().await), (vec!["b"], vec![]));
}

#[tokio::test]
async fn a_client_is_listed_with_what_it_accepted_and_refused() {
    let running = Running::start(source(&[("a", "1")])).await;
    assert!(running.clients().is_empty());
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    let first = stream.next().await;
    let state = || running.clients().list().remove(0).types.remove(0).state();
    assert_eq!(state(), SyncState::Stale);
    stream.send(ack_delta(&first));
    eventually("it is synced", TIMEOUT, async || {
        if state() == SyncState::Synced { Ok(()) } else { Err("not yet") }
    })
    .await;
    running.source.set(cluster("a", "bad"));
    let second = stream.next().await;
    let error = RpcStatus { code: 3, message: "a: bad".into(), details: vec![] };
    stream.send(DeltaDiscoveryRequest { error_detail: Some(error), ..ack_delta(&second) });
    eventually("it is refused", TIMEOUT, async || {
        if state() == SyncState::Rejected { Ok(()) } else { Err("not yet") }
    })
    .await;

    let status = running.clients().list().remove(0);
    let of_type = &status.types[0];
    assert_eq!(
        (status.node.as_str(), status.cluster.as_str(), status.protocol),
        ("n", "test", Protocol::Delta)
    );
    assert!(status.peer.unwrap().ip().is_loopback());
    assert_eq!(
        (of_type.type_url.as_str(), of_type.wildcard, of_type.names),
        (&*TypeUrl::CLUSTER, true, 0)
    );
    assert_eq!(of_type.acked.as_ref().unwrap().nonce.to_string(), first.nonce);
    let nack = of_type.nacked.as_ref().unwrap();
    let rejection = Rejection { code: 3, message: "a: bad".into(), culprits: vec!["a".into()] };
    assert_eq!((nack.answer.nonce.to_string(), &nack.rejection), (second.nonce, &rejection));

    let given = running.clients().of_node("n")[0].given(&running.source).unwrap();
    assert_eq!(given[&TypeUrl::CLUSTER][0].body().to_bytes(), "bad");
    drop(stream);
    eventually("it is gone", TIMEOUT, async || {
        if running.clients().is_empty() { Ok(()) } else { Err("listed") }
    })
    .await;
}

#[tokio::test]
async fn garbage_ends_the_stream_and_nothing_else() {
    use prost::Message;
    /// Wire-compatible with a request whose node is not an encoding of a node.
    #[derive(Clone, PartialEq, Message)]
    struct Garbage {
        #[prost(bytes, tag = "1")]
        node: Vec<u8>,
    }
    let running = Running::start(source(&[("a", "1")])).await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let codec = tonic_prost::ProstCodec::<Garbage, DeltaDiscoveryResponse>::default();
    let request = tonic::Request::new(tokio_stream::once(Garbage { node: vec![0xff; 100] }));
    let mut answers =
        grpc.streaming(request, path.parse().unwrap(), codec).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    assert_eq!(names(&stream.next().await), (vec!["a"], vec![]));
}

#[tokio::test]
async fn a_stream_beyond_its_limits_is_ended() {
    let limits = Limits { names: 10, request_bytes: 1000, node_bytes: 100, ..Limits::default() };
    let config = ServerConfig { limits: Arc::new(limits), ..ServerConfig::default() };
    let running = Running::with(source(&[]), config).await;
    let mut client = connect(running.address).await;
    let mut stream = delta(&mut client).await;
    let names = (0..11).map(|n| n.to_string()).collect();
    stream.send(DeltaDiscoveryRequest { resource_names_subscribe: names, ..ask_delta() });
    assert_eq!(stream.end().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut stream = delta(&mut client).await;
    stream.send(DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["x".repeat(1000)],
        ..ask_delta()
    });
    assert_eq!(stream.end().await.unwrap_err().code(), Code::OutOfRange);
    let mut stream = delta(&mut client).await;
    stream.send(DeltaDiscoveryRequest { node: node(&"x".repeat(100)), ..ask_delta() });
    assert_eq!(stream.end().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut stream = delta(&mut client).await;
    stream.send(ask_delta());
    assert_eq!(stream.next().await.type_url, *TypeUrl::CLUSTER);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_turned_away_until_one_ends() {
    let config = ServerConfig { max_streams: 1, ..ServerConfig::default() };
    let running = Running::with(source(&[("a", "1")]), config).await;
    let mut client = connect(running.address).await;
    let mut first = delta(&mut client).await;
    first.send(ask_delta());
    first.next().await;
    let mut second = delta(&mut client).await;
    second.send(ask_delta());
    assert_eq!(second.end().await.unwrap_err().code(), Code::Unavailable);
    first.close();
    first.end().await.unwrap();
    eventually("the first is gone", TIMEOUT, async || {
        if running.clients().is_empty() { Ok(()) } else { Err("not") }
    })
    .await;
    let mut third = delta(&mut client).await;
    third.send(ask_delta());
    assert_eq!(names(&third.next().await), (vec!["a"], vec![]));
}

#[tokio::test]
async fn a_stream_without_a_request_or_of_great_age_is_ended() {
    let config = ServerConfig {
        first_request: Duration::from_millis(50),
        max_connection_age: Some(Duration::from_secs(1)),
        max_connection_age_grace: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let running = Running::with(source(&[("a", "1")]), config).await;
    let mut client = connect(running.address).await;
    let mut silent = delta(&mut client).await;
    assert_eq!(silent.end().await.unwrap_err().code(), Code::DeadlineExceeded);
    let mut old = delta(&mut client).await;
    old.send(ask_delta());
    assert_eq!(old.end().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn rule_31_shutdown_ends_streams_and_the_server() {
    let mut running = Running::start(source(&[("a", "1")])).await;
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    stream.next().await;
    running.shutdown.cancel();
    assert_eq!(stream.end().await.unwrap_err().code(), Code::Unavailable);
    drop(stream);
    tokio::time::timeout(TIMEOUT, &mut running.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_03_a_client_that_does_not_read_holds_up_nobody_and_is_dropped() {
    let config = ServerConfig { stall: Duration::from_millis(300), ..ServerConfig::default() };
    let large = |seed: usize| cluster("large", &format!("{seed}").repeat(2_000_000));
    let running = Running::with(source(&[]), config).await;
    running.source.set(large(1));
    let stuck = sotw(&mut connect(running.address).await).await;
    // Ever new types: each brings a response, and none of them is read.
    for n in 0..20 {
        let type_url = format!("type.googleapis.com/test.T{n}");
        running.source.set(Resource::new(
            &TypeUrl::from(type_url.as_str()),
            "large",
            vec![0; 2_000_000],
        ));
        stuck.send(DiscoveryRequest { node: node("stuck"), type_url, ..Default::default() });
    }
    let mut healthy = delta(&mut connect(running.address).await).await;
    healthy.send(ask_delta());
    let mut last = healthy.next().await;
    for n in 2..5 {
        healthy.send(ack_delta(&last));
        running.source.set(large(n));
        last = healthy.next().await;
        assert_eq!(names(&last), (vec!["large"], vec![]));
    }
    eventually("the stuck client is dropped", TIMEOUT, async || {
        match running.clients().of_node("stuck").as_slice() {
            [] => Ok(()),
            _ => Err("it is there"),
        }
    })
    .await;
    assert_eq!(running.clients().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_end_neither_keep_a_stuck_client_nor_stop_answers() {
    let config = ServerConfig { stall: Duration::from_millis(300), ..ServerConfig::default() };
    let running = Running::with(source(&[("a", "1")]), config).await;
    for n in 0..20 {
        let type_url = TypeUrl::from(format!("type.googleapis.com/test.T{n}").as_str());
        running.source.set(Resource::new(&type_url, "large", vec![0; 2_000_000]));
    }
    let stuck = sotw(&mut connect(running.address).await).await;
    for n in 0..20 {
        let type_url = format!("type.googleapis.com/test.T{n}");
        stuck.send(DiscoveryRequest { node: node("stuck"), type_url, ..Default::default() });
    }
    let mut reading = sotw(&mut connect(running.address).await).await;
    reading.send(DiscoveryRequest { node: node("reading"), ..ask_sotw() });
    let flood = async {
        loop {
            for stream in [&stuck, &reading] {
                stream.send(DiscoveryRequest { response_nonce: "stale".into(), ..ask_sotw() });
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = eventually("the stuck client is dropped", TIMEOUT, async || {
        match running.clients().of_node("stuck").as_slice() {
            [] => Ok(()),
            _ => Err("it is there"),
        }
    });
    tokio::select! {
        () = seen => {}
        () = flood => unreachable!("it never ends"),
    }
    assert_eq!(bodies(&reading.next().await), ["1"]);
}

/// Counts what happens.
#[derive(Default)]
struct Counter {
    pushed: AtomicUsize,
    acked: AtomicUsize,
    rejected: AtomicUsize,
    expired: AtomicUsize,
    converged: AtomicUsize,
}

impl PushObserver for Counter {
    fn pushed(&self, _: &Client, _: &Response, _: Duration) {
        self.pushed.fetch_add(1, Ordering::SeqCst);
    }

    fn acked(&self, _: &Client, _: &TypeUrl, _: RoundTrip) {
        self.acked.fetch_add(1, Ordering::SeqCst);
    }

    fn rejected(&self, _: &Client, _: &TypeUrl, _: RoundTrip, _: &Rejection) {
        self.rejected.fetch_add(1, Ordering::SeqCst);
    }

    fn expired_nonce(&self, _: &Client, _: &TypeUrl) {
        self.expired.fetch_add(1, Ordering::SeqCst);
    }

    fn converged(&self, _: &Client, _: Duration) {
        self.converged.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_observer_hears_what_happens() {
    let source = source(&[("a", "1")]);
    let counter = Arc::new(Counter::default());
    let server = Server::observed(
        ServerConfig::default(),
        Arc::new(source.clone()),
        Clients::default(),
        counter.clone(),
    );
    let running = Running::serve(source, server).await;
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    let first = stream.next().await;
    stream.send(ack_delta(&first));
    stream.send(ack_delta(&first));
    running.source.set(cluster("a", "2"));
    let second = stream.next().await;
    stream.send(ack_delta(&second));
    let counts = || {
        [&counter.pushed, &counter.acked, &counter.rejected, &counter.expired, &counter.converged]
            .map(|count| count.load(Ordering::SeqCst))
    };
    eventually("all is counted", TIMEOUT, async || {
        let counts = counts();
        if counts == [2, 2, 0, 1, 1] { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

/// Refuses everybody.
struct Closed;

impl ResourceSource for Closed {
    fn connect(&self, client: &Arc<Client>) -> Result<Box<dyn ResourceView>, Refusal> {
        Err(Refusal::Denied(format!("{} may not connect", client.node.id)))
    }
}

#[tokio::test]
async fn a_source_may_refuse_a_client() {
    let server = Server::new(ServerConfig::default(), Arc::new(Closed));
    let running = Running::serve(StaticSource::new(), server).await;
    let mut stream = delta(&mut connect(running.address).await).await;
    stream.send(ask_delta());
    let status = stream.end().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "n may not connect"));
}
