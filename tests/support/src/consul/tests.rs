#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;
use crate::eventually::eventually;
use serde_json::json;

async fn passing(consul: &Consul, service: &str) -> Vec<String> {
    let path = format!("/v1/health/service/{service}?passing");
    let entries = consul.call(Method::GET, &path, None).await;
    let entries = entries.as_array().unwrap();
    let mut ids: Vec<String> =
        entries.iter().map(|entry| entry["Service"]["ID"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

async fn until_passing(consul: &Consul, service: &str, ids: &[&str]) {
    eventually(&format!("{service} is {ids:?}"), TIMEOUT, async || {
        let found = passing(consul, service).await;
        if found == ids { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn node_with(service: &str) -> Value {
    json!({
        "Node": format!("node-of-{service}"),
        "Address": "10.0.0.1",
        "Service": { "ID": service, "Service": service, "Port": 80 },
    })
}

#[tokio::test]
async fn services_come_flip_and_go() {
    let consul = Consul::start(ConsulOptions::default()).await;
    let check = json!({ "TTL": "1h", "Status": "passing" });
    let service = json!({ "ID": "web-1", "Name": "web", "Port": 80, "Check": check });

    consul.register(&service).await;
    until_passing(&consul, "web", &["web-1"]).await;

    consul.set_check("service:web-1", "critical").await;
    until_passing(&consul, "web", &[]).await;

    consul.set_check("service:web-1", "warning").await;
    consul.set_check("service:web-1", "passing").await;
    until_passing(&consul, "web", &["web-1"]).await;

    consul.deregister("web-1").await;
    until_passing(&consul, "web", &[]).await;
}

#[tokio::test]
async fn many_services_are_written_by_transactions() {
    let consul = Consul::start(ConsulOptions::default()).await;
    let node =
        json!({ "Node": { "Verb": "set", "Node": { "Node": "far", "Address": "10.0.0.9" } } });
    let services = (0..200).map(|n| {
        json!({ "Service": { "Verb": "set", "Node": "far",
            "Service": { "ID": format!("s{n}"), "Service": format!("s{n}"), "Port": 80 } } })
    });
    let operations: Vec<Value> = std::iter::once(node).chain(services).collect();

    consul.txn(&operations).await;

    let catalog = consul.call(Method::GET, "/v1/catalog/services", None).await;
    assert_eq!(catalog.as_object().unwrap().len(), 201);
}

#[tokio::test]
async fn a_restart_keeps_a_catalog_on_disk_and_an_empty_one_does_not() {
    let consul =
        Consul::start(ConsulOptions { storage: Storage::Disk, ..ConsulOptions::default() }).await;
    consul.catalog_register(&node_with("web")).await;
    let (url, pid) = (consul.http_url(), consul.process().pid());

    consul.kill9();
    consul.restart().await;
    assert_eq!(passing(&consul, "web").await, ["web"]);

    consul.restart_empty().await;
    assert_eq!(passing(&consul, "web").await, Vec::<String>::new());
    assert_eq!(consul.http_url(), url);
    assert_ne!(consul.process().pid(), pid);
}

#[tokio::test]
async fn a_restored_snapshot_brings_the_earlier_catalog_back() {
    let consul = Consul::start(ConsulOptions::default()).await;
    consul.catalog_register(&node_with("old")).await;
    let snapshot = consul.snapshot().await;
    consul.catalog_register(&node_with("new")).await;

    consul.restore(snapshot).await;

    until_passing(&consul, "new", &[]).await;
    until_passing(&consul, "old", &["old"]).await;
}

#[tokio::test]
async fn a_token_sees_what_its_policies_allow_until_it_is_revoked() {
    let consul = Consul::start(ConsulOptions { acl: true, ..ConsulOptions::default() }).await;
    consul.catalog_register(&node_with("web")).await;
    let rules = r#"service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#;
    consul.acl_policy("reader", rules).await;
    let token = consul.acl_token(&["reader"]).await;
    let secret = ("x-consul-token", token.secret.clone());
    let reader = HttpClient::secured(&consul.http_url(), None, None, Some(secret));
    let services = async || {
        let path = "/v1/catalog/services";
        let (status, body) = reader.json(Method::GET, path, None).await.unwrap();
        (status.as_u16(), body.as_object().map(|body| body.len()))
    };

    assert_eq!(services().await, (200, Some(2)));

    consul.set_policies(&token, &[]).await;
    assert_eq!(services().await, (200, Some(0)));

    consul.revoke(&token).await;
    assert_eq!(services().await, (403, None));
}

#[tokio::test]
async fn over_tls_a_client_must_show_a_certificate() {
    let consul = Consul::start(ConsulOptions {
        tls: true,
        verify_incoming: true,
        ..ConsulOptions::default()
    })
    .await;
    let nameless = HttpClient::secured(&consul.http_url(), consul.ca(), None, None);

    consul.put_kv("greeting", "hello").await;

    assert!(consul.http_url().starts_with("https://"));
    assert!(nameless.get("/v1/kv/greeting?raw").await.is_err());
    consul.delete_kv("greeting").await;
}

#[tokio::test]
async fn a_datacenter_is_read_through_the_one_that_it_joined() {
    let primary =
        Consul::start(ConsulOptions { acl: true, tls: true, ..ConsulOptions::default() }).await;
    let options = ConsulOptions::federated_with(&primary, "dc2", Ipv4Addr::new(127, 0, 0, 2));
    let secondary = Consul::start(options).await;
    secondary.catalog_register(&node_with("far")).await;

    eventually("dc2 is read through dc1", TIMEOUT, async || {
        let path = "/v1/catalog/service/far?dc=dc2";
        match primary.api(Method::GET, path, None).await {
            Ok((status, Value::Array(found))) if status.is_success() && found.len() == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_paused_agent_keeps_a_query_waiting() {
    let consul = Consul::start(ConsulOptions::default()).await;

    consul.pause();
    let query = consul.call(Method::GET, "/v1/status/leader", None);
    tokio::pin!(query);
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut query).await;
    assert!(early.is_err());

    consul.resume();
    assert!(query.await.is_string());
}
