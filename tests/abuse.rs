//! What a client may cost: whatever it sends, memory stays bounded and nobody
//! else waits.
//!
//! Each abuse runs beside healthy streams that follow one service; the server's
//! memory is read from the kernel before and after. `make bench-abuse` has 1,000
//! healthy streams and more of each abuse, and prints how long changes take to
//! reach the last of them, quiet and not.

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::Mainstem;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::google::protobuf::{Any, Struct, Value as Field, value::Kind};
use mainstem_proto::google::rpc::Status;
use mainstem_test_support::{Scratch, TIMEOUT, eventually};
use mainstem_xds::TypeUrl;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
const SERVICE: &str = "outbound|80||web.shop.svc.cluster.local";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Scale {
    healthy: usize,
    abusers: usize,
    requests: usize,
    changes: u16,
    /// How many times as long as in the quiet run a change may take, where times are
    /// what the run is for.
    slower: Option<f64>,
}

impl Scale {
    fn of_this_run() -> Self {
        if std::env::var_os("MAINSTEM_ABUSE").is_some() {
            Self { healthy: 1_000, abusers: 50, requests: 200_000, changes: 9, slower: Some(2.0) }
        } else {
            Self { healthy: 100, abusers: 10, requests: 20_000, changes: 1, slower: None }
        }
    }
}

fn node(id: &str) -> Node {
    Node { id: format!("sidecar~127.0.0.1~{id}.shop~shop.svc.cluster.local"), ..Node::default() }
}

fn ask(type_url: &TypeUrl, names: Vec<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_string(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    }
}

/// A delta stream.
struct Stream {
    requests: UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

async fn connect(mainstem: &Mainstem) -> AggregatedDiscoveryServiceClient<Channel> {
    let address = format!("http://{}", mainstem.xds());
    AggregatedDiscoveryServiceClient::connect(address).await.expect("the server listens")
}

impl Stream {
    async fn open(mut client: AggregatedDiscoveryServiceClient<Channel>, id: &str) -> Self {
        let (requests, receiver): (_, UnboundedReceiver<DeltaDiscoveryRequest>) = unbounded();
        let first =
            DeltaDiscoveryRequest { node: Some(node(id)), ..ask(&EDS, vec![SERVICE.to_owned()]) };
        requests.unbounded_send(first).expect("the receiver is there");
        let answer = client.delta_aggregated_resources(receiver).await;
        Self { requests, responses: answer.expect("the server answers").into_inner() }
    }

    /// Sends a request, unless the server has ended the stream: that shows when it is read.
    fn send(&self, request: DeltaDiscoveryRequest) {
        let _ = self.requests.unbounded_send(request);
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let answer = tokio::time::timeout(TIMEOUT, self.responses.message()).await;
        let answer = answer.expect("the server answers in time").expect("the stream goes on");
        answer.expect("the stream goes on")
    }

    /// How the server ends the stream.
    async fn end(&mut self) -> Code {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
}

/// The port of the service's only endpoint, if the response has it.
fn port_in(response: &DeltaDiscoveryResponse) -> Option<u16> {
    use mainstem_proto::envoy::config::core::v3::address::Address::SocketAddress;
    use mainstem_proto::envoy::config::core::v3::socket_address::PortSpecifier::PortValue;
    use mainstem_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier::Endpoint;
    let any = response.resources.first()?.resource.as_ref()?;
    let assignment = any.unpack::<ClusterLoadAssignment>().expect("it is what it says");
    let endpoint = assignment.endpoints.first()?.lb_endpoints.first()?;
    let Some(Endpoint(endpoint)) = &endpoint.host_identifier else { return None };
    let Some(SocketAddress(address)) = &endpoint.address.as_ref()?.address else { return None };
    match address.port_specifier {
        Some(PortValue(port)) => u16::try_from(port).ok(),
        _ => None,
    }
}

/// Streams that behave, each with the port that it was told last.
struct Healthy {
    ports: Vec<watch::Receiver<u16>>,
    tasks: JoinSet<()>,
}

impl Healthy {
    async fn start(mainstem: &Mainstem, count: usize) -> Self {
        let (mut ports, mut tasks) = (Vec::new(), JoinSet::new());
        let mut client = connect(mainstem).await;
        for n in 0..count {
            if n % 100 == 0 {
                client = connect(mainstem).await;
            }
            let mut stream = Stream::open(client.clone(), &format!("healthy{n}")).await;
            let (port, receiver) = watch::channel(0);
            ports.push(receiver);
            tasks.spawn(async move {
                loop {
                    let Ok(Some(response)) = stream.responses.message().await else { return };
                    if let Some(told) = port_in(&response) {
                        port.send_replace(told);
                    }
                    let response_nonce = response.nonce;
                    stream.send(DeltaDiscoveryRequest { response_nonce, ..ask(&EDS, vec![]) });
                }
            });
        }
        Self { ports, tasks }
    }

    /// Waits until all know of this port.
    async fn until(&mut self, port: u16) {
        for told in &mut self.ports {
            let told = tokio::time::timeout(TIMEOUT, told.wait_for(|told| *told == port)).await;
            told.expect("a healthy stream hears of a change").expect("a healthy stream goes on");
        }
    }
}

/// The server without abuse: KiB, and how long a change takes.
struct Quiet {
    memory: u64,
    converged: Duration,
}

/// The server, its registry, and those who behave.
struct Stage {
    scale: Scale,
    files: Scratch,
    mainstem: Mainstem,
    healthy: Healthy,
    port: u16,
}

impl Stage {
    async fn set() -> Self {
        let scale = Scale::of_this_run();
        let files = Scratch::new("files");
        put(&files, 1);
        let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
        let mainstem = Mainstem::start(Ipv4Addr::LOCALHOST, &[registry]).await;
        mainstem.expect_refusals();
        let mut healthy = Healthy::start(&mainstem, scale.healthy).await;
        healthy.until(1).await;
        Self { scale, files, mainstem, healthy, port: 1 }
    }

    /// Makes changes; the median time until the last healthy stream knows of one.
    async fn converge(&mut self) -> Duration {
        let mut took = Vec::new();
        for _ in 0..self.scale.changes {
            self.port += 1;
            let begun = Instant::now();
            put(&self.files, self.port);
            self.healthy.until(self.port).await;
            took.push(begun.elapsed());
        }
        took.sort();
        took[took.len() / 2]
    }

    async fn open(&self, id: &str) -> Stream {
        Stream::open(connect(&self.mainstem).await, id).await
    }

    /// Resident memory of the server, in KiB.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.mainstem.process().pid());
        let status = std::fs::read_to_string(path).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("the kernel says it in kB")
    }

    /// What `mainstem proxies` says of a node.
    fn proxy(&self, id: &str) -> Option<Value> {
        let all = self.mainstem.cli(&["proxies"]);
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|proxy| proxy["name"] == format!("{id}.shop"))
    }

    /// How it is without abuse.
    async fn quiet(&mut self) -> Quiet {
        let converged = self.converge().await;
        Quiet { memory: self.memory(), converged }
    }

    /// Memory may have grown by so many KiB since it was quiet.
    async fn bounded(&mut self, abuse: &str, quiet: Quiet, bound: u64) {
        let (before, after) = (quiet.memory, self.memory());
        let beside = self.converge().await;
        let (ratio, streams) =
            (beside.as_secs_f64() / quiet.converged.as_secs_f64(), self.scale.healthy);
        println!("{abuse}: {before} -> {after} KiB, at most {bound} more");
        println!(
            "  last of {streams} healthy streams after {beside:.1?}: {ratio:.2} times {:.1?}",
            quiet.converged
        );
        assert!(after.saturating_sub(before) <= bound, "{abuse}: {before} -> {after} KiB");
        let slower = self.scale.slower.is_some_and(|most| ratio > most);
        assert!(!slower, "{abuse}: a change takes {ratio:.2} times as long as in the quiet run");
    }
}

fn put(files: &Scratch, port: u16) {
    let document = json!({ "services": [{
        "hostname": "web.shop.svc.cluster.local",
        "ports": [{ "number": 80, "name": "http", "protocol": "http" }],
        "endpoints": [{ "address": "127.0.0.1", "ports": { "http": port } }],
    }]});
    let file = files.write("web.tmp", document.to_string());
    std::fs::rename(&file, file.with_extension("yaml")).expect("a rename within a directory");
}

fn abuse_node(bytes: usize) -> Node {
    let text = Field { kind: Some(Kind::StringValue("x".repeat(bytes))) };
    let metadata = Struct { fields: [("LABELS".to_owned(), text)].into() };
    Node { metadata: Some(metadata), ..node("large") }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_clients_send_memory_is_bounded_and_healthy_streams_converge() {
    let mut stage = Stage::set().await;
    let abusers = stage.scale.abusers;

    // Names that do not exist, each client's its own.
    let before = stage.quiet().await;
    let mut streams = Vec::new();
    for abuser in 0..abusers {
        let mut stream = stage.open(&format!("names{abuser}")).await;
        let response_nonce = stream.next().await.nonce;
        let names = (0..10_000).map(|n| format!("{abuser}-{n}")).collect();
        stream.send(DeltaDiscoveryRequest { response_nonce, ..ask(&EDS, names) });
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.next().await;
    }
    let each = 6 << 10;
    stage.bounded("10,000 names", before, abusers as u64 * each).await;
    drop(streams);

    // A megabyte of node, and more than that.
    let before = stage.quiet().await;
    let mut streams = Vec::new();
    for abuser in 0..abusers {
        let (requests, receiver) = unbounded();
        let bytes = if abuser == 0 { 2 << 20 } else { 1_000_000 };
        let first = DeltaDiscoveryRequest {
            node: Some(abuse_node(bytes)),
            ..ask(&EDS, vec![SERVICE.to_owned()])
        };
        requests.unbounded_send(first).expect("the receiver is there");
        let answer = connect(&stage.mainstem).await.delta_aggregated_resources(receiver).await;
        let responses = answer.expect("the server answers").into_inner();
        streams.push(Stream { requests, responses });
    }
    assert_eq!(streams[0].end().await, Code::ResourceExhausted);
    for stream in &mut streams[1..] {
        stream.next().await;
    }
    stage.bounded("1 MB of node", before, abusers as u64 * (8 << 10)).await;
    drop(streams);

    // Requests without end, whose answers nobody reads.
    let before = stage.quiet().await;
    let endless = stage.open("endless").await;
    for n in 1..=stage.scale.requests {
        let resource_names_unsubscribe = vec![format!("name{}", n - 1)];
        endless.send(DeltaDiscoveryRequest {
            resource_names_unsubscribe,
            ..ask(&EDS, vec![format!("name{n}")])
        });
    }
    stage.bounded("endless requests", before, 64 << 10).await;
    drop(endless);

    // Types that nobody knows: too many, and one whose name is a book.
    let before = stage.quiet().await;
    for long in [false, true] {
        let mut stream = stage.open("types").await;
        for n in 0..40 {
            let name = if long { "x".repeat(100_000) } else { format!("test.T{n}") };
            let type_url = TypeUrl::from(format!("type.googleapis.com/{name}").as_str());
            stream.send(ask(&type_url, vec!["a".to_owned()]));
        }
        assert_eq!(stream.end().await, Code::ResourceExhausted);
    }
    stage.bounded("unknown types", before, 32 << 10).await;

    // Refusals with megabytes of text, and details that are nothing.
    let before = stage.quiet().await;
    let mut streams = Vec::new();
    for abuser in 0..abusers {
        let mut stream = stage.open(&format!("garbage{abuser}")).await;
        let response_nonce = stream.next().await.nonce;
        let garbage = Any { type_url: "\u{1}".repeat(1_000), value: vec![0xff; 1_000_000].into() };
        let message = "é".repeat(1_000_000);
        let error_detail = Some(Status { code: -7, message, details: vec![garbage] });
        stream.send(DeltaDiscoveryRequest { response_nonce, error_detail, ..ask(&EDS, vec![]) });
        streams.push(stream);
    }
    for abuser in 0..abusers {
        let id = format!("garbage{abuser}");
        eventually("a refusal is listed, and short", TIMEOUT, async || {
            let proxy = stage.proxy(&id).unwrap_or_default();
            let said = proxy["types"][0]["nacked"]["message"].as_str().map(str::len);
            if said == Some(16 << 10) { Ok(()) } else { Err(proxy.to_string()) }
        })
        .await;
    }
    // A stream keeps the buffer that its largest request needed.
    let bound = (abusers as u64 + 8) * (4 << 10);
    stage.bounded("garbage in refusals", before, bound).await;
    drop(streams);

    // Clients that take a response and never say so: seen, with the time.
    let stuck = stage.open("stuck").await;
    eventually("it is behind, and since when", TIMEOUT, async || {
        let proxy = stage.proxy("stuck").unwrap_or_default();
        let of = &proxy["types"][0];
        let seen = of["state"] == "stale" && of["staleSince"].is_string();
        if seen { Ok(()) } else { Err(proxy.to_string()) }
    })
    .await;
    drop(stuck);

    // All connect anew, again and again.
    let before = stage.quiet().await;
    let storm: Vec<_> = (0..abusers)
        .map(|abuser| {
            let address = format!("http://{}", stage.mainstem.xds());
            tokio::spawn(async move {
                let connect = AggregatedDiscoveryServiceClient::connect;
                for _ in 0..20 {
                    let client = connect(address.clone()).await.expect("the server listens");
                    Stream::open(client, &format!("storm{abuser}")).await.next().await;
                }
            })
        })
        .collect();
    stage.bounded("a storm of connections", before, 64 << 10).await;
    for one in storm {
        one.await.expect("everybody is served in a storm");
    }

    // Nobody of those who behave was lost, and of the others nobody is left.
    assert_eq!(stage.healthy.tasks.len(), stage.scale.healthy);
    eventually("only healthy streams are left", TIMEOUT, async || {
        let left = stage.mainstem.cli(&["proxies"]).as_array().map_or(0, Vec::len);
        if left == stage.scale.healthy { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_watched_as_they_get_behind_and_catch_up() {
    let files = Scratch::new("files");
    put(&files, 1);
    let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
    let mainstem = Mainstem::start(Ipv4Addr::LOCALHOST, &[registry]).await;
    let mut watch = tokio::process::Command::from(mainstem.command(&["proxies", "--watch"]))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary under test starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut until = async |word: &str| {
        let found = tokio::time::timeout(TIMEOUT, async {
            while let Some(line) = lines.next_line().await.expect("it prints text") {
                if line.starts_with("slow.shop") && line.contains(word) {
                    return true;
                }
            }
            false
        });
        assert!(found.await.unwrap_or(false), "{word} is shown");
    };

    let mut stream = Stream::open(connect(&mainstem).await, "slow").await;
    let response_nonce = stream.next().await.nonce;
    until(" stale ").await;
    stream.send(DeltaDiscoveryRequest { response_nonce, ..ask(&EDS, vec![]) });
    until(" synced ").await;
}
