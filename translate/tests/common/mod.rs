//! Small meshes to translate.

#![allow(dead_code, clippy::unwrap_used)]

pub mod bootstrap;
pub mod grpc;
pub mod mesh;
pub mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_model::{
    Address, Endpoint, EndpointSet, Labels, Locality, Origins, Port, Protocol, Proxy, RegistryId,
    Service, ServiceKey, Sourced, TargetPort, Workload, WorkloadKey,
};
use mainstem_translate::{Attached, Kind};
use serde_json::json;

/// `type~ip~name.namespace~domain` in `cluster`, with more metadata.
pub fn proxy(id: &str, cluster: &str, mut metadata: serde_json::Value) -> Proxy {
    metadata["CLUSTER_ID"] = json!(cluster);
    let locality = metadata["LOCALITY"].as_str().map(Locality::parse).unwrap_or_default();
    Proxy::parse(id, metadata, locality, &cluster.into()).unwrap()
}

pub fn origins(provider: &str, name: &str) -> Origins {
    Sourced::only(&RegistryId::new(provider, "c1"), "Service", name, "1")
}

pub fn service(host: &str, namespace: &str, provider: &str) -> Service {
    Service::new(ServiceKey::new(host, namespace), origins(provider, host))
}

pub fn port(number: u16, protocol: Protocol) -> Port {
    Port {
        number,
        name: format!("p{number}").into(),
        protocol,
        target: TargetPort::Number(8000 + number % 1000),
    }
}

pub fn endpoint(port: u16, address: &str) -> Endpoint {
    Endpoint::new(port, Address::parse(address), 8000 + port % 1000, origins("kubernetes", "e"))
}

pub fn endpoints(host: &str, namespace: &str, endpoints: Vec<Endpoint>) -> Arc<EndpointSet> {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    Arc::new(EndpointSet::new(ServiceKey::new(host, namespace), endpoints))
}

pub fn workload(cluster: &str, namespace: &str, name: &str, app: &str) -> Workload {
    let key = WorkloadKey::new(cluster.into(), namespace.into(), name);
    let mut workload = Workload::new(key, origins("kubernetes", name));
    workload.labels = Labels::from_iter([("app", app)]);
    workload
}

/// Everything that a proxy is told: bodies by type and name.
pub type Told = BTreeMap<(Kind, String), Vec<u8>>;

pub fn told(attached: &Attached) -> Told {
    let moment = attached.moment();
    let mut told = Told::new();
    for kind in Kind::ALL {
        let view = moment.view(kind);
        let mut last: Option<Arc<str>> = None;
        for resource in view.iter() {
            assert!(last.as_ref().is_none_or(|last| *last < resource.name), "in order");
            assert_eq!(view.get(&resource.name), Some(resource));
            last = Some(resource.name.clone());
            told.insert((kind, resource.name.to_string()), resource.body.to_bytes().to_vec());
        }
        assert_eq!(view.len(), view.iter().count());
    }
    told
}
