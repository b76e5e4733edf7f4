use super::*;
use crate::api::{Hold, Nack, Refusal, Rejected};

fn origin(registry: &str) -> Origin {
    Origin {
        registry: registry.to_owned(),
        kind: "Service".to_owned(),
        name: "orders".to_owned(),
        revision: "1".to_owned(),
        via: None,
    }
}

#[test]
fn ages_are_in_their_largest_unit() {
    let ages = [5, 119, 120, 7_200, 172_800].map(|seconds| short(Duration::from_secs(seconds)));
    assert_eq!(ages, ["5s", "119s", "2m", "2h", "2d"]);
}

#[test]
fn a_registry_is_a_row_with_its_troubles_below() {
    let registry = Registry {
        name: "consul/dc1".to_owned(),
        state: "stale".to_owned(),
        reason: Some("connection refused".to_owned()),
        since: None,
        synced: true,
        restored: true,
        lag_seconds: Some(90.4),
        last_update: None,
        last_error: None,
        index_resets: 1,
        index_jumps: 0,
        updates: 3,
        services: 2,
        endpoints: 10,
        held: 4,
        decisions: Vec::new(),
        holds: vec![Hold {
            hostname: "orders.shop".to_owned(),
            namespace: "shop".to_owned(),
            endpoints: 4,
            since: "2026-01-01T00:00:00Z".to_owned(),
            until: "2026-01-01T00:10:00Z".to_owned(),
            cause: "service".to_owned(),
        }],
        workloads: 0,
        unloaded: 0,
        rejected: vec![Rejected {
            kind: "instance".to_owned(),
            name: "web-1".to_owned(),
            reason: "port 0".to_owned(),
        }],
        last_good: None,
        settings: serde_json::Value::Null,
    };
    assert_eq!(
        registries(&[registry]),
        "\
REGISTRY    STATE  SINCE  LAG  UPDATED  SERVICES  ENDPOINTS  HELD  WORKLOADS  REJECTED
consul/dc1  stale  -      90s  -        2         10         4     0          1

consul/dc1 is stale: connection refused

consul/dc1: its index was reset 1 times and jumped 0 times

consul/dc1 is served from its last good state on disk

consul/dc1 withdrew 4 endpoints of shop/orders.shop: held until 2026-01-01T00:10:00Z

consul/dc1 rejects instance web-1: port 0
"
    );
}

#[test]
fn an_endpoint_shows_its_registries_once_each() {
    let endpoint = Endpoint {
        port: 80,
        port_name: "http".to_owned(),
        addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
        target_port: 8080,
        health: "healthy".to_owned(),
        weight: 1,
        tier: 0,
        held: true,
        locality: "eu/eu-1".to_owned(),
        network: String::new(),
        cluster: String::new(),
        workload: None,
        identity: None,
        mesh_tls: false,
        labels: Default::default(),
        origins: vec![origin("kubernetes/eu"), origin("kubernetes/eu"), origin("file/vm")],
    };
    let service = ServiceEndpoints {
        hostname: "orders.shop".to_owned(),
        namespace: "shop".to_owned(),
        endpoints: vec![endpoint],
    };
    assert_eq!(
        endpoints(&[service]),
        "\
HOST         PORT  ADDRESS                        HEALTH         WEIGHT  LOCALITY  CLUSTER  REGISTRIES
orders.shop  80    10.0.0.1:8080, [fd00::1]:8080  healthy, held  1       eu/eu-1   -        kubernetes/eu, file/vm
"
    );
}

/// A proxy whose clusters are `rejected`, of which it refuses so many.
fn refusing(refused: usize) -> Proxy {
    let refusal = |number| Refusal {
        name: format!("cluster-{number}"),
        version: "00".to_owned(),
        at: "2999-01-01T00:00:00Z".to_owned(),
        message: "no such field\n".to_owned(),
    };
    let nacked = Nack { at: String::new(), message: "the latest".to_owned(), culprits: vec![] };
    let clusters = ProxyType {
        kind: "CDS".to_owned(),
        state: "rejected".to_owned(),
        names: None,
        pending: 0,
        stale_since: Some("2999-01-01T00:00:00Z".to_owned()),
        sent: None,
        acked: None,
        nacked: Some(nacked),
        refused,
        refusals: (0..refused.min(20)).map(refusal).collect(),
    };
    Proxy {
        id: "sidecar~10.0.0.1~web.shop~shop".to_owned(),
        stream: 1,
        name: "web.shop".to_owned(),
        kind: "sidecar".to_owned(),
        cluster: "eu".to_owned(),
        peer: None,
        agent: "envoy 1.40.0".to_owned(),
        identity: None,
        protocol: "delta".to_owned(),
        since: "2999-01-01T00:00:00Z".to_owned(),
        track: None,
        types: vec![clusters],
    }
}

#[test]
fn a_proxy_that_refuses_something_says_what_and_why() {
    assert_eq!(
        proxies(&[refusing(1)]),
        "\
PROXY     TYPE     CLUSTER  CDS          EDS  LDS  RDS  PROTOCOL  CONNECTED  SOFTWARE
web.shop  sidecar  eu       rejected 0s  -    -    -    delta     0s         envoy 1.40.0

web.shop refuses CDS cluster-0 for 0s: no such field
"
    );
}

#[test]
fn of_many_refusals_the_first_are_printed_and_the_rest_counted() {
    let text = proxies(&[refusing(30)]);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("refuses")).collect();
    let all = (0..5).map(|n| format!("web.shop refuses CDS cluster-{n} for 0s: no such field"));
    let rest = "web.shop refuses 25 more CDS".to_owned();
    assert_eq!(lines, all.chain([rest]).collect::<Vec<_>>());
}

#[test]
fn a_refusal_of_which_nobody_is_guilty_yet_is_printed_as_it_came() {
    let text = proxies(&[refusing(0)]);
    assert!(text.ends_with("\nweb.shop rejected CDS: the latest\n"), "{text}");
}
