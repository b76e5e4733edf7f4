use std::net::IpAddr;
use std::sync::Arc;

use pretty_assertions::assert_eq;

use crate::*;

/// `REGISTRY NAMESPACE/HOST PORT PROTOCOL [CLUSTER=ADDRESS …]`
fn service(text: &str) -> Service {
    let words: Vec<&str> = text.split(' ').collect();
    let [registry, name, port, protocol, addresses @ ..] = words.as_slice() else {
        panic!("{text}")
    };
    let (namespace, host) = name.split_once('/').unwrap();
    let origins = Sourced::only(&RegistryId::from(*registry), "Service", host, "1");
    let mut service = Service::new(ServiceKey::new(host, namespace), origins);
    let number = port.parse().unwrap();
    service.ports = vec![Port {
        number,
        name: "port".into(),
        protocol: Protocol::from_name(protocol),
        target: TargetPort::Number(number),
    }];
    for address in addresses {
        let (cluster, ip) = address.split_once('=').unwrap();
        service.addresses.insert(cluster.into(), [ip.parse::<IpAddr>().unwrap()]);
    }
    service
}

fn seen_by(mut service: Service, namespaces: &[&str]) -> Service {
    let names = namespaces.iter().map(|name| NamespaceName::from(*name));
    service.visibility = Visibility::Namespaces(names.collect());
    service
}

fn snapshot(services: impl IntoIterator<Item = Service>) -> Snapshot {
    let mut draft = Snapshot::default().edit();
    services.into_iter().for_each(|service| draft.put_service(Arc::new(service)));
    draft.finish()
}

/// `LOSER: DETAIL`, in order.
fn conflicts(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.conflicts();
    all.iter().map(|c| format!("{}: {}", c.hostname, c.detail)).collect()
}

#[test]
fn services_at_one_address_and_port_clash_unless_server_names_tell_them_apart() {
    let clashing = snapshot([
        service("kubernetes/a ns/a 5432 tcp c=10.0.0.1"),
        service("file/f ns/b 5432 tcp c=10.0.0.1"),
        service("file/f ns/c 6379 tcp c=10.0.0.1"),
        service("file/f ns/tls-1 443 tls c=10.0.0.2"),
        service("file/f ns/tls-2 443 tls c=10.0.0.2"),
    ]);
    let expected = Conflict {
        hostname: "b".into(),
        namespace: "ns".into(),
        kind: ConflictKind::ServiceAddress,
        winner: Some("kubernetes/a".into()),
        loser: "file/f".into(),
        detail: "10.0.0.1 port 5432 in cluster c is ns/a's".to_owned(),
    };
    assert_eq!(clashing.conflicts(), [expected]);

    let mut draft = clashing.edit();
    draft.put_service(Arc::new(service("file/f ns/b 5432 tcp c=10.0.0.3")));
    assert_eq!(draft.finish().conflicts(), []);
    let mut draft = clashing.edit();
    draft.remove_service(&ServiceKey::new("a", "ns"));
    assert_eq!(draft.finish().conflicts(), []);
}

#[test]
fn of_two_clusters_that_use_an_address_each_has_its_own_service() {
    let opaque = snapshot([
        service("kubernetes/a ns/a 5432 tcp a=10.0.0.1"),
        service("kubernetes/b ns/b 5432 tcp b=10.0.0.1"),
    ]);
    let expected = [
        "a: 10.0.0.1 port 5432 in cluster b is ns/b's",
        "b: 10.0.0.1 port 5432 in cluster a is ns/a's",
    ];
    assert_eq!(conflicts(&opaque), expected);
    // Host names tell them apart.
    let requests = snapshot([
        service("kubernetes/a ns/a 80 http a=10.0.0.1"),
        service("kubernetes/b ns/b 80 http b=10.0.0.1"),
    ]);
    assert_eq!(requests.conflicts(), []);
}

#[test]
fn opaque_ports_without_an_address_belong_to_the_first_service() {
    let clashing = snapshot([
        service("file/f ns/a 5432 tcp"),
        service("file/f ns/b 5432 tcp"),
        service("file/f ns/c 5432 http"),
        service("file/f ns/d 5432 tls"),
        service("file/f ns/e 5432 tcp c=10.0.0.1"),
        service("file/f ns/f 5433 tcp"),
    ]);
    let expected = ["b: opaque traffic to port 5432, for want of an address, is ns/a's"];
    assert_eq!(conflicts(&clashing), expected);

    let mut draft = clashing.edit();
    draft.put_service(Arc::new(service("file/f ns/a 5432 http")));
    assert_eq!(draft.finish().conflicts(), []);
}

#[test]
fn connections_that_go_where_they_were_going_anyway_are_no_clash() {
    let headless = |text| Service { resolution: Resolution::Passthrough, ..service(text) };
    let both = [headless("kubernetes/a ns/a 6379 tcp"), headless("kubernetes/a ns/b 6379 tcp")];
    assert_eq!(snapshot(both).conflicts(), []);
    let one = [service("kubernetes/a ns/a 6379 tcp"), headless("kubernetes/a ns/b 6379 tcp")];
    assert_eq!(conflicts(&snapshot(one)).len(), 1);
}

#[test]
fn only_services_that_somebody_sees_together_clash() {
    let (a, b) = ("file/f x/a 5432 tcp", "file/f y/b 5432 tcp");
    let apart = [seen_by(service(a), &["x"]), seen_by(service(b), &["y"])];
    assert_eq!(snapshot(apart).conflicts(), []);
    let together = [seen_by(service(a), &["x", "z"]), seen_by(service(b), &["y", "z"])];
    assert_eq!(conflicts(&snapshot(together)).len(), 1);
    let covered = [seen_by(service(a), &["x"]), service(b)];
    assert_eq!(conflicts(&snapshot(covered)).len(), 1);
    let nobody = [service(a), seen_by(service(b), &[])];
    assert_eq!(snapshot(nobody).conflicts(), []);
}

#[test]
fn a_name_is_its_owners_before_those_who_have_it_as_an_alias() {
    let mut aliased = service("file/f ns/a 80 http");
    aliased.aliases.insert("b".into());
    let clashing = snapshot([aliased.clone(), service("file/f ns/b 80 http")]);
    assert_eq!(conflicts(&clashing), ["a: the name b is ns/b's"]);
    // An alias that is a service of its own and leads there is the same thing.
    let mut alias = service("kubernetes/k ns/b 80 http");
    alias.resolution = Resolution::Alias;
    alias.alias_of = Some("a".into());
    assert_eq!(snapshot([aliased, alias]).conflicts(), []);
}

#[test]
fn a_host_name_in_two_namespaces_clashes_for_clients_elsewhere() {
    let both = [service("file/f y/a 80 http"), service("kubernetes/k z/a 80 http")];
    let found = snapshot(both.clone()).conflicts();
    let seen: Vec<_> = found.iter().map(|c| (c.kind, &c.namespace, &*c.detail)).collect();
    assert_eq!(seen, [(ConflictKind::ServiceName, &"y".into(), "the name a is z/a's")]);
    let [first, second] = both;
    assert_eq!(snapshot([seen_by(first, &["y"]), second]).conflicts(), []);
}
