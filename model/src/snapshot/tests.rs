use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::*;

fn origins(revision: &str) -> Origins {
    Sourced::only(&RegistryId::new("file", "a"), "Service", "s", revision)
}

fn service(host: &str, namespace: &str) -> Service {
    let mut service = Service::new(ServiceKey::new(host, namespace), origins("1"));
    service.ports = vec![Port {
        number: 80,
        name: "http".into(),
        protocol: Protocol::Http,
        target: TargetPort::Name("web".into()),
    }];
    service
}

fn endpoints(key: &ServiceKey, addresses: &[&str]) -> Arc<EndpointSet> {
    let all = addresses
        .iter()
        .map(|address| Arc::new(Endpoint::new(80, Address::parse(address), 8080, origins("1"))));
    Arc::new(EndpointSet::new(key.clone(), all.collect()))
}

fn proxy(metadata: serde_json::Value) -> Proxy {
    let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
    Proxy::parse(id, metadata, Locality::default(), &"home".into()).unwrap()
}

fn keys(services: &[&Arc<Service>]) -> Vec<String> {
    services.iter().map(|service| service.key.to_string()).collect()
}

#[test]
fn an_edit_knows_its_changes_and_leaves_its_predecessor_alone() {
    let empty = Snapshot::default();
    let web = service("web.shop", "shop");
    let mut draft = empty.edit();
    draft.put_service(Arc::new(web.clone()));
    draft.put_endpoints(endpoints(&web.key, &["10.0.0.1"]));
    let first = draft.finish();

    let expected = ChangeSet {
        services: BTreeSet::from([web.key.clone()]),
        endpoints: BTreeSet::from([web.key.clone()]),
        ..ChangeSet::default()
    };
    assert_eq!(first.changes_since(0), Some(expected));
    assert_eq!((empty.service_count(), first.service_count()), (0, 1));

    let mut draft = first.edit();
    draft.put_service(Arc::new(Service { origins: origins("2"), ..web.clone() }));
    let second = draft.finish();
    assert_eq!(second.changes_since(1), Some(ChangeSet::default()));
    assert_eq!(&*second.service(&web.key).unwrap().origins[0].revision, "2");
}

#[test]
fn a_snapshot_knows_nothing_of_the_future() {
    let snapshot = Snapshot::default().edit().finish();
    assert_eq!(snapshot.changes_since(1), Some(ChangeSet::default()));
    assert_eq!(snapshot.changes_since(2), None);
}

#[test]
fn visibility_decides_who_sees_a_service() {
    let mut draft = Snapshot::default().edit();
    draft.put_service(Arc::new(service("a.shop", "shop")));
    let private = Visibility::Namespaces(["shop".into()].into());
    let mut hidden = Service { visibility: private, ..service("b.shop", "shop") };
    draft.put_service(Arc::new(hidden.clone()));
    let snapshot = draft.finish();
    assert_eq!(keys(&snapshot.services_visible_to(&"shop".into())), ["shop/a.shop", "shop/b.shop"]);
    assert_eq!(keys(&snapshot.services_visible_to(&"other".into())), ["shop/a.shop"]);

    hidden.visibility = Visibility::Public;
    let mut draft = snapshot.edit();
    draft.put_service(Arc::new(hidden.clone()));
    let snapshot = draft.finish();
    assert_eq!(
        keys(&snapshot.services_visible_to(&"other".into())),
        ["shop/a.shop", "shop/b.shop"]
    );

    let mut draft = snapshot.edit();
    draft.remove_service(&hidden.key);
    assert_eq!(keys(&draft.finish().services_visible_to(&"other".into())), ["shop/a.shop"]);
}

#[test]
fn a_proxy_finds_the_services_that_select_its_workload_by_the_workloads_ports() {
    let selecting =
        Service { selector: Labels::from_iter([("app", "web")]), ..service("web.shop", "shop") };
    let mut workload =
        Workload::new(WorkloadKey::new("home".into(), "shop".into(), "web-1"), origins("1"));
    workload.labels = Labels::from_iter([("app", "web")]);
    workload.ports = [("web".into(), 8080)].into();
    workload.health = Health::Unhealthy;
    let mut draft = Snapshot::default().edit();
    draft.put_service(Arc::new(selecting));
    draft.put_workload(Arc::new(workload));
    let snapshot = draft.finish();

    let targets = snapshot.targets_of(&proxy(json!({})));
    let found: Vec<_> =
        targets.iter().map(|t| (t.service.key.to_string(), t.port.number, t.target_port)).collect();
    assert_eq!(found, [("shop/web.shop".to_owned(), 80, 8080)]);
}

#[test]
fn a_proxy_without_a_workload_finds_services_by_its_claims() {
    let selecting =
        Service { selector: Labels::from_iter([("app", "web")]), ..service("web.shop", "shop") };
    let mut draft = Snapshot::default().edit();
    draft.put_service(Arc::new(selecting));
    let snapshot = draft.finish();
    let claims = json!({
        "LABELS": {"app": "web"},
        "POD_PORTS": [{"name": "web", "containerPort": 9090}],
    });
    let ports: Vec<_> = snapshot.targets_of(&proxy(claims)).iter().map(|t| t.target_port).collect();
    assert_eq!(ports, [9090]);
}

#[test]
fn a_proxy_finds_the_services_registered_at_its_address_until_they_go() {
    let (a, b) = (service("a.vm", "default"), service("b.vm", "default"));
    let mut draft = Snapshot::default().edit();
    for service in [&a, &b] {
        draft.put_service(Arc::new(service.clone()));
        draft.put_endpoints(endpoints(&service.key, &["10.0.0.1", "10.0.0.2"]));
    }
    let snapshot = draft.finish();
    let hosts = |snapshot: &Snapshot, metadata| -> Vec<String> {
        let targets = snapshot.targets_of(&proxy(metadata));
        targets.iter().map(|t| t.service.hostname().to_string()).collect()
    };
    assert_eq!(hosts(&snapshot, json!({})), ["a.vm", "b.vm"]);
    assert_eq!(hosts(&snapshot, json!({"NETWORK": "elsewhere"})), Vec::<String>::new());

    let mut draft = snapshot.edit();
    draft.put_endpoints(endpoints(&a.key, &["10.0.0.2"]));
    let snapshot = draft.finish();
    assert_eq!(hosts(&snapshot, json!({})), ["b.vm"]);
    let mut draft = snapshot.edit();
    draft.remove_endpoints(&b.key);
    assert_eq!(hosts(&draft.finish(), json!({})), Vec::<String>::new());
}

#[test]
fn an_address_that_a_proxy_claims_counts_within_its_namespace_where_that_is_proven() {
    let mut draft = Snapshot::default().edit();
    for (namespace, address) in [("shop", "10.0.0.1"), ("pay", "10.0.0.2")] {
        let selector = Labels::from_iter([("app", "web")]);
        let host = format!("web.{namespace}");
        draft.put_service(Arc::new(Service { selector, ..service(&host, namespace) }));
        let key = WorkloadKey::new("home".into(), namespace.into(), "other");
        let mut workload = Workload::new(key, origins("1"));
        workload.labels = Labels::from_iter([("app", "web")]);
        workload.ports = [("web".into(), 8080)].into();
        workload.addresses = vec![Address::parse(address)];
        draft.put_workload(Arc::new(workload));
        let registered = service(&format!("vm.{namespace}"), namespace);
        draft.put_endpoints(endpoints(&registered.key, &[address]));
        draft.put_service(Arc::new(registered));
    }
    let snapshot = draft.finish();
    let hosts = |address: &str, namespace_proven| -> Vec<String> {
        let claims = proxy(json!({ "INSTANCE_IPS": address }));
        let addresses = vec![address.parse().unwrap()];
        let targets = snapshot.targets_of(&Proxy { addresses, namespace_proven, ..claims });
        targets.iter().map(|t| t.service.hostname().to_string()).collect()
    };
    assert_eq!(hosts("10.0.0.1", true), ["vm.shop", "web.shop"]);
    assert_eq!(hosts("10.0.0.2", true), Vec::<String>::new());
    assert_eq!(hosts("10.0.0.2", false), ["vm.pay", "web.pay"]);
}

#[test]
fn what_is_registered_with_an_identity_is_of_its_namespace() {
    let shared = service("web.vm", "default");
    let identity = "spiffe://cluster.local/ns/shop/sa/web".into();
    let own = Endpoint {
        identity: Some(identity),
        ..Endpoint::new(80, Address::parse("10.0.0.1"), 8080, origins("1"))
    };
    let mut draft = Snapshot::default().edit();
    let set = EndpointSet::new(shared.key.clone(), vec![Arc::new(own)]);
    draft.put_service(Arc::new(shared));
    draft.put_endpoints(Arc::new(set));
    let proven = Proxy { namespace_proven: true, ..proxy(json!({})) };
    assert_eq!(draft.finish().targets_of(&proven).len(), 1);
}

#[test]
fn workloads_of_different_registries_at_one_address_collide() {
    let workload = |registry: &str, network: &str, name: &str| {
        let origins = Sourced::only(&registry.into(), "Pod", name, "1");
        let mut workload =
            Workload::new(WorkloadKey::new("c".into(), "shop".into(), name), origins);
        workload.addresses = vec![Address::parse("10.0.0.1")];
        workload.network = network.into();
        Arc::new(workload)
    };
    let mut draft = Snapshot::default().edit();
    draft.put_workload(workload("kubernetes/a", "", "one"));
    draft.put_workload(workload("kubernetes/a", "", "on-the-same-host"));
    draft.put_workload(workload("kubernetes/b", "other", "elsewhere"));
    assert_eq!(draft.current().conflicts(), []);
    draft.put_workload(workload("consul/dc1", "", "two"));
    let found: Vec<_> =
        draft.current().conflicts().into_iter().map(|c| (c.winner, c.loser, c.detail)).collect();
    let detail =
        |name: &str| format!("c/shop/two and c/shop/{name} both have 10.0.0.1 in network \"\"");
    let expected = ["on-the-same-host", "one"]
        .map(|name| (Some("consul/dc1".into()), "kubernetes/a".into(), detail(name)));
    assert_eq!(found, expected);
}

#[test]
fn a_workload_is_found_at_its_addresses_a_healthy_one_first() {
    let key = |name| WorkloadKey::new("home".into(), "shop".into(), name);
    let at = |name, address| {
        let mut workload = Workload::new(key(name), origins("1"));
        workload.addresses = vec![Address::parse(address)];
        Arc::new(workload)
    };
    let found = |snapshot: &Snapshot, address| {
        let workload = snapshot.workload_at(&NetworkId::default(), &Address::parse(address));
        workload.map(|workload| workload.key.name().to_owned())
    };
    let mut draft = Snapshot::default().edit();
    let ending = Workload { health: Health::Unhealthy, ..(*at("ending", "10.0.0.1")).clone() };
    draft.put_workload(Arc::new(ending));
    draft.put_workload(at("old", "10.0.0.1"));
    draft.put_workload(at("new", "10.0.0.1"));
    assert_eq!(found(draft.current(), "10.0.0.1"), Some("new".to_owned()));
    draft.remove_workload(&key("ending"));
    draft.remove_workload(&key("old"));
    let snapshot = draft.finish();
    assert_eq!(found(&snapshot, "10.0.0.1"), Some("new".to_owned()));
    let mut draft = snapshot.edit();
    draft.put_workload(at("new", "10.0.0.2"));
    let snapshot = draft.finish();
    assert_eq!(
        (found(&snapshot, "10.0.0.1"), found(&snapshot, "10.0.0.2")),
        (None, Some("new".to_owned()))
    );
}
