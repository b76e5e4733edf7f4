//! Three registries that share a hostname, workloads in each, and sidecars.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use mainstem_test_support::{
    Consul, ConsulOptions, EchoBackend, Envoy, EnvoyOptions, EnvoyVersion, Kubernetes, NetNs,
    Network, Scratch, TIMEOUT, eventually,
};
use serde_json::{Value, json};

use super::Mainstem;

/// The port that workloads listen on.
pub const TARGET: u16 = 8080;

/// A Kubernetes namespace, a Consul and a directory of files, whose services
/// meet under `{name}.{namespace}.svc.cluster.local`.
pub struct World {
    /// Where hosts are.
    pub network: Network,
    /// The API server.
    pub kubernetes: Kubernetes,
    /// The agent.
    pub consul: Consul,
    /// The namespace that everything is in.
    pub namespace: String,
    files: Scratch,
}

/// A workload: a host that answers with its name.
pub struct Workload {
    /// Its name, which it answers with.
    pub name: String,
    /// Its host.
    pub host: NetNs,
    /// What answers.
    pub backend: EchoBackend,
}

impl World {
    /// Registries without services. `kubernetes` may be shared between tests.
    pub async fn new(kubernetes: Kubernetes) -> Self {
        let namespace = kubernetes.namespace("shop").await;
        Self {
            network: Network::new(),
            kubernetes,
            consul: Consul::start(ConsulOptions::default()).await,
            namespace,
            files: Scratch::new("files"),
        }
    }

    /// The full name of a service.
    pub fn host(&self, service: &str) -> String {
        format!("{service}.{}.svc.cluster.local", self.namespace)
    }

    /// The pattern of all its services.
    pub fn pattern(&self) -> String {
        self.host("*")
    }

    /// The configuration of the Kubernetes registry, `kubernetes/home`.
    pub fn kubernetes_registry(&self) -> Value {
        json!({ "type": "kubernetes", "cluster": "home", "kubeconfig": self.kubernetes.kubeconfig() })
    }

    /// The configuration of the Consul registry, `consul/dc1`, which may join.
    pub fn consul_registry(&self) -> Value {
        json!({
            "type": "consul",
            "cluster": "dc1",
            "address": self.consul.http_url(),
            "hostname": self.host("{service}"),
            "joins": [self.pattern()],
        })
    }

    /// The configuration of the file registry, `file/static`, which may join.
    pub fn file_registry(&self) -> Value {
        json!({
            "type": "file",
            "cluster": "static",
            "path": self.files.path(),
            "joins": [self.pattern()],
        })
    }

    /// All three.
    pub fn registries(&self) -> [Value; 3] {
        [self.kubernetes_registry(), self.consul_registry(), self.file_registry()]
    }

    /// A control plane for all three, ready, on the network of the workloads.
    pub async fn mainstem(&self) -> Mainstem {
        Mainstem::start(self.network.gateway(), &self.registries()).await
    }

    /// A new host that answers with `name`.
    pub fn workload(&self, name: &str) -> Workload {
        let host = self.network.host();
        let backend = EchoBackend::start_in(&host, name, TARGET);
        Workload { name: name.to_owned(), host, backend }
    }

    /// A Service with port 80 that leads to 8080.
    pub async fn put_service(&self, name: &str) {
        self.kubernetes.apply(&self.service(name)).await;
    }

    /// The Service that [`put_service`](Self::put_service) makes.
    pub fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": {
                "selector": { "app": name },
                "ports": [{ "name": "http", "port": 80, "targetPort": TARGET }],
            },
        })
    }

    /// The EndpointSlice of a Service: these workloads, ready or not.
    pub async fn put_slice(&self, service: &str, workloads: &[(&Workload, bool)]) {
        self.kubernetes.apply(&self.slice(service, workloads)).await;
    }

    /// The EndpointSlice that [`put_slice`](Self::put_slice) makes.
    pub fn slice(&self, service: &str, workloads: &[(&Workload, bool)]) -> Value {
        let endpoints: Vec<Value> = workloads
            .iter()
            .map(|(workload, ready)| {
                json!({ "addresses": [workload.host.ip()], "conditions": { "ready": ready } })
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-1"), "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{ "name": "http", "port": TARGET }],
        })
    }

    /// Registers a workload in Consul, with a check by TTL that passes.
    pub async fn register(&self, service: &str, workload: &Workload) {
        self.register_weighted(service, workload, 1).await;
    }

    /// The same with a weight.
    pub async fn register_weighted(&self, service: &str, workload: &Workload, weight: u32) {
        self.consul
            .register(&json!({
                "ID": workload.name, "Name": service, "Port": TARGET,
                "Address": workload.host.ip(),
                "Meta": { "protocol": "http" },
                "Weights": { "Passing": weight, "Warning": 1 },
                "Check": { "CheckID": format!("check:{}", workload.name), "TTL": "1h", "Status": "passing" },
            }))
            .await;
    }

    /// Sets the check of a workload in Consul.
    pub async fn set_check(&self, workload: &Workload, status: &str) {
        self.consul.set_check(&format!("check:{}", workload.name), status).await;
    }

    /// Writes the file of a service: these workloads with weight and health.
    pub fn put_file(&self, service: &str, workloads: &[(&Workload, u32, &str)]) {
        let endpoints: Vec<Value> = workloads
            .iter()
            .map(|(workload, weight, health)| {
                json!({
                    "address": workload.host.ip(), "ports": { "http": TARGET },
                    "weight": weight, "health": health,
                })
            })
            .collect();
        let document = json!({ "services": [{
            "hostname": self.host(service),
            "ports": [{ "number": 80, "name": "http", "protocol": "http", "targetPort": TARGET }],
            "endpoints": endpoints,
        }]});
        // Written beside and renamed: a reader sees the old file or the new one.
        let file = self.files.write(&format!("{service}.tmp"), document.to_string());
        std::fs::rename(&file, file.with_extension("yaml")).expect("a rename within a directory");
    }

    /// Where the file of a service is.
    pub fn file(&self, service: &str) -> PathBuf {
        self.files.path().join(format!("{service}.yaml"))
    }

    /// Removes the file of a service.
    pub fn remove_file(&self, service: &str) {
        std::fs::remove_file(self.file(service)).expect("the file was written before");
    }

    /// An Envoy beside a client of its own host, without interception: its
    /// listeners bind loopback.
    pub async fn client(&self, mainstem: &Mainstem, protocol: &str) -> Sidecar {
        self.client_of(mainstem, protocol, EnvoyVersion::DEFAULT).await
    }

    /// The same with a certain Envoy.
    pub async fn client_of(
        &self,
        mainstem: &Mainstem,
        protocol: &str,
        version: EnvoyVersion,
    ) -> Sidecar {
        let host = self.network.host();
        let ip = host.ip().to_string();
        let bootstrap = mainstem.bootstrap(&[
            "--name",
            "client",
            "--namespace",
            &self.namespace,
            "--cluster",
            "home",
            "--ip",
            &ip,
            "--interception",
            "none",
            protocol,
        ]);
        let options = EnvoyOptions { version, namespace: Some(&host), ..EnvoyOptions::default() };
        let envoy = Envoy::start_with(&bootstrap, options).await;
        envoy.ready().await;
        Sidecar { envoy, host }
    }
}

/// A client's Envoy on a host of its own.
pub struct Sidecar {
    /// The proxy.
    pub envoy: Envoy,
    /// Its host.
    pub host: NetNs,
}

impl Sidecar {
    /// Who answers, over so many requests to port 80; an error answer stands as
    /// its status.
    pub async fn answers(&self, host: &str, requests: usize) -> Vec<String> {
        let host = host.to_owned();
        self.host
            .run(async move || {
                let client = mainstem_test_support::HttpClient::new("http://127.0.0.1:80");
                let mut answers = Vec::new();
                for _ in 0..requests {
                    answers.push(match client.fetch("/", &[("host", &host)]).await {
                        Ok(answer) if answer.status == 200 => answer.body.trim().to_owned(),
                        Ok(answer) => answer.status.to_string(),
                        Err(error) => error,
                    });
                }
                answers
            })
            .await
    }

    /// Waits until requests are answered by these workloads, all of them and
    /// nobody else.
    pub async fn until_answered_by(&self, host: &str, names: &[&str]) {
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("{host} is answered by {names:?}");
        eventually(&what, TIMEOUT, async || {
            let answers: BTreeSet<String> = self.answers(host, 40).await.into_iter().collect();
            if answers == expected { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
    }

    /// Waits until this share of the requests (0 to 1) goes to `name`.
    pub async fn until_share(&self, host: &str, name: &str, share: std::ops::Range<f64>) {
        let what = format!("a share of {share:?} of {host} goes to {name}");
        eventually(&what, TIMEOUT, async || {
            let answers = self.answers(host, 200).await;
            let count = answers.iter().filter(|answer| *answer == name).count();
            let got = count as f64 / answers.len() as f64;
            if share.contains(&got) { Ok(()) } else { Err(got.to_string()) }
        })
        .await;
    }

    /// How many answers of the control plane it refused, by statistic.
    pub async fn refused(&self) -> Vec<(String, u64)> {
        let stats = self.envoy.stats("update_rejected$|\\.update_rejected").await;
        stats.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// How many answers of the control plane it took, all types together.
    pub async fn updates(&self) -> u64 {
        self.envoy.stats("update_success$").await.values().sum()
    }

    /// The dynamic resources that it holds, in order, without versions and times.
    /// The node's address differs from host to host and stands in no resource of
    /// a sidecar without services of its own.
    pub async fn content(&self) -> BTreeSet<String> {
        content(&self.envoy.config_dump().await)
    }
}

fn content(dump: &Value) -> BTreeSet<String> {
    const KINDS: [(&str, &str); 4] = [
        ("dynamic_active_clusters", "cluster"),
        ("dynamic_route_configs", "route_config"),
        ("dynamic_endpoint_configs", "endpoint_config"),
        ("dynamic_listeners", "active_state"),
    ];
    let sections: Vec<&Value> = dump["configs"].as_array().into_iter().flatten().collect();
    let mut found = BTreeSet::new();
    for (list, field) in KINDS {
        let resources = sections.iter().flat_map(|section| section[list].as_array()).flatten();
        for resource in resources {
            let mut body = resource[field].clone();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("version_info");
                fields.remove("last_updated");
            }
            found.insert(format!("{field} {body}"));
        }
    }
    found
}

/// What has to hold for a while: asked again and again during `span`.
pub async fn throughout(span: Duration, mut check: impl AsyncFnMut()) {
    let end = tokio::time::Instant::now() + span;
    while tokio::time::Instant::now() < end {
        check().await;
    }
}
