//! A cluster, the faults in front of it, and the adapter behind them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use mainstem_kubernetes::{KubernetesAdapter, KubernetesConfig, PROVIDER};
use mainstem_model::{ObjectRef, RegistryId, ServiceKey, TimeSpan};
use mainstem_registry::Adapter;
use mainstem_test_support::battery::{Fixture, TestService, Watch};
use mainstem_test_support::{
    Fault, FaultProxy, Kubernetes, KubernetesOptions, TIMEOUT, eventually,
};
use serde_json::{Value, json};

pub const CLUSTER: &str = "test";

/// The registry's identity.
pub fn registry() -> RegistryId {
    RegistryId::new(PROVIDER, CLUSTER)
}

/// Settings for a cluster by way of a kubeconfig, quick to notice.
pub fn config(kubeconfig: PathBuf) -> KubernetesConfig {
    KubernetesConfig {
        kubeconfig: Some(kubeconfig),
        probe_interval: TimeSpan::from_millis(200),
        discovery_interval: TimeSpan::from_millis(100),
        ..KubernetesConfig::new(CLUSTER)
    }
}

/// A running adapter.
pub fn watch(config: &KubernetesConfig) -> Watch {
    Watch::start(registry(), Box::new(KubernetesAdapter::new(config.clone())))
}

/// The object's identity in rejections.
pub fn object(kind: &'static str, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.into() }
}

/// One namespace of a cluster, reached through a proxy.
pub struct KubernetesFixture {
    pub kubernetes: Kubernetes,
    pub namespace: String,
    pub proxy: FaultProxy,
    pub config: KubernetesConfig,
    put: BTreeMap<String, TestService>,
}

impl KubernetesFixture {
    /// In the cluster that all tests of the process share.
    pub async fn shared() -> Self {
        Self::of(Kubernetes::shared().await).await
    }

    /// In a cluster of its own that forgets at once what etcd has forgotten.
    pub async fn forgetful() -> Self {
        let options = KubernetesOptions { watch_cache: false, ..KubernetesOptions::default() };
        Self::of(Kubernetes::start_with(options).await).await
    }

    pub async fn of(kubernetes: Kubernetes) -> Self {
        let namespace = kubernetes.namespace("battery").await;
        let proxy = FaultProxy::start(kubernetes.address());
        let kubeconfig = kubernetes.kubeconfig_for(kubernetes.token(), &proxy.https_url());
        let config = config(kubeconfig);
        Self { kubernetes, namespace, proxy, config, put: BTreeMap::new() }
    }

    fn service(&self, service: &TestService, annotations: &Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": service.name,
                "namespace": self.namespace,
                "annotations": annotations,
            },
            "spec": { "ports": [{
                "name": "http",
                "port": service.port,
                "targetPort": service.target,
                "protocol": "TCP",
            }] },
        })
    }

    fn slice(&self, service: &TestService) -> Value {
        let endpoint = |ip: &Ipv4Addr, ready: bool| json!({ "addresses": [ip], "conditions": { "ready": ready } });
        let ready = service.ready.iter().map(|ip| endpoint(ip, true));
        let unready = service.unready.iter().map(|ip| endpoint(ip, false));
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": service.name,
                "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": service.name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": service.target, "protocol": "TCP" }],
            "endpoints": ready.chain(unready).collect::<Vec<_>>(),
        })
    }
}

impl Fixture for KubernetesFixture {
    fn registry(&self) -> RegistryId {
        registry()
    }

    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(KubernetesAdapter::new(self.config.clone()))
    }

    fn key(&self, name: &str) -> ServiceKey {
        let namespace = self.namespace.as_str();
        ServiceKey::new(format!("{name}.{namespace}.svc.cluster.local").as_str(), namespace)
    }

    async fn put(&mut self, service: &TestService) {
        self.kubernetes.apply(&self.service(service, &json!({}))).await;
        self.kubernetes.apply(&self.slice(service)).await;
        self.put.insert(service.name.clone(), service.clone());
    }

    async fn remove(&mut self, name: &str) {
        let service = self.put.remove(name).expect("it was put");
        self.kubernetes.delete(&self.service(&service, &json!({}))).await;
        self.kubernetes.delete(&self.slice(&service)).await;
    }

    async fn malform(&mut self, name: &str) {
        let bad = json!({ "networking.istio.io/exportTo": "Not a namespace!" });
        self.kubernetes.apply(&self.service(&self.put[name], &bad)).await;
    }

    fn malformed(&self, name: &str) -> ObjectRef {
        object("Service", &format!("{}/{name}", self.namespace))
    }

    async fn cut(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn begin_gap(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn end_gap(&mut self) {
        self.kubernetes.etcd().compact().await;
        self.proxy.set(Fault::None).await;
    }

    async fn slow(&mut self, by: Duration) {
        self.proxy.set(Fault::Delay(by)).await;
    }

    async fn hang(&mut self) {
        self.proxy.set(Fault::BlackHole).await;
    }

    /// A watch is a request that goes on all the time.
    async fn hanging(&mut self) {
        eventually("a request is open", TIMEOUT, async || match self.proxy.connections() {
            0 => Err("none is open"),
            _ => Ok(()),
        })
        .await;
    }

    async fn restore(&mut self) {
        self.proxy.set(Fault::None).await;
    }
}
