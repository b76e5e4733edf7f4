//! Client status discovery and load reports, as gRPC clients see them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::client::{Stream, connect};
use mainstem_proto::envoy::admin::v3::ClientResourceStatus;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use mainstem_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use mainstem_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use mainstem_proto::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use mainstem_proto::envoy::service::status::v3::{ClientConfig, ClientStatusRequest, ConfigStatus};
use mainstem_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mainstem_proto::envoy::r#type::matcher::v3::{NodeMatcher, RegexMatcher, StringMatcher};
use mainstem_proto::google::rpc::Status as RpcStatus;
use mainstem_test_support::{TIMEOUT, eventually};
use mainstem_xds::clients::SyncState;
use mainstem_xds::{
    Anonymous, Authenticator, Listener, Operators, Resource, Server, ServerConfig, StaticSource,
    TypeUrl,
};
use pretty_assertions::assert_eq;
use prost::Message as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;

type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/// Serves the source to whom the authenticator takes everybody for.
async fn start(
    source: &StaticSource,
    config: ServerConfig,
    authenticator: impl Authenticator,
) -> (Server, DropGuard, std::net::SocketAddr) {
    let server = Server::new(config, Arc::new(source.clone()));
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    let shutdown = CancellationToken::new();
    let guard = shutdown.clone().drop_guard();
    let serving = server.clone();
    tokio::spawn(async move {
        serving.serve_authenticated(listener, Arc::new(authenticator), shutdown).await;
    });
    (server, guard, address)
}

fn source() -> StaticSource {
    let source = StaticSource::new();
    source.set(Resource::new(&TypeUrl::SECRET, "key", "secret".to_owned()));
    source.set(Resource::new(&TypeUrl::CLUSTER, "good", "1".to_owned()));
    source.set(Resource::new(&TypeUrl::CLUSTER, "bad", "1".to_owned()));
    source
}

fn ask(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "node-1".into(), ..Default::default() }),
        type_url: type_url.to_string(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|message| RpcStatus {
            code: 3,
            message: message.into(),
            details: vec![],
        }),
        ..Default::default()
    }
}

/// Waits until the only client's types are so.
async fn becomes(server: &Server, expected: &[SyncState]) {
    eventually("the types are so", TIMEOUT, async || {
        let types = server.clients().list()[0].types.clone();
        let states: Vec<_> = types.iter().map(|of_type| of_type.state()).collect();
        if states == expected { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

type Csds = ClientStatusDiscoveryServiceClient<tonic::transport::Channel>;

async fn csds(address: std::net::SocketAddr) -> Csds {
    ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap()
}

/// What is told of a resource.
#[derive(Debug, PartialEq)]
struct Told {
    name: String,
    config: ConfigStatus,
    client: ClientResourceStatus,
    /// Why it is refused.
    why: Option<String>,
    /// Whether its content is shown.
    shown: bool,
}

fn told(name: &str, config: ConfigStatus, client: ClientResourceStatus) -> Told {
    Told { name: name.to_owned(), config, client, why: None, shown: true }
}

fn synced(name: &str) -> Told {
    told(name, ConfigStatus::Synced, ClientResourceStatus::Acked)
}

fn refused(name: &str, why: &str) -> Told {
    let why = Some(why.to_owned());
    Told { why, ..told(name, ConfigStatus::Error, ClientResourceStatus::Nacked) }
}

/// What an operator is told of the only client's clusters.
async fn clusters(csds: &mut Csds) -> Vec<Told> {
    let request = ClientStatusRequest::default();
    let response = csds.fetch_client_status(request).await.unwrap().into_inner();
    let [client] = response.config.as_slice() else { panic!("one client") };
    assert_eq!(client.node.as_ref().unwrap().id, "node-1");
    let configs = client.generic_xds_configs.iter();
    let of_clusters = configs.filter(|config| config.type_url == *TypeUrl::CLUSTER);
    of_clusters.map(resource).collect()
}

fn resource(config: &GenericXdsConfig) -> Told {
    let why = config.error_state.as_ref().map(|error| error.details.clone());
    let shown = config.xds_config.is_some();
    Told { why, shown, ..told(&config.name, config.config_status(), config.client_status()) }
}

#[tokio::test]
async fn rule_30_what_is_refused_is_told_until_it_is_accepted_anew() {
    let source = source();
    source.set(Resource::new(&TypeUrl::CLUSTER, "worse", "1".to_owned()));
    let (server, _guard, address) = start(&source, ServerConfig::default(), Operators).await;
    let mut ads = connect(address).await;
    let mut stream: Delta = Stream::open(|requests| ads.delta_aggregated_resources(requests)).await;
    let mut csds = csds(address).await;
    stream.send(ask(&TypeUrl::CLUSTER, &["good", "bad", "worse"]));
    for refusal in [Some("bad: no such thing"), Some("worse: not even that"), None] {
        let response = stream.next().await;
        stream.send(answer(&response, refusal));
    }
    eventually("the rest is accepted", TIMEOUT, async || {
        let types = server.clients().list()[0].types.clone();
        if types[0].state_of("good") == SyncState::Synced { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(server.clients().list()[0].types[0].state(), SyncState::Rejected);
    let bad = || refused("bad", "bad: no such thing");
    let worse = refused("worse", "worse: not even that");
    assert_eq!(clusters(&mut csds).await, [bad(), synced("good"), worse]);
    assert_eq!(server.clients().refused(), [(TypeUrl::CLUSTER, 2)].into());

    // The last culprit is mended: the first one stays.
    source.set(Resource::new(&TypeUrl::CLUSTER, "worse", "2".to_owned()));
    let mended = stream.next().await;
    let awaited = told("worse", ConfigStatus::Stale, ClientResourceStatus::Requested);
    let awaited = Told { why: Some("worse: not even that".to_owned()), ..awaited };
    assert_eq!(clusters(&mut csds).await[2], awaited);
    stream.send(answer(&mended, None));
    eventually("it is accepted", TIMEOUT, async || {
        let refused = server.clients().refused();
        if refused == [(TypeUrl::CLUSTER, 1)].into() { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
    assert_eq!(clusters(&mut csds).await, [bad(), synced("good"), synced("worse")]);

    source.set(Resource::new(&TypeUrl::CLUSTER, "bad", "2".to_owned()));
    let mended = stream.next().await;
    stream.send(answer(&mended, None));
    becomes(&server, &[SyncState::Synced]).await;
    assert_eq!(clusters(&mut csds).await, ["bad", "good", "worse"].map(synced));
}

#[tokio::test]
async fn rule_30_an_operator_sees_what_each_client_has_and_refused() {
    let source = source();
    let (server, _guard, address) = start(&source, ServerConfig::default(), Operators).await;
    let mut ads = connect(address).await;
    let mut stream: Delta = Stream::open(|requests| ads.delta_aggregated_resources(requests)).await;
    stream.send(ask(&TypeUrl::CLUSTER, &["good", "bad", "none"]));
    let first = stream.next().await;
    stream.send(answer(&first, Some("bad: no such thing")));
    let second = stream.next().await;
    stream.send(answer(&second, None));
    stream.send(ask(&TypeUrl::SECRET, &["key"]));
    let third = stream.next().await;
    stream.send(answer(&third, None));
    becomes(&server, &[SyncState::Rejected, SyncState::Synced]).await;

    let mut csds = csds(address).await;
    let response =
        csds.fetch_client_status(ClientStatusRequest::default()).await.unwrap().into_inner();
    let [client] = response.config.as_slice() else { panic!("one client") };
    let absent = told("none", ConfigStatus::NotSent, ClientResourceStatus::DoesNotExist);
    assert_eq!(
        client.generic_xds_configs.iter().map(resource).collect::<Vec<_>>(),
        [
            refused("bad", "bad: no such thing"),
            synced("good"),
            Told { shown: false, ..absent },
            // Secrets are never shown.
            Told { shown: false, ..synced("key") },
        ]
    );

    let matching = async |pattern: MatchPattern| {
        let id = StringMatcher { match_pattern: Some(pattern), ..Default::default() };
        let request = ClientStatusRequest {
            node_matchers: vec![NodeMatcher { node_id: Some(id), ..Default::default() }],
            ..Default::default()
        };
        let requests = tokio_stream::once(request);
        let mut csds = self::csds(address).await;
        let mut responses = csds.stream_client_status(requests).await.unwrap().into_inner();
        responses.message().await.unwrap().unwrap().config.len()
    };
    assert_eq!(matching(MatchPattern::Prefix("node-".into())).await, 1);
    assert_eq!(matching(MatchPattern::Exact("node".into())).await, 0);
    let regex = RegexMatcher { regex: "node-[0-9]".into(), ..Default::default() };
    assert_eq!(matching(MatchPattern::SafeRegex(regex)).await, 1);
}

/// Clients that were given everything of a source, each as a node of its own.
async fn crowd(address: std::net::SocketAddr, size: usize) -> Vec<Delta> {
    let mut crowd = Vec::new();
    for number in 0..size {
        let mut ads = connect(address).await;
        let mut stream: Delta =
            Stream::open(|requests| ads.delta_aggregated_resources(requests)).await;
        let node = Node { id: format!("node-{number}"), ..Node::default() };
        stream.send(DeltaDiscoveryRequest { node: Some(node), ..ask(&TypeUrl::CLUSTER, &[]) });
        stream.next().await;
        crowd.push(stream);
    }
    crowd
}

/// The sizes of all parts of an answer, and how many resources each node has in them.
async fn parts(csds: &mut Csds) -> (Vec<usize>, BTreeMap<String, usize>) {
    let requests = tokio_stream::once(ClientStatusRequest::default());
    let mut responses = csds.stream_client_status(requests).await.unwrap().into_inner();
    let (mut sizes, mut resources) = (Vec::new(), BTreeMap::new());
    while let Some(part) = responses.message().await.unwrap() {
        sizes.push(part.encoded_len());
        for client in part.config {
            let count = client.generic_xds_configs.len();
            *resources.entry(client.node.unwrap().id).or_default() += count;
        }
    }
    (sizes, resources)
}

#[tokio::test]
async fn a_status_that_is_too_long_for_one_message_comes_in_parts() {
    let source = StaticSource::new();
    for number in 0..3 {
        let body = "x".repeat(600_000);
        source.set(Resource::new(&TypeUrl::CLUSTER, format!("cluster-{number}"), body));
    }
    let (_server, _guard, address) = start(&source, ServerConfig::default(), Operators).await;
    let crowd = crowd(address, 3).await;
    let mut csds = csds(address).await;
    let (sizes, resources) = parts(&mut csds).await;
    let each = (0..3).map(|number| (format!("node-{number}"), 3)).collect();
    assert_eq!((sizes.len(), resources), (9, each));
    assert!(sizes.iter().all(|size| *size < 1 << 20), "{sizes:?}");

    // In one message there is room for the states alone.
    let request = ClientStatusRequest::default();
    let whole = csds.fetch_client_status(request.clone()).await.unwrap().into_inner();
    let shown = |client: &ClientConfig| {
        let resources = &client.generic_xds_configs;
        (resources.len(), resources.iter().filter(|one| one.xds_config.is_some()).count())
    };
    assert_eq!(whole.config.iter().map(shown).collect::<Vec<_>>(), [(3, 0); 3]);
    drop(crowd);
}

#[tokio::test]
async fn a_status_that_does_not_fit_into_one_message_is_not_fetched() {
    let source = StaticSource::new();
    source.update(|batch| {
        for number in 0..1_000 {
            let name = format!("{}{number:04}", "long".repeat(300));
            batch.set(Resource::new(&TypeUrl::CLUSTER, name, "1".to_owned()));
        }
    });
    let (_server, _guard, address) = start(&source, ServerConfig::default(), Operators).await;
    let crowd = crowd(address, 4).await;
    let mut csds = csds(address).await;
    let refused = csds.fetch_client_status(ClientStatusRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("StreamClientStatus"), "{refused}");
    let (sizes, resources) = parts(&mut csds).await;
    assert_eq!(resources, (0..4).map(|number| (format!("node-{number}"), 1_000)).collect());
    assert!(sizes.iter().all(|size| *size < (1 << 20) + (64 << 10)), "{sizes:?}");
    drop(crowd);
}

#[tokio::test]
async fn that_nobody_matches_is_told_and_what_cannot_be_matched_is_refused() {
    let (_server, _guard, address) = start(&source(), ServerConfig::default(), Operators).await;
    let mut csds = csds(address).await;
    assert_eq!(parts(&mut csds).await, (vec![0], BTreeMap::new()));
    let matcher = NodeMatcher { node_id: Some(StringMatcher::default()), ..Default::default() };
    let request = ClientStatusRequest { node_matchers: vec![matcher], ..Default::default() };
    let refused = csds.fetch_client_status(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "a matcher of nodes lacks its pattern");
}

#[tokio::test]
async fn rule_30_others_see_nothing() {
    let (_server, _guard, address) = start(&source(), ServerConfig::default(), Anonymous).await;
    let mut csds = csds(address).await;
    let refused = csds.fetch_client_status(ClientStatusRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

type Loads = Stream<LoadStatsRequest, LoadStatsResponse>;

#[tokio::test]
async fn rule_29_the_server_says_first_what_it_wants_reported() {
    let config =
        ServerConfig { load_reports: Some(Duration::from_millis(1500)), ..ServerConfig::default() };
    let source = source();
    let (server, guard, address) = start(&source, config, Anonymous).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = LoadReportingServiceClient::new(channel.connect().await.unwrap());
    let node = |features: &[&str]| {
        let client_features = features.iter().map(ToString::to_string).collect();
        Some(Node { client_features, ..Default::default() })
    };

    let (requests, receiver) = tokio::sync::mpsc::unbounded_channel();
    requests.send(LoadStatsRequest { node: node(&[]), ..Default::default() }).unwrap();
    let requests_of = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let mut responses = client.stream_load_stats(requests_of).await.unwrap().into_inner();
    let wanted = responses.message().await.unwrap().unwrap();
    assert_eq!(
        (wanted.clusters, wanted.send_all_clusters),
        (vec!["bad".to_owned(), "good".to_owned()], false)
    );
    assert_eq!(wanted.load_reporting_interval.unwrap().nanos, 500_000_000);
    let locality = UpstreamLocalityStats {
        total_issued_requests: 3,
        total_successful_requests: 2,
        ..Default::default()
    };
    let stats = ClusterStats {
        cluster_name: "good".into(),
        upstream_locality_stats: vec![locality],
        ..Default::default()
    };
    requests.send(LoadStatsRequest { node: None, cluster_stats: vec![stats] }).unwrap();
    eventually("the report is counted", TIMEOUT, async || {
        let loads = server.loads().list();
        let counts: Vec<_> = loads
            .iter()
            .map(|(key, totals)| (key.cluster.as_str(), totals.issued, totals.succeeded))
            .collect();
        if counts == [("good", 3, 2)] { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;

    source.set(Resource::new(&TypeUrl::CLUSTER, "new", "1".to_owned()));
    let wanted = responses.message().await.unwrap().unwrap();
    assert_eq!(wanted.clusters, ["bad", "good", "new"]);

    let features = ["envoy.lrs.supports_send_all_clusters"];
    let all: Loads = {
        let (requests, receiver) = tokio::sync::mpsc::unbounded_channel();
        requests.send(LoadStatsRequest { node: node(&features), ..Default::default() }).unwrap();
        let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let responses = client.stream_load_stats(receiver).await.unwrap().into_inner();
        Stream::of(requests, responses)
    };
    let mut all = all;
    let wanted = all.next().await;
    assert_eq!((wanted.clusters, wanted.send_all_clusters), (vec![], true));

    drop(guard);
    assert_eq!(all.end().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn streams_of_reports_count_among_all_streams() {
    let config = ServerConfig {
        load_reports: Some(Duration::from_secs(1)),
        max_streams: 1,
        ..ServerConfig::default()
    };
    let (_server, _guard, address) = start(&source(), config, Anonymous).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let client = LoadReportingServiceClient::new(channel.connect().await.unwrap());
    let open = || {
        let (mut client, (requests, receiver)) =
            (client.clone(), tokio::sync::mpsc::unbounded_channel());
        requests.send(LoadStatsRequest::default()).unwrap();
        let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        async move { client.stream_load_stats(receiver).await.map(|answer| (requests, answer)) }
    };
    let first = open().await.unwrap();
    assert_eq!(open().await.unwrap_err().code(), Code::Unavailable);
    drop(first);
    eventually("there is room again", TIMEOUT, async || {
        open().await.map(drop).map_err(|status| status.to_string())
    })
    .await;
}
