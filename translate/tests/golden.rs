//! What representative proxies are told, in full.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::bootstrap::{bootstrap, json_of};
use common::{Told, endpoint, endpoints, grpc, port, proxy, service, told, workload};
use mainstem_model::{
    Address, Endpoint, Health, Labels, Locality, MeshSettings, NetworkGateway, NetworkGatewayKey,
    Origins, Place, Protocol, Proxy, Resolution, Snapshot, WorkloadKey,
};
use mainstem_test_support::{Envoy, EnvoyVersion};
use mainstem_translate::{Scopes, Settings};
use serde_json::{Map, Value, json};

const SHOP: &str = "shop.svc.cluster.local";

/// A small mesh with one of everything.
fn shop() -> Arc<Snapshot> {
    let mut draft = Snapshot::new(MeshSettings::default()).edit();

    let mut web = service("web.shop.svc.cluster.local", "shop", "kubernetes");
    web.ports = vec![port(80, Protocol::Http), port(90, Protocol::Grpc)];
    web.addresses = [("c1".into(), vec!["10.0.0.1".parse().unwrap()])].into();
    web.selector = Labels::from_iter([("app", "web")]);
    web.aliases = ["www.example.com".into()].into();
    draft.put_service(Arc::new(web));
    let here = Endpoint {
        workload: Some(WorkloadKey::new("c1".into(), "shop".into(), "web-1")),
        labels: Labels::from_iter([("app", "web"), ("version", "v2")]),
        place: Place { locality: Locality::parse("eu/eu-1"), ..Place::default() }.into(),
        ..endpoint(80, "10.1.0.1")
    };
    let critical = Endpoint { health: Health::Unhealthy, weight: 5, ..endpoint(80, "10.9.0.1") };
    let far = Endpoint {
        place: Place { network: "vms".into(), ..Place::default() }.into(),
        ..endpoint(80, "192.168.0.1")
    };
    draft.put_endpoints(endpoints("web.shop.svc.cluster.local", "shop", vec![here, critical, far]));

    let mut db = service("db.shop.svc.cluster.local", "shop", "kubernetes");
    db.ports = vec![port(5432, Protocol::Tcp), port(6000, Protocol::Unspecified)];
    db.addresses = [("c1".into(), vec!["10.0.0.2".parse().unwrap()])].into();
    db.selector = Labels::from_iter([("app", "web")]);
    draft.put_service(Arc::new(db));

    let mut queue = service("queue.other.svc.cluster.local", "other", "kubernetes");
    queue.ports = vec![port(80, Protocol::Http), port(9092, Protocol::Tcp)];
    queue.resolution = Resolution::Passthrough;
    draft.put_service(Arc::new(queue));

    let mut outside = service("*.example.org", "shop", "file");
    outside.ports = vec![port(443, Protocol::Tls)];
    outside.external = true;
    outside.resolution = Resolution::Dns;
    draft.put_service(Arc::new(outside));
    draft.put_endpoints(endpoints(
        "*.example.org",
        "shop",
        vec![endpoint(443, "edge.example.org")],
    ));

    let mut alias = service("store.shop.svc.cluster.local", "shop", "kubernetes");
    alias.ports = vec![port(80, Protocol::Http)];
    alias.resolution = Resolution::Alias;
    alias.alias_of = Some("web.shop.svc.cluster.local".into());
    draft.put_service(Arc::new(alias));

    let mut web_1 = workload("c1", "shop", "web-1", "web");
    web_1.addresses = vec![Address::parse("10.1.0.1")];
    draft.put_workload(Arc::new(web_1));
    draft.put_gateway(Arc::new(NetworkGateway {
        key: NetworkGatewayKey {
            network: "vms".into(),
            cluster: "c2".into(),
            address: Address::parse("1.1.1.1"),
            port: 15443,
        },
        origins: Origins::default(),
    }));
    Arc::new(draft.finish())
}

/// Bodies by type and name, after Envoy has accepted them.
async fn accepted(proxy: Proxy) -> Value {
    let told = everything(proxy.clone());
    for version in EnvoyVersion::matrix() {
        let bootstrap = bootstrap(&proxy, &told);
        assert_eq!(Envoy::validate(&bootstrap, version).await, Ok(()), "{}", version.number());
    }
    by_type(&told)
}

fn everything(proxy: Proxy) -> Told {
    let scopes = Scopes::new(Settings::default(), shop());
    told(&scopes.attach(proxy))
}

fn by_type(told: &Told) -> Value {
    let mut types: Map<String, Value> = Map::new();
    for ((kind, name), body) in told {
        let of_kind = types.entry(format!("{kind:?}")).or_insert_with(|| json!({}));
        of_kind[name] = json_of(*kind, body);
    }
    types.into()
}

fn sidecar(interception: &str) -> Proxy {
    let id = format!("sidecar~10.1.0.1~web-1.shop~{SHOP}");
    proxy(&id, "c1", json!({"INTERCEPTION_MODE": interception, "ISTIO_VERSION": "1.29.0"}))
}

#[tokio::test]
async fn a_sidecar_behind_redirect() {
    insta::assert_json_snapshot!(accepted(sidecar("REDIRECT")).await);
}

#[tokio::test]
async fn a_sidecar_behind_tproxy_with_both_address_families() {
    let id = "sidecar~10.1.0.3~api-1.other~other.svc.cluster.local";
    let metadata = json!({"INTERCEPTION_MODE": "TPROXY", "INSTANCE_IPS": "10.1.0.3,fd00::3"});
    insta::assert_json_snapshot!(accepted(proxy(id, "c2", metadata)).await["Listener"]);
}

#[tokio::test]
async fn a_sidecar_without_interception() {
    insta::assert_json_snapshot!(accepted(sidecar("NONE")).await);
}

#[tokio::test]
async fn a_router() {
    let proxy = proxy("router~10.1.0.9~gw-1.shop~x", "c1", json!({"NETWORK": "vms"}));
    insta::assert_json_snapshot!(accepted(proxy).await);
}

#[test]
fn a_grpc_client() {
    let id = format!("sidecar~10.1.0.7~app-1.shop~{SHOP}");
    let told = everything(proxy(&id, "c1", json!({"GENERATOR": "grpc"})));
    grpc::assert_accepted(&told);
    let mut types = by_type(&told);
    // One of each will do: the others differ by names alone.
    for (kind, names) in types.as_object_mut().unwrap() {
        if kind != "LoadAssignment" {
            names
                .as_object_mut()
                .unwrap()
                .retain(|name, _| name.contains("web.shop.svc") && name.contains("80"));
        }
    }
    insta::assert_json_snapshot!(types);
}
