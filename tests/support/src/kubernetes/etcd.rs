//! The store of one or more clusters.

use std::fs;
use std::path::{Path, PathBuf};

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
    scratch: Scratch,
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
        Self { process, url, scratch }
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

    /// A copy of everything that it keeps, as it stands on disk.
    pub async fn save(&self) -> Scratch {
        let copy = Scratch::new("etcd-copy");
        self.process.pause();
        copy_all(&self.data(), copy.path());
        self.process.resume();
        self.ready().await;
        copy
    }

    /// Kills it and starts it with what a copy holds; with nothing, without one.
    pub async fn restore(&self, copy: Option<&Scratch>) {
        self.process.kill9();
        fs::remove_dir_all(self.data()).expect("etcd has a directory");
        if let Some(copy) = copy {
            copy_all(copy.path(), &self.data());
        }
        self.process.restart();
        self.ready().await;
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
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

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory of this test");
    for entry in fs::read_dir(from).expect("a directory of this test") {
        let entry = entry.expect("a directory of this test");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file of this test");
        }
    }
}
