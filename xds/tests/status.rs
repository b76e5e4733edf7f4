//! Client status discovery and load reports, as gRPC clients see them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

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
use mainstem_proto::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use mainstem_proto::envoy::service::status::v3::{ClientStatusRequest, ConfigStatus};
use mainstem_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mainstem_proto::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use mainstem_proto::google::rpc::Status as RpcStatus;
use mainstem_test_support::{TIMEOUT, eventually};
use mainstem_xds::clients::SyncState;
use mainstem_xds::{
    Anonymous, Authenticator, Listener, Operators, Resource, Server, ServerConfig, StaticSource,
    TypeUrl,
};
use pretty_assertions::assert_eq;
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
        serving.serve_authenticated(listener, Arc::new(authenticator), shutdown).await.unwrap()
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
    eventually("all is answered", TIMEOUT, async || {
        let states: Vec<_> =
            server.clients().list()[0].types.iter().map(|of_type| of_type.state()).collect();
        if states == [SyncState::Synced, SyncState::Synced] {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    })
    .await;

    let mut csds =
        ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap();
    let response =
        csds.fetch_client_status(ClientStatusRequest::default()).await.unwrap().into_inner();
    let [client] = response.config.as_slice() else { panic!("one client") };
    assert_eq!(client.node.as_ref().unwrap().id, "node-1");
    let seen: Vec<_> = client
        .generic_xds_configs
        .iter()
        .map(|config| {
            let details = config.error_state.as_ref().map(|error| error.details.as_str());
            (
                config.name.as_str(),
                config.config_status(),
                config.client_status(),
                details,
                config.xds_config.is_some(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "bad",
                ConfigStatus::Error,
                ClientResourceStatus::Nacked,
                Some("bad: no such thing"),
                true
            ),
            ("good", ConfigStatus::Synced, ClientResourceStatus::Acked, None, true),
            ("none", ConfigStatus::NotSent, ClientResourceStatus::DoesNotExist, None, false),
            // Secrets are never shown.
            ("key", ConfigStatus::Synced, ClientResourceStatus::Acked, None, false),
        ]
    );

    let matching = async |pattern: MatchPattern| {
        let id = StringMatcher { match_pattern: Some(pattern), ..Default::default() };
        let request = ClientStatusRequest {
            node_matchers: vec![NodeMatcher { node_id: Some(id), ..Default::default() }],
            ..Default::default()
        };
        let requests = tokio_stream::once(request);
        let mut csds =
            ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap();
        let mut responses = csds.stream_client_status(requests).await.unwrap().into_inner();
        responses.message().await.unwrap().unwrap().config.len()
    };
    assert_eq!(matching(MatchPattern::Prefix("node-".into())).await, 1);
    assert_eq!(matching(MatchPattern::Exact("node".into())).await, 0);
}

#[tokio::test]
async fn rule_30_others_see_nothing() {
    let (_server, _guard, address) = start(&source(), ServerConfig::default(), Anonymous).await;
    let mut csds =
        ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap();
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
