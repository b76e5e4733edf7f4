//! The battery of every registry adapter, against a real xDS server, and a source of the
//! original protocol.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use mainstem_mcp::convert::Kind;
use mainstem_mcp::{McpAdapter, McpConfig, Protocol};
use mainstem_model::{ObjectRef, RegistryId, ServiceKey};
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::istio::{Metadata, Resource, ServiceEntry, ServicePort, WorkloadEntry};
use mainstem_registry::Adapter;
use mainstem_test_support::battery::{Fixture, TestService};
use mainstem_test_support::{Fault, FaultProxy};
use mainstem_xds::{Listener, Server, ServerConfig, StaticSource, TypeUrl};
use prost::Message;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What holds the objects.
trait Upstream: Send + Sync {
    fn set(&mut self, resource: Resource);
    fn remove(&mut self, name: &str);
}

impl Upstream for StaticSource {
    fn set(&mut self, resource: Resource) {
        let name = resource.metadata.clone().unwrap_or_default().name;
        let url = TypeUrl::from(Kind::ServiceEntry.type_url());
        let resource = mainstem_xds::Resource::new(&url, name.as_str(), resource.encode_to_vec());
        Self::set(self, resource);
    }

    fn remove(&mut self, name: &str) {
        Self::remove(self, &TypeUrl::from(Kind::ServiceEntry.type_url()), name);
    }
}

struct Source {
    upstream: Box<dyn Upstream>,
    /// What the adapter is told.
    address: String,
    proxy: FaultProxy,
    protocol: Protocol,
    _serving: DropGuard,
}

impl Source {
    async fn start(protocol: Protocol) -> Self {
        let source = StaticSource::new();
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let proxy = FaultProxy::start(listener.address().unwrap());
        let server = Server::new(ServerConfig::default(), Arc::new(source.clone()));
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { server.serve(listener, stop).await });
        let (upstream, address) = (Box::new(source), proxy.http_url());
        Self { upstream, address, proxy, protocol, _serving: shutdown.drop_guard() }
    }

    fn set(&mut self, name: &str, entry: &ServiceEntry) {
        let body = Any {
            type_url: "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry".to_owned(),
            value: entry.encode_to_vec().into(),
        };
        let metadata = Metadata { name: format!("shop/{name}"), ..Metadata::default() };
        self.upstream.set(Resource { metadata: Some(metadata), body: Some(body) });
    }
}

fn hostname(name: &str) -> String {
    format!("{name}.shop.svc.cluster.local")
}

fn entry(service: &TestService) -> ServiceEntry {
    let endpoint =
        |ip: &Ipv4Addr| WorkloadEntry { address: ip.to_string(), ..WorkloadEntry::default() };
    ServiceEntry {
        hosts: vec![hostname(&service.name)],
        ports: vec![ServicePort {
            number: service.port.into(),
            name: "http".to_owned(),
            protocol: "HTTP".to_owned(),
            target_port: service.target.into(),
        }],
        location: 1,
        resolution: 1,
        // The protocol has no word for an unhealthy endpoint: it is left out.
        endpoints: service.ready.iter().map(endpoint).collect(),
        ..ServiceEntry::default()
    }
}

impl Fixture for Source {
    fn registry(&self) -> RegistryId {
        RegistryId::new(mainstem_mcp::PROVIDER, "upstream")
    }

    fn adapter(&self) -> Box<dyn Adapter> {
        let protocol = self.protocol;
        let config = McpConfig { protocol, ..McpConfig::new("upstream", &self.address) };
        Box::new(McpAdapter::new(config))
    }

    fn key(&self, name: &str) -> ServiceKey {
        ServiceKey::new(hostname(name), "shop")
    }

    async fn put(&mut self, service: &TestService) {
        self.set(&service.name, &entry(service));
    }

    async fn remove(&mut self, name: &str) {
        self.upstream.remove(&format!("shop/{name}"));
    }

    async fn malform(&mut self, name: &str) {
        let broken = ServiceEntry { resolution: 99, ..entry(&TestService::new(name, &[])) };
        self.set(name, &broken);
    }

    fn malformed(&self, name: &str) -> ObjectRef {
        ObjectRef { kind: "ServiceEntry", name: format!("shop/{name}").into() }
    }

    async fn cut(&mut self) {
        self.proxy.set(Fault::Refuse).await;
    }

    async fn begin_gap(&mut self) {
        self.proxy.set(Fault::Refuse).await;
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
        assert!(self.proxy.connections() > 0, "the stream is open");
    }

    async fn restore(&mut self) {
        self.proxy.set(Fault::None).await;
    }
}

mod original;

mod delta {
    use super::*;
    mainstem_test_support::adapter_battery!(Source::start(Protocol::Delta).await);
}

mod sotw {
    use super::*;
    mainstem_test_support::adapter_battery!(Source::start(Protocol::Sotw).await);
}
