//! Decisions of the guard and of operators: what is said to one replica holds on all
//! that share a store, and their answers are the same bytes all along. And nobody
//! without the admin token decides anything.

mod common;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use common::Mainstem;
use mainstem_test_support::{
    Consul, ConsulOptions, HttpClient, Kubernetes, Scratch, Storage, TIMEOUT, eventually,
};
use pretty_assertions::assert_eq;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

const HOST: &str = "orders.shop.svc.cluster.local";
const TOKEN: &str = "a-token-of-enough-length";

/// Where replicas keep their control state.
enum Store {
    File(Scratch),
    Kubernetes(Kubernetes, String),
    Consul(String),
}

impl Store {
    fn settings(&self) -> Value {
        match self {
            Self::File(directory) => json!({ "state": { "directory": directory.path() } }),
            Self::Kubernetes(kubernetes, namespace) => json!({ "control": {
                "store": "kubernetes",
                "kubernetes": { "kubeconfig": kubernetes.kubeconfig(), "namespace": namespace },
            }}),
            Self::Consul(address) => {
                json!({ "control": { "store": "consul", "consul": { "address": address } } })
            }
        }
    }
}

/// Two control planes with a Consul and a directory of files as registries, and a store
/// that they share.
struct Pair {
    consul: Consul,
    replicas: [Mainstem; 2],
    keys: Scratch,
    _files: Scratch,
    _store: Store,
}

impl Pair {
    /// Four instances in Consul, one endpoint in a file.
    async fn start(consul: Consul, store: Store) -> Self {
        for n in 1..=4 {
            register(&consul, n).await;
        }
        let files = Scratch::new("files");
        files.write("orders.yaml", document().to_string());
        let keys = Scratch::new("keys");
        keys.write("token", format!("anna:{TOKEN}\n"));
        keys.write("wrong", "not-the-right-token\n");
        let registries = [
            json!({
                "type": "consul", "cluster": "dc1", "address": consul.http_url(),
                "hostname": "{service}.shop.svc.cluster.local", "hosts": ["*"],
                "servicePort": 80, "protocol": "http",
            }),
            json!({ "type": "file", "cluster": "static", "path": files.path(), "joins": ["*"] }),
            json!({ "type": "memory", "cluster": "vms" }),
        ];
        let replica = async |name: &str| {
            let mut settings = store.settings();
            if settings["state"].is_null() {
                settings["state"] = json!({ "directory": keys.path().join(name) });
            }
            settings["admin"] = json!({
                "tokenFile": keys.path().join("token"),
                "auditFile": keys.path().join(format!("{name}.jsonl")),
            });
            let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &registries, settings).await;
            mainstem.ready().await;
            mainstem
        };
        let replicas = [replica("one").await, replica("two").await];
        Self { consul, replicas, keys, _files: files, _store: store }
    }

    fn token_file(&self, name: &str) -> String {
        self.keys.path().join(name).display().to_string()
    }

    /// `mainstem ARGS --token-file …`, said to one replica.
    fn say(&self, replica: usize, args: &[&str]) -> Value {
        let file = self.token_file("token");
        self.replicas[replica].cli(&[args, &["--token-file", &file]].concat())
    }

    /// Waits until both replicas tell a proxy of these endpoints, in the same bytes.
    async fn until(&self, what: &str, expected: &str) {
        eventually(&format!("{what}: {expected}"), TIMEOUT, async || {
            let [one, two] = self.answers().await;
            match endpoints(&one) {
                found if found == expected && one == two => Ok(()),
                found => Err(format!("{found} and {}", endpoints(&two))),
            }
        })
        .await;
    }

    /// The clusters and the endpoints of both.
    async fn answers(&self) -> [[Value; 2]; 2] {
        let [one, two] = &self.replicas;
        [poll(one).await, poll(two).await]
    }

    /// The decisions of a kind that a replica lists.
    fn decisions(&self, replica: usize, kind: &str) -> Vec<Value> {
        let control = self.replicas[replica].cli(&["control"]);
        let all = control["decisions"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|decision| decision["kind"] == kind).collect()
    }
}

async fn register(consul: &Consul, n: u8) {
    let instance = json!({
        "ID": format!("orders-{n}"), "Name": "orders",
        "Address": format!("10.0.0.{n}"), "Port": 8080,
    });
    consul.register(&instance).await;
}

fn document() -> Value {
    json!({ "services": [{
        "hostname": HOST,
        "ports": [{ "number": 80, "name": "http", "protocol": "http" }],
        "endpoints": [{ "address": "10.9.9.9", "ports": { "http": 8080 } }],
    }]})
}

/// What a proxy without a stream is told: clusters, and the endpoints of the service.
async fn poll(mainstem: &Mainstem) -> [Value; 2] {
    let client = HttpClient::new(&format!("http://{}", mainstem.xds()));
    let node = json!({ "id": "sidecar~10.9.9.1~client.shop~shop.svc.cluster.local" });
    let ask = async |path: &str, names: Value| {
        let request = json!({ "node": node, "resource_names": names });
        let answer = client.request(Method::POST, path).json(&request).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("polling {path}: {error:?}"));
        answer.json::<Value>().await.expect("an answer is JSON")
    };
    let names = json!([format!("outbound|80||{HOST}")]);
    [ask("/v3/discovery:clusters", json!([])).await, ask("/v3/discovery:endpoints", names).await]
}

/// `1 2=5 9@1`: the last parts of addresses, weights but 1, priorities but 0.
fn endpoints(answer: &[Value; 2]) -> String {
    let mut found = Vec::new();
    let localities = answer[1]["resources"][0]["endpoints"].as_array().cloned();
    for locality in localities.unwrap_or_default() {
        for endpoint in locality["lb_endpoints"].as_array().into_iter().flatten() {
            let address = &endpoint["endpoint"]["address"]["socket_address"]["address"];
            let last = address.as_str().and_then(|text| text.rsplit('.').next());
            let mut text = last.unwrap_or_default().to_owned();
            if let Some(weight) = endpoint["load_balancing_weight"].as_u64().filter(|w| *w > 1) {
                text += &format!("={weight}");
            }
            let priority = locality["priority"].as_u64().unwrap_or_default();
            if priority > 0 {
                text += &format!("@{priority}");
            }
            found.push((priority, text));
        }
    }
    found.sort();
    found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::file("file")]
#[case::kubernetes("kubernetes")]
#[case::consul("consul")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_one_replica_holds_on_both(#[case] kind: &str) {
    let consul = Consul::start(ConsulOptions::default()).await;
    let store = match kind {
        "kubernetes" => {
            let kubernetes = Kubernetes::shared().await;
            let namespace = kubernetes.namespace("control").await;
            Store::Kubernetes(kubernetes, namespace)
        }
        "consul" => Store::Consul(consul.http_url()),
        _ => Store::File(Scratch::new("state")),
    };
    let pair = Pair::start(consul, store).await;
    pair.until("before", "1 2 3 4 9").await;

    // A freeze: what Consul does meanwhile changes nothing, and then all at once.
    let frozen = pair.say(0, &["freeze", "consul/dc1", "--for", "10m", "--reason", "migration"]);
    assert_eq!(frozen["begun"][0]["kind"], "freeze", "{frozen}");
    eventually("the other knows", TIMEOUT, async || {
        if pair.decisions(1, "freeze").len() == 1 { Ok(()) } else { Err("it does not") }
    })
    .await;
    pair.consul.deregister("orders-4").await;
    register(&pair.consul, 5).await;
    eventually("both have seen the change", TIMEOUT, async || {
        let seen = [0, 1].map(|n| pair.decisions(n, "freeze")[0]["services"].clone());
        if seen == [json!(1), json!(1)] { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    pair.until("frozen", "1 2 3 4 9").await;
    // A replica that starts now serves the same.
    pair.replicas[1].kill_and_start().await;
    pair.replicas[1].ready().await;
    pair.until("frozen, after a restart", "1 2 3 4 9").await;
    pair.say(1, &["unfreeze", "consul/dc1"]);
    pair.until("thawed", "1 2 3 5 9").await;

    // A hold: both keep the same, until one is told to let go.
    for n in [1, 2, 3] {
        pair.consul.deregister(&format!("orders-{n}")).await;
    }
    pair.until("held", "5 9 1@1 2@1 3@1").await;
    assert_eq!(pair.decisions(1, "hold").len(), 1);
    let released = pair.say(1, &["release", HOST, "--reason", "on purpose"]);
    assert_eq!(released["ended"][0]["kind"], "hold", "{released}");
    pair.until("released", "5 9").await;

    // A drain, by halves and to the end, and back.
    pair.say(0, &["drain", "consul/dc1", "--percent", "50"]);
    pair.until("half drained", "5 9=2").await;
    pair.say(1, &["drain", "consul/dc1"]);
    pair.until("drained", "9 5@1").await;
    assert_eq!(pair.replicas[0].registry("consul/dc1")["decisions"][0]["share"], 0);
    pair.say(0, &["undrain", "consul/dc1"]);
    pair.until("undrained", "5 9").await;

    // A track: its proxies keep what they have.
    pair.say(0, &["freeze", "--proxies", "namespace=shop"]);
    eventually("the other knows", TIMEOUT, async || {
        if pair.decisions(1, "track").len() == 1 { Ok(()) } else { Err("it does not") }
    })
    .await;
    register(&pair.consul, 6).await;
    for replica in &pair.replicas {
        eventually("the registry has changed", TIMEOUT, async || {
            let found = replica.cli(&["endpoints", HOST]);
            let count = found[0]["endpoints"].as_array().map_or(0, Vec::len);
            if count == 3 { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    }
    pair.until("on a track", "5 9").await;
    pair.replicas[0].kill_and_start().await;
    pair.replicas[0].ready().await;
    pair.until("on a track, after a restart", "5 9").await;
    pair.say(1, &["unfreeze", "--proxies", "namespace=shop"]);
    pair.until("off the track", "5 6 9").await;

    // Both are told something at the same time: nothing is lost.
    std::thread::scope(|scope| {
        for replica in [0, 1] {
            let pair = &pair;
            scope.spawn(move || {
                for n in 0..5 {
                    let group = format!("name=r{replica}-{n}");
                    pair.say(replica, &["freeze", "--proxies", &group]);
                }
            });
        }
    });
    eventually("both know all", TIMEOUT, async || {
        let known = [0, 1].map(|replica| pair.decisions(replica, "track").len());
        if known == [10, 10] { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
}

#[rstest]
#[case::kubernetes("kubernetes")]
#[case::consul("consul")]
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_delays_nothing_and_loses_nothing(#[case] kind: &str) {
    let registry = Consul::start(ConsulOptions::default()).await;
    let (kubernetes, consul) = match kind {
        "kubernetes" => (Some(Kubernetes::start().await), None),
        // On disk: it comes back with what it had.
        _ => {
            let options = ConsulOptions { storage: Storage::Disk, ..ConsulOptions::default() };
            (None, Some(Consul::start(options).await))
        }
    };
    let store = match (&kubernetes, &consul) {
        (Some(kubernetes), _) => {
            let namespace = kubernetes.namespace("control").await;
            Store::Kubernetes(kubernetes.clone(), namespace)
        }
        (_, Some(consul)) => Store::Consul(consul.http_url()),
        (None, None) => unreachable!("one of them is there"),
    };
    let pair = Pair::start(registry, store).await;
    pair.until("before", "1 2 3 4 9").await;
    pair.say(0, &["freeze", "file/static"]);
    eventually("both know", TIMEOUT, async || {
        if pair.decisions(1, "freeze").len() == 1 { Ok(()) } else { Err("they do not") }
    })
    .await;

    // Silent, and then gone.
    kubernetes.iter().for_each(Kubernetes::pause);
    consul.iter().for_each(Consul::pause);
    let asked = std::time::Instant::now();
    let drained = pair.say(0, &["drain", "consul/dc1"]);
    assert_eq!(drained["begun"][0]["share"], 0, "{drained}");
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    kubernetes.iter().for_each(Kubernetes::kill9);
    consul.iter().for_each(Consul::kill9);
    eventually("it is in force, and its store is said to be down", TIMEOUT, async || {
        let status = pair.replicas[0].cli(&["status"]);
        let found = endpoints(&poll(&pair.replicas[0]).await);
        let store = &status["controlStore"];
        let down = store["error"].is_string() && store["waiting"] == 1;
        if down && found == "9 1@1 2@1 3@1 4@1" { Ok(()) } else { Err(format!("{found} {store}")) }
    })
    .await;
    // What registries say flows meanwhile.
    register(&pair.consul, 5).await;
    eventually("a new instance is there", TIMEOUT, async || {
        let found = endpoints(&poll(&pair.replicas[0]).await);
        if found == "9 1@1 2@1 3@1 4@1 5@1" { Ok(()) } else { Err(found) }
    })
    .await;

    if let Some(kubernetes) = &kubernetes {
        kubernetes.restart().await;
    }
    if let Some(consul) = &consul {
        consul.restart().await;
    }
    pair.until("the other follows", "9 1@1 2@1 3@1 4@1 5@1").await;
    assert_eq!(pair.decisions(1, "freeze").len(), 1);
    eventually("all is well", TIMEOUT, async || {
        let store = pair.replicas[0].cli(&["status"])["controlStore"].clone();
        let well = store["error"].is_null() && store["waiting"] == 0;
        if well { Ok(()) } else { Err(store.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_the_admin_token_decides_and_every_attempt_is_written_down() {
    let consul = Consul::start(ConsulOptions::default()).await;
    let pair = Pair::start(consul, Store::File(Scratch::new("state"))).await;
    let said = |args: &[&str]| {
        let output =
            pair.replicas[0].command(args).env_remove("MAINSTEM_ADMIN_TOKEN_FILE").output();
        let output = output.expect("the binary under test starts");
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let drain = ["drain", "consul/dc1"];
    assert!(said(&drain).contains("needs the admin token"), "{}", said(&drain));
    let wrong = pair.token_file("wrong");
    let refused = said(&["drain", "consul/dc1", "--token-file", &wrong]);
    assert!(refused.contains("is not the admin token of this control plane"), "{refused}");
    let right = pair.token_file("token");
    let unknown = said(&["drain", "consul/dc7", "--token-file", &right]);
    assert!(unknown.contains("there are consul/dc1, file/static"), "{unknown}");
    assert_eq!(pair.replicas[0].cli(&["control"])["decisions"], json!([]));

    pair.say(0, &["drain", "consul/dc1", "--over", "1h", "--reason", "retired"]);
    let file = pair.keys.path().join("one.jsonl");
    let mode = std::fs::metadata(&file).expect("the audit log is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("the audit log is text");
    assert!(!text.contains(TOKEN) && !text.contains("not-the-right-token"), "{text}");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let brief = |line: &Value| {
        let word = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", word("who"), word("verb"), word("target"), word("result"))
    };
    let last = lines.last().expect("a line");
    assert_eq!(brief(last), "anna drain consul/dc1 done");
    assert_eq!(last["reason"], "retired");
    let refused: Vec<String> = lines[..lines.len() - 1].iter().map(brief).collect();
    assert_eq!(refused[0], "- drain - refused");
    assert_eq!(refused[refused.len() - 1], "anna drain consul/dc7 refused");

    // People see it, too.
    let table = pair.replicas[0].table(&["control"]);
    assert!(table.contains("100% of its weight, going to 0%"), "{table}");
    let metrics = pair.replicas[0].metrics().await;
    let weight = "mainstem_registry_weight_percent{registry=\"consul/dc1\"}";
    assert!(metrics.contains(weight), "{metrics}");
}

/// What the description says of something, as far as these answers need it: whether
/// `value` fits, and has nothing that the description does not know.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let found = root.pointer(name.trim_start_matches('#'));
        return check(value, found.unwrap_or_else(|| panic!("{name} at {at}")), root, at);
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let null = any.iter().any(|one| one["type"] == "null");
        let rest: Vec<_> = any.iter().filter(|one| one["type"] != "null").collect();
        if (null && value.is_null()) || rest.len() != 1 {
            return;
        }
        return check(value, rest[0], root, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let said = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = said.contains(&kind) || (kind == "integer" && said.contains(&"number"));
    assert!(fits, "{at} is {kind}, not {said:?}");
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], root, &format!("{at}[{index}]"));
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(fields.contains_key(name), "{at} lacks {name}");
    }
    for (name, field) in fields {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => {
                check(field, &schema["additionalProperties"], root, &format!("{at}.{name}"));
            }
            (Value::Null, Value::Bool(true)) => {}
            (Value::Null, _) => panic!("{at} has {name}, which is not described"),
            (own, _) => check(field, own, root, &format!("{at}.{name}")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_admin_api_is_as_its_openapi_description_says() {
    let consul = Consul::start(ConsulOptions::default()).await;
    let pair = Pair::start(consul, Store::File(Scratch::new("state"))).await;
    pair.until("before", "1 2 3 4 9").await;
    for args in [
        &["freeze", HOST, "--reason", "r"][..],
        &["freeze", "--proxies", "namespace=shop"],
        &["drain", "consul/dc1", "--over", "1h"],
    ] {
        pair.say(0, args);
    }
    let mainstem = &pair.replicas[0];
    let admin = HttpClient::new(&format!("http://{}", mainstem.admin()));
    let description = mainstem.ask("/openapi.json").await;
    let paths = description["paths"].as_object().expect("paths").clone();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin.md");
    let docs = std::fs::read_to_string(docs).expect("the documentation is there");
    let mut compared = 0;
    for (path, methods) in &paths {
        let name = path.rsplit('/').next().expect("a path has a last part");
        assert!(docs.contains(name), "{path} in admin.md");
        let asked = path.replace("{cluster}", "vms");
        let Some(get) = methods.get("get") else {
            let answer = admin.request(Method::GET, &asked).send().await.expect("an answer");
            assert_eq!(answer.status(), 405, "{path}");
            continue;
        };
        let answer = admin.fetch(&asked, &[]).await.expect("an answer");
        let mut needs = get["parameters"].as_array().into_iter().flatten();
        if needs.any(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
            assert_eq!(answer.status, 400, "{path}");
            continue;
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let content = &get["responses"]["200"]["content"]["application/json"]["schema"];
        if path != "/openapi.json" && !content.is_null() {
            let value: Value = serde_json::from_str(&answer.body).expect("an answer is JSON");
            check(&value, content, &description, path);
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared}");

    // What is not described is not there.
    let unknown = admin.fetch("/api/v1/none", &[]).await.expect("an answer");
    assert_eq!(unknown.status, 404);
    for path in paths.keys() {
        assert!(unknown.body.contains(path.as_str()), "{path} in {}", unknown.body);
    }
}
