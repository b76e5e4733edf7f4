//! A real Consul with a faulty network before it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use mainstem_consul::{ConsulAdapter, ConsulConfig};
use mainstem_model::{Health, Key, ObjectRef, RegistryId, ServiceKey, TimeSpan, Value};
use mainstem_registry::Adapter;
use mainstem_test_support::battery::{Fixture, TestService, View, Watch};
use mainstem_test_support::{Consul, ConsulOptions, Fault, FaultProxy, TIMEOUT, eventually};
use serde_json::{Value as Json, json};

/// The node of all instances that the fixture registers.
pub const NODE: &str = "vms";

/// See the module.
pub struct ConsulFixture {
    pub consul: Consul,
    pub proxy: FaultProxy,
    pub config: ConsulConfig,
    services: BTreeMap<String, TestService>,
}

impl ConsulFixture {
    pub async fn start() -> Self {
        Self::with(ConsulOptions::default()).await
    }

    /// Whose adapter lets the agent answer from its cache.
    pub async fn cached() -> Self {
        let mut fixture = Self::start().await;
        fixture.config.agent_cache = true;
        fixture
    }

    pub async fn with(options: ConsulOptions) -> Self {
        let consul = Consul::start(options).await;
        let proxy = FaultProxy::start(consul.http_address());
        let config = ConsulConfig {
            address: proxy.http_url(),
            probe_interval: TimeSpan::from_millis(200),
            token: consul.token().map(Into::into),
            ..ConsulConfig::new("vm")
        };
        Self { consul, proxy, config, services: BTreeMap::new() }
    }

    /// Starts an adapter with the fixture's configuration.
    pub fn watch(&self) -> Watch {
        Watch::start(self.registry(), self.adapter())
    }
}

/// An agent's options, changed.
pub fn options(change: impl FnOnce(&mut ConsulOptions)) -> ConsulOptions {
    let mut options = ConsulOptions::default();
    change(&mut options);
    options
}

/// The id of an instance of the fixture.
pub fn instance_id(service: &str, ip: Ipv4Addr) -> String {
    format!("{service}-{ip}")
}

/// The body that registers an instance.
pub fn instance(service: &TestService, ip: Ipv4Addr) -> Json {
    let status = if service.unready.contains(&ip) { "critical" } else { "passing" };
    let id = instance_id(&service.name, ip);
    json!({
        "Node": NODE, "Address": "10.9.9.9", "SkipNodeUpdate": true,
        "Service": {
            "ID": id, "Service": service.name, "Address": ip, "Port": service.target,
            "Meta": {"service-port": service.port.to_string(), "protocol": "http"},
        },
        "Check": {"CheckID": format!("check-{id}"), "Name": "up", "Status": status, "ServiceID": id},
    })
}

fn addresses(service: &TestService) -> impl Iterator<Item = Ipv4Addr> {
    service.ready.iter().chain(&service.unready).copied()
}

impl Fixture for ConsulFixture {
    fn registry(&self) -> RegistryId {
        RegistryId::new("consul", "vm")
    }

    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(ConsulAdapter::new(self.config.clone()))
    }

    fn key(&self, name: &str) -> ServiceKey {
        ServiceKey::new(format!("{name}.service.dc1.consul"), "default")
    }

    async fn put(&mut self, service: &TestService) {
        for ip in addresses(service) {
            self.consul.catalog_register(&instance(service, ip)).await;
        }
        if let Some(before) = self.services.insert(service.name.clone(), service.clone()) {
            for ip in addresses(&before).filter(|ip| !addresses(service).any(|now| now == *ip)) {
                self.deregister(&service.name, ip).await;
            }
        }
    }

    async fn remove(&mut self, name: &str) {
        let service = self.services.remove(name).expect("only what was put is removed");
        for ip in addresses(&service) {
            self.deregister(name, ip).await;
        }
    }

    async fn malform(&mut self, name: &str) {
        let service = &self.services[name];
        let mut bad = instance(service, service.ready[0]);
        bad["Service"]["Meta"]["service-port"] = json!("many");
        self.consul.catalog_register(&bad).await;
    }

    fn malformed(&self, name: &str) -> ObjectRef {
        let id = instance_id(name, self.services[name].ready[0]);
        ObjectRef { kind: "instance", name: format!("{name}/{id}@{NODE}").into() }
    }

    async fn cut(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn begin_gap(&mut self) {
        self.proxy.set(Fault::Refuse).await;
        // The index starts again from nothing.
        self.consul.restart_empty().await;
        for service in self.services.clone().values() {
            self.put(service).await;
        }
    }

    async fn end_gap(&mut self) {
        self.proxy.set(Fault::None).await;
    }

    async fn slow(&mut self, by: Duration) {
        self.proxy.set(Fault::Delay(by)).await;
    }

    async fn hang(&mut self) {
        self.proxy.set(Fault::BlackHole).await;
    }

    async fn hanging(&mut self) {
        eventually("a request hangs", TIMEOUT, async || match self.proxy.connections() {
            0 => Err("no connection is open"),
            _ => Ok(()),
        })
        .await;
    }

    async fn restore(&mut self) {
        self.proxy.set(Fault::None).await;
    }
}

impl ConsulFixture {
    pub async fn deregister(&self, service: &str, ip: Ipv4Addr) {
        let id = instance_id(service, ip);
        self.consul.catalog_deregister(&json!({"Node": NODE, "ServiceID": id})).await;
    }

    /// Registers services `prefix-0`, … with one instance each, fast.
    pub async fn register_many(&self, prefix: &str, count: usize) {
        let node = json!({"Node": {"Verb": "set", "Node": {"Node": NODE, "Address": "10.9.9.9"}}});
        self.consul.txn(&[node]).await;
        let operations: Vec<Json> = (0..count).map(|i| many_set(prefix, i, 8080)).collect();
        self.consul.txn(&operations).await;
        let checks: Vec<Json> = (0..count).map(|i| check_set(prefix, i, "passing")).collect();
        self.consul.txn(&checks).await;
    }
}

/// The operation that sets service `prefix-i` to that port.
pub fn many_set(prefix: &str, i: usize, port: u16) -> Json {
    let name = format!("{prefix}-{i}");
    json!({"Service": {"Verb": "set", "Node": NODE, "Service": {
        "ID": name, "Service": name, "Address": "10.9.0.1", "Port": port,
    }}})
}

/// The operation that sets the check of service `prefix-i`.
pub fn check_set(prefix: &str, i: usize, status: &str) -> Json {
    let name = format!("{prefix}-{i}");
    json!({"Check": {"Verb": "set", "Check": {
        "Node": NODE, "CheckID": format!("check-{name}"), "Name": "up", "Status": status,
        "ServiceID": name,
    }}})
}

/// Port and health of each endpoint of the service.
pub fn endpoints(view: &View, key: &ServiceKey) -> Vec<(u16, Health)> {
    match view.values.get(&Key::Endpoints(key.clone())) {
        Some(Value::Endpoints(set)) => {
            set.endpoints().iter().map(|e| (e.target_port, e.health)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the service has just this endpoint.
pub fn has(view: &View, key: &ServiceKey, port: u16, health: Health) -> Result<(), String> {
    match endpoints(view, key) {
        found if found == [(port, health)] => Ok(()),
        found => Err(format!("{key} has {found:?}, not {port} {health:?}")),
    }
}

/// How many services are known.
pub fn services(view: &View) -> usize {
    view.values.keys().filter(|key| matches!(key, Key::Service(_))).count()
}
