//! The merged registry handed on: to another Mainstem by delta, and to a client that
//! asks as istiod does, over state-of-the-world ADS.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use common::Mainstem;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use mainstem_proto::google::protobuf::{Struct, Value as Protobuf, value};
use mainstem_proto::istio::{RESOURCE, Resource, SERVICE_ENTRIES, ServiceEntry};
use mainstem_test_support::{Scratch, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use prost::Message;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
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
        let mut registry = json!({
            "type": "mcp",
            "cluster": other.name,
            "address": format!("http://{}", other.mainstem.xds()),
            "joins": ["*"],
            "guard": { "mode": "off" },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            registry[name] = value.clone();
        }
        self.mainstem.configure(&[file_registry(self.name, &self.files), registry]);
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
        Self { requests, answers, entries: BTreeMap::new(), answered: BTreeSet::new() }
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
            assert_eq!(answer.resources, [], "{}", answer.type_url);
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

fn entry(
    any: &mainstem_proto::google::protobuf::Any,
) -> (String, (Vec<String>, Vec<String>, String)) {
    assert_eq!(any.type_url, RESOURCE);
    let resource = Resource::decode(any.value.clone()).unwrap();
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
