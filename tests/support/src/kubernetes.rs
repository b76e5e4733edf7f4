//! A real Kubernetes API server on a real etcd.
//!
//! `Kubernetes` starts and supervises them, `objects` reads and writes objects,
//! `access` makes users with limited rights, `etcd` is the store.

mod access;
mod etcd;
mod objects;
mod options;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::OnceCell;

pub use access::RestrictedUser;
pub use etcd::Etcd;
pub use options::KubernetesOptions;

use crate::claim::free_port;
use crate::eventually::TIMEOUT;
use crate::http_client::HttpClient;
use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::tls::{Ca, Identity, key_pair};
use crate::tools;
use objects::Resource;

/// The token of a member of `system:masters`.
const ADMIN_TOKEN: &str = "mainstem-test-admin";

/// The API server's name besides its addresses.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// All but those that would end Pods on Nodes without a kubelet.
const CONTROLLERS: &str =
    "*,-node-lifecycle-controller,-taint-eviction-controller,-pod-garbage-collector-controller";

/// One cluster: an API server that is ready, its etcd, and a client with all
/// rights. Clones share the servers, which end with the last clone.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    servers: Arc<Servers>,
    client: HttpClient,
    /// What discovery said, by (apiVersion, kind).
    resources: Arc<Mutex<BTreeMap<(String, String), Resource>>>,
}

#[derive(Debug)]
struct Servers {
    api: Process,
    controllers: Mutex<Option<Process>>,
    etcd: Arc<Etcd>,
    port: u16,
    ca: Ca,
    namespaces: AtomicU32,
    scratch: Scratch,
}

static SHARED: OnceCell<Kubernetes> = OnceCell::const_new();

impl Kubernetes {
    /// A cluster of this test's own, without controllers.
    pub async fn start() -> Self {
        Self::start_with(KubernetesOptions::default()).await
    }

    /// The cluster that the tests of this process share, without controllers.
    /// Use a [`namespace`](Self::namespace) of your own in it, and do nothing to
    /// its servers.
    pub async fn shared() -> Self {
        let shared = SHARED.get_or_init(Self::start).await;
        Self {
            servers: Arc::clone(&shared.servers),
            // Connections end with the runtime of the test that opened them.
            client: client(shared.servers.port, &shared.servers.ca),
            resources: Arc::clone(&shared.resources),
        }
    }

    /// A cluster of this test's own.
    pub async fn start_with(options: KubernetesOptions) -> Self {
        let etcd = match options.etcd.clone() {
            Some(etcd) => etcd,
            None => Arc::new(Etcd::spawn()),
        };
        let scratch = Scratch::new("kubernetes");
        let ca = Ca::new("Kubernetes CA");
        write_files(&scratch, &ca);
        let port = free_port();
        // The API server waits for its etcd, so both start at once.
        let program = options.api_server(&etcd, port, scratch.path());
        let api = Process::spawn("kube-apiserver", program, scratch.path());
        let kubernetes = Self {
            client: client(port, &ca),
            servers: Arc::new(Servers {
                api,
                controllers: Mutex::new(None),
                etcd,
                port,
                ca,
                namespaces: AtomicU32::new(0),
                scratch,
            }),
            resources: Arc::default(),
        };
        kubernetes.servers.etcd.ready().await;
        kubernetes.ready().await;
        if options.controllers {
            kubernetes.start_controllers(&options);
        }
        kubernetes
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers.port))
    }

    /// A token with all rights.
    pub fn token(&self) -> &'static str {
        ADMIN_TOKEN
    }

    /// The authority behind the API server's certificate.
    pub fn ca(&self) -> &Ca {
        &self.servers.ca
    }

    /// The API server's process.
    pub fn process(&self) -> &Process {
        &self.servers.api
    }

    /// Its etcd, for other clusters beside it ([`KubernetesOptions::etcd`]) and
    /// for compaction.
    pub fn etcd(&self) -> &Arc<Etcd> {
        &self.servers.etcd
    }

    /// A kubeconfig file with all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_for(ADMIN_TOKEN, &self.url())
    }

    /// A kubeconfig file for a token, by way of `url`: the API server's, or that
    /// of a proxy on loopback before it.
    pub fn kubeconfig_for(&self, token: &str, url: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "clusters": [{ "name": "test", "cluster": {
                "server": url,
                "certificate-authority": self.servers.scratch.path().join("ca.pem"),
            }}],
        });
        let id = free_name(&self.servers.namespaces, "kubeconfig");
        self.servers.scratch.write(&id, config.to_string())
    }

    /// Makes a namespace of a new name that begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = free_name(&self.servers.namespaces, prefix);
        self.create(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name },
        }))
        .await;
        name
    }

    /// Kills the API server at once.
    pub fn kill9(&self) {
        self.servers.api.kill9();
    }

    /// Stops the API server where it is: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.servers.api.pause();
    }

    /// Lets a stopped API server go on.
    pub fn resume(&self) {
        self.servers.api.resume();
    }

    /// Kills the API server, if it still runs, and starts it on the same port
    /// and store. Ready when this returns.
    pub async fn restart(&self) {
        self.servers.api.restart();
        self.ready().await;
    }

    /// A copy of everything in it.
    pub async fn save(&self) -> Scratch {
        self.servers.etcd.save().await
    }

    /// Kills API server and store and starts them with what a copy holds; with
    /// nothing, without one. Ready when this returns.
    pub async fn restore(&self, copy: Option<&Scratch>) {
        self.servers.api.kill9();
        self.servers.etcd.restore(copy).await;
        self.restart().await;
    }

    /// Starts the API server again with a certificate that has expired. Nobody who
    /// looks at certificates connects to it any more; [`Self::renew`] mends it.
    pub fn expire(&self) {
        self.write_identity(&self.servers.ca.expired_server(&[SERVER_NAME]));
        self.servers.api.restart();
    }

    /// Starts the API server again with a good certificate. Ready when this returns.
    pub async fn renew(&self) {
        self.write_identity(&self.servers.ca.server(&[SERVER_NAME]));
        self.restart().await;
    }

    fn write_identity(&self, identity: &Identity) {
        self.servers.scratch.write("server.pem", &identity.cert_pem);
        self.servers.scratch.write("server.key", &identity.key_pem);
    }

    async fn ready(&self) {
        self.servers
            .api
            .wait_until("is ready", 2 * TIMEOUT, async || {
                let response = self.client.get("/readyz").await?;
                let status = response.status();
                let body = response.text().await.map_err(|error| error.to_string())?;
                if status.is_success() { Ok(()) } else { Err(body) }
            })
            .await;
    }

    /// The controllers need no waiting for: what they do is waited for.
    fn start_controllers(&self, options: &KubernetesOptions) {
        let program = Program::new(tools::kubernetes_binary("kube-controller-manager"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg(format!("--secure-port={}", free_port()))
            .args(["--bind-address=127.0.0.1", "--leader-elect=false"])
            .arg("--use-service-account-credentials=false")
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg("--service-account-private-key-file")
            .arg(self.servers.scratch.path().join("sa.key"))
            .arg("--cert-dir")
            .arg(self.servers.scratch.path().join("controller-certs"))
            .args(&options.controller_flags);
        let dir = self.servers.scratch.path();
        let process = Process::spawn("kube-controller-manager", program, dir);
        *self.servers.controllers.lock() = Some(process);
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        // The shared servers outlive the test that fails.
        if thread::panicking() && Arc::strong_count(&self.servers) > 1 {
            eprintln!("{}", self.servers.api.log_tail());
        }
    }
}

fn client(port: u16, ca: &Ca) -> HttpClient {
    let token = ("authorization", format!("Bearer {ADMIN_TOKEN}"));
    let url = format!("https://127.0.0.1:{port}");
    HttpClient::secured(&url, Some(ca), None, Some(token))
}

fn write_files(scratch: &Scratch, ca: &Ca) {
    let server = ca.server(&[SERVER_NAME]);
    let (private, public) = key_pair();
    scratch.write("ca.pem", ca.pem());
    scratch.write("server.pem", &server.cert_pem);
    scratch.write("server.key", &server.key_pem);
    scratch.write("sa.key", private);
    scratch.write("sa.pub", public);
    let admin = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
    scratch.write("tokens.csv", admin);
}

fn free_name(counter: &AtomicU32, prefix: &str) -> String {
    format!("{prefix}-{}", counter.fetch_add(1, Ordering::SeqCst))
}

#[cfg(test)]
mod tests;
