//! Registries with two services of four endpoints each, and what can befall them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mainstem_test_support::{
    Consul, ConsulOptions, Fault as Network, FaultProxy, Kubernetes, RestrictedUser, Scratch,
    Storage,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::Fault;
use super::machines::MemorySite;
use super::source::McpSite;

/// The services.
pub const SERVICES: [&str; 2] = ["web", "db"];

/// Within which the guard counts what came and went.
pub const WINDOW: Duration = Duration::from_secs(1);
/// The node of all Consul instances.
const NODE: &str = "machines";
/// What a reader of Consul may do.
const READER: &str = r#"service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#;
/// Beyond a handshake, within the answers after it.
const MIDDLE: u64 = 3000;

/// The address of host `n` of a service.
pub fn address(service: &str, host: u8) -> String {
    let number = if service == "web" { 1 } else { 2 };
    format!("10.9.{number}.{host}")
}

/// A registry under test.
pub enum Site {
    /// A Consul server with TLS and ACLs, behind a proxy.
    Consul(Box<ConsulSite>),
    /// A Kubernetes API server, behind a proxy.
    Kubernetes(Box<KubernetesSite>),
    /// A directory of files.
    File(FileSite),
    /// Another control plane, behind a proxy.
    Mcp(Box<McpSite>),
    /// Machines that register themselves, behind a proxy.
    Memory(MemorySite),
}

pub struct ConsulSite {
    consul: Consul,
    proxy: FaultProxy,
    files: Scratch,
    snapshot: Option<bytes::Bytes>,
}

pub struct KubernetesSite {
    kubernetes: Kubernetes,
    proxy: FaultProxy,
    namespace: String,
    user: Option<RestrictedUser>,
    saved: Option<Scratch>,
}

pub struct FileSite {
    files: Scratch,
}

impl Site {
    pub async fn consul() -> Self {
        let options = ConsulOptions {
            acl: true,
            tls: true,
            storage: Storage::Disk,
            ..ConsulOptions::default()
        };
        let consul = Consul::start(options).await;
        let proxy = FaultProxy::start(consul.http_address());
        let files = Scratch::new("consul-client");
        files.write("token", consul.token().expect("it has ACLs"));
        files.write("ca.pem", consul.ca().expect("it speaks TLS").pem());
        Self::Consul(Box::new(ConsulSite { consul, proxy, files, snapshot: None }))
    }

    pub async fn kubernetes() -> Self {
        let kubernetes = Kubernetes::start().await;
        let proxy = FaultProxy::start(kubernetes.address());
        let namespace = kubernetes.namespace("shop").await;
        let site = KubernetesSite { kubernetes, proxy, namespace, user: None, saved: None };
        Self::Kubernetes(Box::new(site))
    }

    pub fn file() -> Self {
        Self::File(FileSite::new())
    }

    pub async fn mcp() -> Self {
        Self::Mcp(Box::new(McpSite::start().await))
    }

    pub fn memory() -> Self {
        Self::Memory(MemorySite::new())
    }

    /// Takes notice of the control plane, where the registry needs to know it.
    pub fn attach(&mut self, admin: SocketAddr) {
        if let Self::Memory(site) = self {
            site.attach(admin);
        }
    }

    /// What it is called.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Consul(_) => "consul/dc1",
            Self::Kubernetes(_) => "kubernetes/home",
            Self::File(_) => "file/static",
            Self::Mcp(_) => "mcp/far",
            Self::Memory(_) => "memory/vms",
        }
    }

    /// What can befall it.
    pub fn faults(&self) -> &'static [Fault] {
        use Fault::{
            AllGone, Cut, Emptied, Expired, HalfGone, Killed, Malformed, Older, Slow, Stopped,
            Unauthorised,
        };
        match self {
            Self::Consul(_) | Self::Kubernetes(_) => &[
                Killed,
                Stopped,
                Cut,
                Slow,
                Expired,
                HalfGone,
                AllGone,
                Malformed,
                Older,
                Emptied,
                Unauthorised,
            ],
            Self::File(_) => &[HalfGone, AllGone, Malformed, Cut, Emptied],
            Self::Mcp(_) => &[Killed, Stopped, Cut, Slow, HalfGone, AllGone, Emptied],
            Self::Memory(_) => &[Stopped, Cut, Slow, HalfGone, AllGone],
        }
    }

    /// Whether what is broken still has its name: a file of which nothing can be
    /// read does not say what is missing, so after a restart all of it is held.
    pub fn names_objects(&self, fault: Fault) -> bool {
        !matches!((self, fault), (Self::File(_), Fault::Cut))
    }

    /// Its entry in the configuration.
    pub fn config(&self) -> Value {
        let mut config = match self {
            Self::Consul(site) => json!({
                "type": "consul", "cluster": "dc1",
                "address": site.proxy.https_url(),
                "tokenFile": site.files.path().join("token"),
                "tls": { "ca": site.files.path().join("ca.pem") },
                "hosts": ["*"], "hostname": "{service}.shop", "exclude": ["consul"],
                "probeInterval": "300ms", "probeTimeout": "2s",
            }),
            Self::Kubernetes(site) => {
                let token = site.user.as_ref().map_or(site.kubernetes.token(), |user| user.token());
                let kubeconfig = site.kubernetes.kubeconfig_for(token, &site.proxy.https_url());
                json!({
                    "type": "kubernetes", "cluster": "home", "kubeconfig": kubeconfig,
                    "probeInterval": "300ms", "probeTimeout": "2s",
                })
            }
            Self::File(site) => site.config(),
            Self::Mcp(site) => site.config(),
            Self::Memory(site) => site.config(),
        };
        let window = format!("{}ms", WINDOW.as_millis());
        config["guard"] = json!({ "window": window, "hold": "5m" });
        config
    }

    /// Whether settings as the control plane shows them are those of now.
    pub fn is_named_in(&self, settings: &str) -> bool {
        match self {
            Self::Consul(site) => settings.contains(&site.proxy.https_url()),
            // Each configuration has a kubeconfig file of its own; machines have no place.
            Self::Kubernetes(_) | Self::Memory(_) => true,
            Self::File(site) => settings.contains(&site.files.path().display().to_string()),
            Self::Mcp(site) => site.is_named_in(settings),
        }
    }

    /// The host name of a service.
    pub fn host(&self, service: &str) -> String {
        match self {
            Self::Kubernetes(site) => format!("{service}.{}.svc.cluster.local", site.namespace),
            _ => format!("{service}.shop"),
        }
    }

    /// The service has exactly these hosts, all of them healthy.
    pub async fn put(&self, service: &str, hosts: &[u8]) {
        match self {
            Self::Consul(site) => site.put(service, hosts).await,
            Self::Kubernetes(site) => site.put(service, hosts).await,
            Self::File(site) => site.put(service, hosts),
            Self::Mcp(site) => site.put(service, hosts),
            Self::Memory(site) => site.put(service, hosts),
        }
    }

    /// All services have exactly these hosts, at once as far as the registry can.
    pub async fn put_all(&self, hosts: &[u8]) {
        if let Self::Consul(site) = self {
            return site.put_all(hosts).await;
        }
        for service in SERVICES {
            self.put(service, hosts).await;
        }
    }

    /// Changes its address and its credentials, where it has any, in the
    /// configuration. What was before goes on beside it until it is dropped.
    pub async fn move_on(&mut self) -> Box<dyn std::any::Any> {
        match self {
            Self::Consul(site) => {
                site.consul.acl_policy("reader", READER).await;
                let token = site.consul.acl_token(&["reader"]).await;
                let files = Scratch::new("consul-client");
                files.write("token", token.secret);
                files.write("ca.pem", site.consul.ca().expect("it speaks TLS").pem());
                let proxy = FaultProxy::start(site.consul.http_address());
                let before = std::mem::replace(&mut site.files, files);
                Box::new((before, std::mem::replace(&mut site.proxy, proxy)))
            }
            Self::Kubernetes(site) => {
                site.user = Some(site.kubernetes.restricted_user(&rights()).await);
                let proxy = FaultProxy::start(site.kubernetes.address());
                Box::new(std::mem::replace(&mut site.proxy, proxy))
            }
            Self::File(site) => {
                let before = std::mem::replace(&mut site.files, Scratch::new("files"));
                SERVICES.iter().for_each(|service| site.put(service, &[1, 2, 3, 4]));
                Box::new(before)
            }
            Self::Mcp(site) => Box::new(site.move_on()),
            Self::Memory(_) => Box::new(()),
        }
    }

    /// What has to be before a fault can come.
    pub async fn prepare(&mut self, fault: Fault) {
        match (self, fault) {
            (Self::Consul(site), Fault::Older) => {
                site.snapshot = Some(site.consul.snapshot().await);
            }
            (Self::Kubernetes(site), Fault::Older) => {
                site.saved = Some(site.kubernetes.save().await);
            }
            (Self::Consul(site), Fault::Unauthorised) => {
                site.consul.acl_policy("reader", READER).await;
                let token = site.consul.acl_token(&["reader"]).await;
                site.files.write("token", &token.secret);
            }
            (Self::Kubernetes(site), Fault::Unauthorised) => {
                site.user = Some(site.kubernetes.restricted_user(&rights()).await);
            }
            _ => {}
        }
    }

    /// Lets the fault come.
    pub async fn inject(&self, fault: Fault) {
        match fault {
            Fault::HalfGone => return self.put_all(&[3, 4]).await,
            Fault::AllGone => return self.put_all(&[]).await,
            _ => {}
        }
        match self {
            Self::Consul(site) => site.inject(fault).await,
            Self::Kubernetes(site) => site.inject(fault).await,
            Self::File(site) => site.inject(fault),
            Self::Mcp(site) => site.inject(fault).await,
            Self::Memory(site) => site.inject(fault).await,
        }
    }

    /// Ends the fault, as an operator or time would.
    pub async fn heal(&mut self, fault: Fault) {
        match self {
            Self::Consul(site) => site.heal(fault).await,
            Self::Kubernetes(site) => site.heal(fault).await,
            Self::File(_) => {}
            Self::Mcp(site) => site.heal(fault).await,
            Self::Memory(site) => site.heal().await,
        }
        self.put_all(&[1, 2, 3, 4]).await;
    }
}

impl ConsulSite {
    async fn put(&self, service: &str, hosts: &[u8]) {
        self.operate([(service, hosts)].into()).await;
    }

    async fn put_all(&self, hosts: &[u8]) {
        self.operate(SERVICES.map(|service| (service, hosts)).into()).await;
    }

    /// One transaction: all of it at once.
    async fn operate(&self, services: BTreeMap<&str, &[u8]>) {
        let node = json!({ "Node": NODE, "Address": "10.9.9.9" });
        let mut operations = vec![json!({ "Node": { "Verb": "set", "Node": node } })];
        let mut checks = Vec::new();
        for (service, hosts) in services {
            for host in 1..=9 {
                let id = format!("{service}-{host}");
                let there = hosts.contains(&host);
                let body = instance(service, host, "80");
                let verb = if there { "set" } else { "delete" };
                operations.push(service_operation(verb, &body));
                let check = json!({
                    "Node": NODE, "CheckID": format!("check-{id}"), "Name": "up",
                    "Status": "passing", "ServiceID": id,
                });
                checks.extend(there.then(|| json!({ "Check": { "Verb": "set", "Check": check } })));
            }
        }
        self.consul.txn(&operations).await;
        if !checks.is_empty() {
            self.consul.txn(&checks).await;
        }
    }

    async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.consul.kill9(),
            Fault::Stopped => self.consul.pause(),
            Fault::Cut => self.proxy.set(Network::CutAfter(MIDDLE)).await,
            Fault::Slow => self.proxy.set(Network::Delay(Duration::from_secs(10))).await,
            Fault::Expired => self.consul.expire(),
            Fault::Emptied => self.consul.restart_empty().await,
            Fault::Older => {
                self.consul.restore(self.snapshot.clone().expect("it was prepared")).await;
            }
            Fault::Unauthorised => {
                let policy = self.consul.call(Method::GET, "/v1/acl/tokens", None).await;
                let tokens = policy.as_array().expect("a list of tokens").iter();
                for token in tokens.filter(|t| t["Policies"][0]["Name"] == "reader") {
                    let path = format!(
                        "/v1/acl/token/{}",
                        token["AccessorID"].as_str().expect("a token has one")
                    );
                    self.consul.call(Method::DELETE, &path, None).await;
                }
            }
            Fault::Malformed => {
                let operations = [1, 2].map(|host| instance("web", host, "many"));
                let operations = operations.map(|body| service_operation("set", &body));
                self.consul.txn(&operations).await;
            }
            Fault::HalfGone | Fault::AllGone => unreachable!("the same for all registries"),
        }
    }

    async fn heal(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.consul.restart().await,
            Fault::Stopped => self.consul.resume(),
            Fault::Cut | Fault::Slow => self.proxy.set(Network::None).await,
            Fault::Expired => self.consul.renew().await,
            Fault::Unauthorised => {
                self.files.write("token", self.consul.token().expect("it has ACLs"));
            }
            _ => {}
        }
    }
}

fn instance(service: &str, host: u8, port: &str) -> Value {
    json!({
        "ID": format!("{service}-{host}"), "Service": service,
        "Address": address(service, host), "Port": 8080,
        "Meta": { "service-port": port, "protocol": "http" },
    })
}

fn service_operation(verb: &str, body: &Value) -> Value {
    json!({ "Service": { "Verb": verb, "Node": NODE, "Service": body } })
}

impl KubernetesSite {
    async fn put(&self, service: &str, hosts: &[u8]) {
        self.put_service(service, &json!({})).await;
        let ready = json!({ "ready": true });
        let endpoints = hosts.iter().map(
            |host| json!({ "addresses": [address(service, *host)], "conditions": ready.clone() }),
        );
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-1"), "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": [{ "name": "http", "port": 8080 }],
        });
        self.kubernetes.apply(&slice).await;
    }

    async fn put_service(&self, service: &str, annotations: &Value) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": service, "namespace": self.namespace, "annotations": annotations,
            },
            "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        });
        self.kubernetes.apply(&service).await;
    }

    async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.kubernetes.kill9(),
            Fault::Stopped => self.kubernetes.pause(),
            Fault::Cut => self.proxy.set(Network::CutAfter(MIDDLE)).await,
            Fault::Slow => self.proxy.set(Network::Delay(Duration::from_secs(10))).await,
            Fault::Expired => self.kubernetes.expire(),
            Fault::Emptied => self.kubernetes.restore(None).await,
            Fault::Older => self.kubernetes.restore(self.saved.as_ref()).await,
            Fault::Unauthorised => self.user.as_ref().expect("it was prepared").revoke().await,
            Fault::Malformed => {
                let bad = json!({ "networking.istio.io/exportTo": "Not a namespace!" });
                self.put_service("web", &bad).await;
            }
            Fault::HalfGone | Fault::AllGone => unreachable!("the same for all registries"),
        }
    }

    async fn heal(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.kubernetes.restart().await,
            Fault::Stopped => self.kubernetes.resume(),
            Fault::Cut | Fault::Slow => self.proxy.set(Network::None).await,
            Fault::Expired => self.kubernetes.renew().await,
            Fault::Emptied => {
                let namespace = json!({
                    "apiVersion": "v1", "kind": "Namespace",
                    "metadata": { "name": self.namespace },
                });
                self.kubernetes.apply(&namespace).await;
            }
            Fault::Unauthorised => {
                self.user.as_ref().expect("it was prepared").grant(&rights()).await;
            }
            _ => {}
        }
    }
}

/// All rights that the adapter needs.
fn rights() -> Value {
    let rule = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list", "watch"] });
    let core = ["services", "pods", "namespaces", "nodes"];
    json!([rule("", &core), rule("discovery.k8s.io", &["endpointslices"])])
}

impl FileSite {
    pub fn new() -> Self {
        Self { files: Scratch::new("files") }
    }

    pub fn config(&self) -> Value {
        json!({ "type": "file", "cluster": "static", "path": self.files.path() })
    }

    pub fn remove(&self, service: &str) {
        let file = self.files.path().join(format!("{service}.yaml"));
        std::fs::remove_file(file).expect("it was put");
    }

    pub fn put(&self, service: &str, hosts: &[u8]) {
        let endpoints = hosts
            .iter()
            .map(|host| json!({ "address": address(service, *host), "ports": { "http": 8080 } }));
        let document = json!({ "services": [{
            "hostname": format!("{service}.shop"),
            "ports": [{ "number": 80, "name": "http", "protocol": "http", "targetPort": 8080 }],
            "endpoints": endpoints.collect::<Vec<_>>(),
        }]});
        self.write(service, &document.to_string());
    }

    fn write(&self, service: &str, text: &str) {
        // Written beside and renamed: a reader sees the old file or the new one.
        let file = self.files.write(&format!("{service}.tmp"), text);
        std::fs::rename(&file, file.with_extension("yaml")).expect("a rename within a directory");
    }

    fn inject(&self, fault: Fault) {
        match fault {
            Fault::Malformed => self.write("web", "services:\n- hostname: web.shop\n  prots: []\n"),
            Fault::Cut => self.write("web", "{ \"services\": [{ \"hostname\": \"web.sh"),
            Fault::Emptied => SERVICES.iter().for_each(|service| self.remove(service)),
            other => unreachable!("no file has {other:?}"),
        }
    }
}
