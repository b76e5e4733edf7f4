//! Machines that register themselves in a memory registry, through a proxy, and send
//! heartbeats.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use mainstem_test_support::{
    Fault as Network, FaultProxy, HttpClient, Scratch, TIMEOUT, eventually,
};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sites::address;
use crate::Fault;

const TOKEN: &str = "a-token-of-enough-length";
/// Within a heartbeat.
const MIDDLE: u64 = 100;

pub struct MemorySite {
    files: Scratch,
    machines: Arc<Machines>,
    proxy: Option<FaultProxy>,
    running: Option<DropGuard>,
}

#[derive(Default)]
struct Machines {
    /// Host `n` of a service is one machine.
    up: Mutex<BTreeSet<(String, u8)>>,
    /// Whether they are cut off where they are.
    paused: AtomicBool,
}

impl MemorySite {
    pub fn new() -> Self {
        let files = Scratch::new("machines");
        files.write("tokens", format!("machines:{TOKEN}\n"));
        Self { files, machines: Arc::default(), proxy: None, running: None }
    }

    pub fn config(&self) -> Value {
        json!({
            "type": "memory", "cluster": "vms", "hosts": ["*"],
            "tokenFile": self.files.path().join("tokens"),
            "stateFile": self.files.path().join("state.json"),
            "ttl": "1s", "removeAfter": "10m",
        })
    }

    /// From now on the machines register with the control plane whose admin API is there.
    pub fn attach(&mut self, admin: SocketAddr) {
        let proxy = FaultProxy::start(admin);
        let (machines, client) = (self.machines.clone(), HttpClient::new(&proxy.http_url()));
        let ended = CancellationToken::new();
        let end = ended.clone();
        tokio::spawn(async move { end.run_until_cancelled(machines.run(client)).await });
        (self.proxy, self.running) = (Some(proxy), Some(ended.drop_guard()));
    }

    pub fn put(&self, service: &str, hosts: &[u8]) {
        let mut up = self.machines.up.lock();
        up.retain(|(of, _)| of != service);
        up.extend(hosts.iter().map(|host| (service.to_owned(), *host)));
    }

    fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().expect("the control plane runs")
    }

    pub async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Stopped => self.machines.paused.store(true, Ordering::Relaxed),
            Fault::Cut => self.proxy().set(Network::CutAfter(MIDDLE)).await,
            Fault::Slow => self.proxy().set(Network::Delay(Duration::from_secs(10))).await,
            other => unreachable!("no machine has {other:?}"),
        }
    }

    pub async fn heal(&self) {
        self.machines.paused.store(false, Ordering::Relaxed);
        if let Some(proxy) = &self.proxy {
            proxy.set(Network::None).await;
        }
    }
}

impl MemorySite {
    /// Waits until the state file has who is up: what was said just before a crash is lost.
    pub async fn is_kept(&self) {
        let up: BTreeSet<String> = self.machines.up.lock().iter().map(id).collect();
        let file = self.files.path().join("state.json");
        eventually("the state file is up to date", TIMEOUT, async || {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let kept: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let kept = kept["registrations"].as_array().into_iter().flatten();
            let ids = kept.filter_map(|one| one["body"]["id"].as_str().map(str::to_owned));
            let ids: BTreeSet<String> = ids.collect();
            if ids == up { Ok(()) } else { Err(format!("{ids:?}")) }
        })
        .await;
    }
}

impl Machines {
    /// Sends heartbeats, registers who is not known and takes leave for who is down.
    async fn run(&self, client: HttpClient) {
        let mut registered = BTreeSet::new();
        let mut beats = tokio::time::interval(Duration::from_millis(200));
        loop {
            beats.tick().await;
            if self.paused.load(Ordering::Relaxed) {
                continue;
            }
            let up = self.up.lock().clone();
            let down = registered.difference(&up).cloned().collect::<Vec<_>>();
            join_all(down.iter().map(|machine| leave(&client, machine))).await;
            join_all(up.iter().map(|machine| beat(&client, machine))).await;
            registered = up;
        }
    }
}

async fn beat(client: &HttpClient, machine: &(String, u8)) {
    if say(client, "heartbeat", json!({ "id": id(machine) })).await == Some(StatusCode::NOT_FOUND) {
        say(client, "register", registration(machine)).await;
    }
}

async fn leave(client: &HttpClient, machine: &(String, u8)) {
    say(client, "deregister", json!({ "id": id(machine) })).await;
}

/// What is answered, if anything is.
async fn say(client: &HttpClient, verb: &str, body: Value) -> Option<StatusCode> {
    let request = client.request(Method::POST, &format!("/api/v1/memory/vms/{verb}"));
    let request = request.bearer_auth(TOKEN).timeout(Duration::from_secs(1));
    Some(request.body(body.to_string()).send().await.ok()?.status())
}

fn id((service, host): &(String, u8)) -> String {
    format!("{service}-{host}")
}

fn registration(machine: &(String, u8)) -> Value {
    let (service, host) = machine;
    json!({ "id": id(machine), "services": [{
        "hostname": format!("{service}.shop"),
        "ports": [{ "number": 80, "name": "http", "protocol": "http", "targetPort": 8080 }],
        "endpoints": [{ "address": address(service, *host) }],
    }]})
}
