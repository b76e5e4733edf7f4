//! How a cluster is to run.

use std::path::Path;
use std::sync::Arc;

use super::Etcd;
use crate::process::Program;
use crate::tools;

/// How a cluster is to run. The default: an etcd of its own, no controllers, a
/// watch cache.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// kube-controller-manager besides: real EndpointSlices from Services and
    /// Pods (each on a Node that exists), garbage collection, deletion of
    /// namespaces. Nodes stay as they are written, though no kubelet reports.
    pub controllers: bool,
    /// The etcd of another cluster, to share it; with another `etcd_prefix`.
    pub etcd: Option<Arc<Etcd>>,
    /// Where in etcd this cluster lives.
    pub etcd_prefix: String,
    /// Whether the API server keeps recent events in memory. Without, a watch
    /// from before a [compaction](Etcd::compact) is answered 410 at once.
    pub watch_cache: bool,
    /// More flags for kube-apiserver.
    pub api_flags: Vec<String>,
    /// More flags for kube-controller-manager.
    pub controller_flags: Vec<String>,
}

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            controllers: false,
            etcd: None,
            etcd_prefix: "/registry".to_owned(),
            watch_cache: true,
            api_flags: Vec::new(),
            controller_flags: Vec::new(),
        }
    }
}

impl KubernetesOptions {
    pub(super) fn api_server(&self, etcd: &Etcd, port: u16, dir: &Path) -> Program {
        let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
        Program::new(tools::kubernetes_binary("kube-apiserver"))
            .arg(format!("--etcd-servers={}", etcd.url()))
            .arg(format!("--etcd-prefix={}", self.etcd_prefix))
            .arg(format!("--watch-cache={}", self.watch_cache))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={port}"))
            .arg("--service-cluster-ip-range=10.0.0.0/16")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("service-account-key-file", "sa.pub"))
            .arg(file("service-account-signing-key-file", "sa.key"))
            .arg(file("token-auth-file", "tokens.csv"))
            .arg(file("tls-cert-file", "server.pem"))
            .arg(file("tls-private-key-file", "server.key"))
            .arg(file("cert-dir", "certs"))
            .arg("--authorization-mode=RBAC")
            .arg("--disable-admission-plugins=ServiceAccount")
            // Tests of one process share a server and may ask much at once.
            .arg("--enable-priority-and-fairness=false")
            .args(&self.api_flags)
    }
}
