//! A mesh of a few services, and what proxies are told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{Endpoint, MeshSettings, Protocol, Proxy, Service, ServiceKey, Snapshot};
use mainstem_translate::{Attached, Kind, Moment, Scopes, Settings};
use serde_json::{Value, json};

use super::bootstrap::json_of;
use super::random::{Change, after};
use super::{port, proxy, service};

pub const SHOP: &str = "shop.svc.cluster.local";
pub const WEB: &str = "web.shop.svc.cluster.local";

/// A mesh that changes under connected proxies.
pub struct Mesh {
    pub snapshot: Snapshot,
    pub scopes: Scopes,
}

impl Mesh {
    pub fn of(changes: Vec<Change>) -> Self {
        let snapshot = after(&Snapshot::new(MeshSettings::default()), changes);
        let scopes = Scopes::new(Settings::default(), Arc::new(snapshot.clone()));
        Self { snapshot, scopes }
    }

    /// Applies changes; returns the ids of those who are told something else.
    pub fn change(&mut self, changes: Vec<Change>) -> BTreeSet<u64> {
        self.snapshot = after(&self.snapshot, changes);
        let changed = self.scopes.update(&Arc::new(self.snapshot.clone()));
        changed.iter().map(|attached| attached.id()).collect()
    }
}

pub fn put(service: Service) -> Change {
    Change::Service(Box::new(service))
}

pub fn endpoints(host: &str, all: Vec<Endpoint>) -> Change {
    Change::Endpoints(ServiceKey::new(host, "shop"), all)
}

/// A service in `shop` with one port; `address` may be empty.
pub fn one_port(host: &str, number: u16, protocol: Protocol, address: &str) -> Service {
    let mut service = service(host, "shop", "kubernetes");
    service.ports = vec![port(number, protocol)];
    if !address.is_empty() {
        service.addresses = [("c1".into(), vec![address.parse().unwrap()])].into();
    }
    service
}

pub fn sidecar() -> Proxy {
    sidecar_with(json!({}))
}

pub fn sidecar_with(metadata: Value) -> Proxy {
    proxy(&format!("sidecar~10.1.0.1~web-1.shop~{SHOP}"), "c1", metadata)
}

pub fn unintercepted() -> Proxy {
    sidecar_with(json!({"INTERCEPTION_MODE": "NONE", "LABELS": {"app": "web"}}))
}

pub fn read(attached: &Attached, kind: Kind, name: &str) -> Value {
    let moment = attached.moment();
    let found = moment.view(kind).get(name);
    found.map_or(Value::Null, |resource| json_of(kind, &resource.body.to_bytes()))
}

pub fn names(attached: &Attached, kind: Kind) -> Vec<String> {
    attached.moment().view(kind).iter().map(|resource| resource.name.to_string()).collect()
}

pub fn changes(now: &Moment, before: &Moment) -> BTreeMap<Kind, Vec<String>> {
    let texts = |names: Arc<[Arc<str>]>| names.iter().map(ToString::to_string).collect();
    now.changes_since(before).map(|(kind, names)| (kind, texts(names))).collect()
}

/// `domain → virtual host` of a route configuration.
pub fn domains(attached: &Attached, name: &str) -> BTreeMap<String, String> {
    let routes = read(attached, Kind::Route, name);
    let hosts = routes["virtual_hosts"].as_array().unwrap();
    let pairs = hosts.iter().flat_map(|host| {
        let domains = host["domains"].as_array().unwrap();
        domains.iter().map(|domain| (text(domain), text(&host["name"])))
    });
    pairs.collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `what is matched → where it goes` of each filter chain, the default one last.
pub fn chains(attached: &Attached, name: &str) -> Vec<(Value, String)> {
    let listener = read(attached, Kind::Listener, name);
    let chains = listener["filter_chains"].as_array().cloned().unwrap_or_default();
    let default = listener.get("default_filter_chain").cloned();
    let goes = |chain: &Value| {
        let config = &chain["filters"][0]["typed_config"];
        let routes = &config["rds"]["route_config_name"];
        let inline = &config["route_config"]["name"];
        [&config["cluster"], routes, inline].into_iter().find_map(Value::as_str).unwrap().to_owned()
    };
    let all = chains.iter().chain(&default);
    all.map(|chain| (chain["filter_chain_match"].clone(), goes(chain))).collect()
}

pub fn http() -> Value {
    json!({
        "application_protocols": ["http/1.0", "http/1.1", "h2c"],
        "transport_protocol": "raw_buffer",
    })
}
