//! The merged registry handed on: to another Mainstem by delta, and to a client that
//! asks as istiod does, over state-of-the-world ADS.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::Mainstem;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use mainstem_proto::google::protobuf::{Any, Struct, Value as Protobuf, value};
use mainstem_proto::istio::{Metadata, RESOURCE, Resource, SERVICE_ENTRIES, ServiceEntry};
use mainstem_test_support::{Scratch, TIMEOUT, eventually, free_port};
use mainstem_xds::{Listener, Server, ServerConfig, StaticSource, TypeUrl};
use pretty_assertions::assert_eq;
use prost::Message;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

const ORDERS: &str = "orders.shop.svc.cluster.local";
const BOOKS: &str = "books.shop.svc.cluster.local";

/// A control plane of a cluster with a file registry.
struct Site {
    name: &'static str,
    mainstem: Mainstem,
    files: Scratch,
}

impl Site {
    async fn start(name: &'static str) -> Self {
        let files = Scratch::new(name);
        let registries = [file_registry(name, &files)];
        let settings = json!({ "cluster": name });
        let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &registries, settings).await;
        Self { name, mainstem, files }
    }

    /// Imports what `other` exports.
    fn import(&self, other: &Self, more: &Value) {
        self.follow(&[other.exports(more)]);
    }

    /// Has these registries beside its files.
    fn follow(&self, registries: &[Value]) {
        let own = [file_registry(self.name, &self.files)];
        self.mainstem.configure(&[&own, registries].concat());
    }

    /// This site as a registry of another one.
    fn exports(&self, more: &Value) -> Value {
        mcp_registry(self.name, &format!("http://{}", self.mainstem.xds()), more)
    }

    fn put(&self, host: &str, addresses: &[&str], export_to: &[&str]) {
        let endpoints: Vec<Value> =
            addresses.iter().map(|address| json!({ "address": address, "port": 8080 })).collect();
        let service = json!({
            "hostname": host,
            "ports": [{ "number": 80, "name": "http" }],
            "exportTo": export_to,
            "endpoints": endpoints,
        });
        self.files.write(&file_of(host), json!({ "services": [service] }).to_string());
    }

    fn remove(&self, host: &str) {
        std::fs::remove_file(self.files.path().join(file_of(host))).expect("it was put");
    }

    /// The addresses of a service's endpoints, each with its registry and with the way
    /// that it came.
    fn endpoints(&self, host: &str) -> BTreeMap<String, (String, Option<String>)> {
        let services = self.mainstem.cli(&["endpoints"]);
        let of_host = services.as_array().into_iter().flatten().filter(|s| s["hostname"] == host);
        let endpoints = of_host.flat_map(|service| service["endpoints"].as_array().cloned());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let origin = |endpoint: &Value| {
            let origin = &endpoint["origins"][0];
            (text(&origin["registry"]).expect("a registry"), text(&origin["via"]))
        };
        endpoints
            .flatten()
            .map(|one| (text(&one["addresses"][0]).expect("an address"), origin(&one)))
            .collect()
    }

    async fn until_endpoints(&self, host: &str, expected: &[(&str, &str, Option<&str>)]) {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(address, registry, via)| {
                ((*address).to_owned(), ((*registry).to_owned(), via.map(str::to_owned)))
            })
            .collect();
        eventually(&format!("{} has {expected:?}", self.name), TIMEOUT, async || {
            let found = self.endpoints(host);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

/// How the origin in a site's files is told by the site.
fn via(site: &str, host: &str) -> String {
    format!("{site} file/{site} Service {}#shop/{host}", file_of(host))
}

fn file_of(host: &str) -> String {
    format!("{host}.yaml")
}

fn mcp_registry(cluster: &str, address: &str, more: &Value) -> Value {
    let mut registry = json!({
        "type": "mcp",
        "cluster": cluster,
        "address": address,
        "joins": ["*"],
        "guard": { "mode": "off" },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        registry[name] = value.clone();
    }
    registry
}

fn file_registry(name: &str, files: &Scratch) -> Value {
    json!({ "type": "file", "cluster": name, "path": files.path(), "rescan": "100ms", "guard": { "mode": "off" } })
}

#[rstest]
#[case::delta("delta")]
#[case::sotw("sotw")]
#[tokio::test(flavor = "multi_thread")]
async fn control_planes_that_import_each_other_have_all_endpoints_once_and_none_for_ever(
    #[case] protocol: &str,
) {
    let (east, west) = (Site::start("east").await, Site::start("west").await);
    east.put(ORDERS, &["10.1.0.1"], &[]);
    east.put(BOOKS, &["10.1.0.2"], &[]);
    west.put(ORDERS, &["10.2.0.1"], &[]);
    east.import(&west, &json!({ "protocol": protocol }));
    west.import(&east, &json!({ "protocol": protocol }));

    let from_east = via("east", ORDERS);
    let from_west = via("west", ORDERS);
    let in_east = ("10.1.0.1", "file/east", None);
    let in_west = ("10.2.0.1", "file/west", None);
    east.until_endpoints(ORDERS, &[in_east, ("10.2.0.1", "mcp/west", Some(&from_west))]).await;
    west.until_endpoints(ORDERS, &[("10.1.0.1", "mcp/east", Some(&from_east)), in_west]).await;
    let books = via("east", BOOKS);
    west.until_endpoints(BOOKS, &[("10.1.0.2", "mcp/east", Some(&books))]).await;

    // West hands the books on to whoever asks, and east knows them for its own.
    let rejected = json!([{
        "kind": "ServiceEntry",
        "name": format!("shop/{BOOKS}"),
        "reason": "it comes from cluster east, of which mcp/west takes nothing: that is this \
                   control plane's own, or stands under `exclude`",
    }]);
    eventually("east says what came back", TIMEOUT, async || {
        let registry = east.mainstem.registry("mcp/west");
        if registry["rejected"] == rejected { Ok(()) } else { Err(registry.to_string()) }
    })
    .await;
    east.until_endpoints(BOOKS, &[("10.1.0.2", "file/east", None)]).await;

    west.remove(ORDERS);
    east.until_endpoints(ORDERS, &[in_east]).await;
    east.remove(BOOKS);
    for site in [&east, &west] {
        site.until_endpoints(BOOKS, &[]).await;
    }
    assert_eq!(west.mainstem.refusals(), [""; 0], "what comes back is not the source's fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_leaves_out_the_clusters_that_it_excludes() {
    let (east, west) = (Site::start("east").await, Site::start("west").await);
    east.put(ORDERS, &["10.1.0.1"], &[]);
    east.put(BOOKS, &["10.1.0.2"], &[]);
    west.import(&east, &json!({}));
    let orders = via("east", ORDERS);
    let books = via("east", BOOKS);
    west.until_endpoints(ORDERS, &[("10.1.0.1", "mcp/east", Some(&orders))]).await;
    west.until_endpoints(BOOKS, &[("10.1.0.2", "mcp/east", Some(&books))]).await;
    west.import(&east, &json!({ "exclude": ["east"] }));
    west.until_endpoints(ORDERS, &[]).await;
    west.until_endpoints(BOOKS, &[]).await;
}

/// The kinds that istiod asks a configuration source for, and waits for.
const KINDS: [&str; 16] = [
    "core/v1alpha1/MeshConfig",
    "extensions.istio.io/v1alpha1/TrafficExtension",
    "extensions.istio.io/v1alpha1/WasmPlugin",
    "networking.istio.io/v1/DestinationRule",
    "networking.istio.io/v1/Gateway",
    SERVICE_ENTRIES,
    "networking.istio.io/v1/Sidecar",
    "networking.istio.io/v1/VirtualService",
    "networking.istio.io/v1/WorkloadEntry",
    "networking.istio.io/v1/WorkloadGroup",
    "networking.istio.io/v1alpha3/EnvoyFilter",
    "networking.istio.io/v1beta1/ProxyConfig",
    "security.istio.io/v1/AuthorizationPolicy",
    "security.istio.io/v1/PeerAuthentication",
    "security.istio.io/v1/RequestAuthentication",
    "telemetry.istio.io/v1/Telemetry",
];

/// Asks as istiod's client of a configuration source does: one wildcard request of
/// each kind, an ACK for each answer, and each answer is all there is of its kind.
struct Istiod {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
    /// By name: hosts, endpoint addresses and version.
    entries: BTreeMap<String, (Vec<String>, Vec<String>, String)>,
    /// Whatever is neither service nor workload, by kind.
    others: BTreeMap<String, Vec<Resource>>,
    answered: BTreeSet<String>,
}

impl Istiod {
    async fn connect(mainstem: &Mainstem, namespace: &str) -> Self {
        let address = format!("http://{}", mainstem.xds());
        let mut client = AggregatedDiscoveryServiceClient::connect(address).await.unwrap();
        let (requests, outgoing) = mpsc::unbounded_channel();
        let api = Protobuf { kind: Some(value::Kind::StringValue("api".to_owned())) };
        for kind in KINDS {
            let node = Node {
                id: format!("sidecar~127.0.0.1~istiod.{namespace}~{namespace}.svc.cluster.local"),
                metadata: Some(Struct { fields: [("GENERATOR".to_owned(), api.clone())].into() }),
                ..Node::default()
            };
            let request = DiscoveryRequest {
                node: Some(node),
                type_url: kind.to_owned(),
                ..DiscoveryRequest::default()
            };
            requests.send(request).unwrap();
        }
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let answers = client.stream_aggregated_resources(outgoing).await.unwrap().into_inner();
        let (entries, others) = (BTreeMap::new(), BTreeMap::new());
        Self { requests, answers, entries, others, answered: BTreeSet::new() }
    }

    async fn take(&mut self) {
        let answer = tokio::time::timeout(TIMEOUT, self.answers.message()).await;
        let answer = answer.unwrap_or_else(|_| {
            panic!("silent after {:?}, with {:?}", self.answered, self.entries)
        });
        let answer = answer.unwrap().expect("the stream goes on");
        if answer.type_url == SERVICE_ENTRIES {
            self.entries = answer.resources.iter().map(entry).collect();
        } else {
            let resources = answer.resources.iter().map(resource).collect();
            self.others.insert(answer.type_url.clone(), resources);
        }
        self.answered.insert(answer.type_url.clone());
        let ack = DiscoveryRequest {
            version_info: answer.version_info,
            response_nonce: answer.nonce,
            type_url: answer.type_url,
            ..DiscoveryRequest::default()
        };
        self.requests.send(ack).unwrap();
    }

    async fn until(&mut self, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            self.take().await;
        }
    }

    fn addresses(&self, host: &str) -> Option<&[String]> {
        self.entries.get(&format!("shop/{host}")).map(|(_, addresses, _)| &**addresses)
    }
}

fn resource(any: &Any) -> Resource {
    assert_eq!(any.type_url, RESOURCE);
    Resource::decode(any.value.clone()).unwrap()
}

fn entry(any: &Any) -> (String, (Vec<String>, Vec<String>, String)) {
    let resource = resource(any);
    let (metadata, body) = (resource.metadata.unwrap(), resource.body.unwrap());
    let entry = ServiceEntry::decode(body.value).unwrap();
    let addresses = entry.endpoints.into_iter().map(|endpoint| endpoint.address).collect();
    (metadata.name, (entry.hosts, addresses, metadata.version))
}

#[tokio::test(flavor = "multi_thread")]
async fn istiod_is_answered_for_every_kind_and_always_has_the_complete_set() {
    let site = Site::start("east").await;
    site.put(ORDERS, &["10.1.0.1", "10.1.0.2"], &[]);
    site.put(BOOKS, &["10.1.0.3"], &["shop"]);
    let everything = |client: &Istiod| client.answered.len() == KINDS.len();
    let both = |client: &Istiod| client.entries.len() == 2;
    let mut istiod = Istiod::connect(&site.mainstem, "istio-system").await;
    istiod.until(|client| everything(client) && both(client)).await;
    assert_eq!(istiod.entries[&format!("shop/{ORDERS}")].0, [ORDERS]);
    assert_eq!(istiod.addresses(ORDERS), Some(&["10.1.0.1".into(), "10.1.0.2".into()][..]));
    let before = istiod.entries.clone();

    // One endpoint goes: both entries come again, one of them as it was.
    site.put(ORDERS, &["10.1.0.1"], &[]);
    istiod.until(|client| client.entries != before).await;
    assert_eq!(istiod.addresses(ORDERS), Some(&["10.1.0.1".into()][..]));
    let name = format!("shop/{BOOKS}");
    assert_eq!(istiod.entries[&name], before[&name]);
    assert_ne!(istiod.entries[&format!("shop/{ORDERS}")].2, before[&format!("shop/{ORDERS}")].2);

    // Outside of the root namespace only what it sees is told.
    let mut other = Istiod::connect(&site.mainstem, "pay").await;
    other.until(|client| everything(client) && !client.entries.is_empty()).await;
    assert_eq!(other.entries.keys().collect::<Vec<_>>(), [&format!("shop/{ORDERS}")]);

    site.remove(ORDERS);
    istiod.until(|client| client.entries.len() == 1).await;
    assert_eq!(istiod.addresses(BOOKS), Some(&["10.1.0.3".into()][..]));
}

const ROUTES: &str = "networking.istio.io/v1/VirtualService";

/// A source of one VirtualService.
struct Routes {
    source: StaticSource,
    address: String,
    _serving: DropGuard,
}

impl Routes {
    async fn start() -> Self {
        Self::at(0).await
    }

    async fn at(port: u16) -> Self {
        let source = StaticSource::new();
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, port).into()).await.unwrap();
        let address = format!("http://{}", listener.address().unwrap());
        let server = Server::new(ServerConfig::default(), Arc::new(source.clone()));
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { server.serve(listener, stop).await });
        Self { source, address, _serving: shutdown.drop_guard() }
    }

    /// Says `body`, which is no message of any kind.
    fn put(&self, body: &'static [u8]) -> Resource {
        let metadata = Metadata {
            name: "shop/routes".to_owned(),
            labels: [("team".to_owned(), "shop".to_owned())].into(),
            annotations: [("note".to_owned(), "ours".to_owned())].into(),
            ..Metadata::default()
        };
        let body = Any {
            type_url: "type.googleapis.com/istio.networking.v1alpha3.VirtualService".to_owned(),
            value: body.into(),
        };
        let resource = Resource { metadata: Some(metadata), body: Some(body) };
        let (kind, encoded) = (TypeUrl::from(ROUTES), resource.encode_to_vec());
        self.source.set(mainstem_xds::Resource::new(&kind, "shop/routes", encoded));
        resource
    }
}

/// Without what a control plane adds: its version, and where the object comes from.
fn as_said(mut resource: Resource) -> Resource {
    let metadata = resource.metadata.get_or_insert_default();
    metadata.version.clear();
    metadata.annotations.retain(|key, _| !key.starts_with("mainstem.io/"));
    resource
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_here_reads_passes_through_and_does_not_stay_for_ever() {
    let routes = Routes::start().await;
    let said = routes.put(b"\xffanything");
    let (east, west) = (Site::start("east").await, Site::start("west").await);
    let all = json!({ "kinds": ["ServiceEntry", ROUTES] });
    let only = json!({ "kinds": [ROUTES], "protocol": "sotw" });
    east.follow(&[mcp_registry("config", &routes.address, &only), west.exports(&all)]);
    west.import(&east, &all);
    let mut istiod = Istiod::connect(&west.mainstem, "istio-system").await;
    let has = |expected: &[&Resource]| {
        let expected: Vec<Resource> = expected.iter().map(|one| (*one).clone()).collect();
        move |client: &Istiod| {
            let found = client.others.get(ROUTES).cloned().unwrap_or_default();
            found.into_iter().map(as_said).collect::<Vec<_>>() == expected
        }
    };
    istiod.until(has(&[&said])).await;
    let metadata = istiod.others[ROUTES][0].metadata.clone().unwrap();
    let way = format!("[\"east>west mcp/config object {ROUTES} shop/routes\"]");
    assert_eq!(metadata.annotations.get("mainstem.io/origins"), Some(&way));

    let changed = routes.put(b"something else");
    istiod.until(has(&[&changed])).await;
    let mut elsewhere = Istiod::connect(&west.mainstem, "pay").await;
    elsewhere.until(|client| client.answered.contains(ROUTES)).await;
    assert_eq!(elsewhere.others[ROUTES], [], "another namespace does not see it");

    // Each of the two has it from the other as well.
    routes.source.remove(&TypeUrl::from(ROUTES), "shop/routes");
    istiod.until(has(&[])).await;
    let mut at_east = Istiod::connect(&east.mainstem, "istio-system").await;
    at_east.until(has(&[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_before_the_registries_is_answered_for_every_kind_once_they_are_there() {
    let files = Scratch::new("early");
    let port = free_port();
    let kinds = json!({ "kinds": [ROUTES] });
    let source = mcp_registry("config", &format!("http://127.0.0.1:{port}"), &kinds);
    let registries = [file_registry("early", &files), source];
    let settings = json!({ "cluster": "early" });
    let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &registries, settings).await;
    mainstem.until_registry("file/early", "live").await;
    let mut istiod = Istiod::connect(&mainstem, "istio-system").await;
    let early = tokio::time::timeout(Duration::from_millis(300), istiod.take()).await;
    assert!(early.is_err(), "{:?} were answered too early", istiod.answered);

    let routes = Routes::at(port).await;
    let said = routes.put(b"anything");
    istiod.until(|client| client.answered.len() == KINDS.len()).await;
    istiod.until(|client| client.others[ROUTES].len() == 1).await;
    assert_eq!(as_said(istiod.others[ROUTES][0].clone()), said);
}
