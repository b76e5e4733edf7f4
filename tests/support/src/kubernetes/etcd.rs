//! The store of one or more clusters.

use reqwest::Method;
use serde_json::{Value, json};

use crate::claim::free_port;
use crate::eventually::TIMEOUT;
use crate::http_client::{HttpClient, good};
use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::tools;

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    url: String,
    _scratch: Scratch,
}

impl Etcd {
    /// Starts etcd and waits until it is ready.
    pub async fn start() -> Self {
        let etcd = Self::spawn();
        etcd.ready().await;
        etcd
    }

    pub(super) fn spawn() -> Self {
        let scratch = Scratch::new("etcd");
        let url = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let program = Program::new(tools::kubernetes_binary("etcd"))
            .arg("--data-dir")
            .arg(scratch.path().join("data"))
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--unsafe-no-fsync", "--log-level=warn"]);
        let process = Process::spawn("etcd", program, scratch.path());
        Self { process, url, _scratch: scratch }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Forgets all revisions before the present one. A watch that wants to go on
    /// from an earlier one, and a list that wants to be continued from one, is
    /// answered 410, at once by an API server without
    /// [`watch_cache`](super::KubernetesOptions::watch_cache) or just restarted.
    pub async fn compact(&self) {
        let status = self.call("/v3/maintenance/status", &json!({})).await;
        let revision = status["header"]["revision"].clone();
        let body = json!({ "revision": revision, "physical": true });
        self.call("/v3/kv/compaction", &body).await;
    }

    pub(super) async fn ready(&self) {
        self.process
            .wait_until("is ready", TIMEOUT, async || {
                let client = HttpClient::new(&self.url);
                let answer = client.json(Method::GET, "/health", None).await?;
                good("etcd: health", answer)
            })
            .await;
    }

    async fn call(&self, path: &str, body: &Value) -> Value {
        let answer = HttpClient::new(&self.url).json(Method::POST, path, Some(body)).await;
        answer
            .and_then(|answer| good(path, answer))
            .unwrap_or_else(|error| panic!("etcd: {error}\n{}", self.process.log_tail()))
    }
}
