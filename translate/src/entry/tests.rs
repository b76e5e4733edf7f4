#![allow(clippy::unwrap_used)]

use mainstem_model::{Labels, Locality, Place, RegistryId, ServiceKey, Sourced};
use pretty_assertions::assert_eq;

use super::*;

const HOST: &str = "web.shop.svc.cluster.local";

fn origins(registry: &str, kind: &'static str, name: &str) -> Origins {
    Sourced::only(&RegistryId::from(registry), kind, name, "17")
}

fn service() -> Service {
    let key = ServiceKey::new(HOST, "shop");
    let mut service = Service::new(key, origins("kubernetes/c1", "Service", "shop/web"));
    let port = |number, name: &str, protocol, target| Port {
        number,
        name: name.into(),
        protocol,
        target: TargetPort::Number(target),
    };
    service.ports = vec![
        port(80, "http", Protocol::Http, 8080),
        port(9000, "raw", Protocol::Unspecified, 9000),
    ];
    service.addresses.insert("c1".into(), ["10.0.0.1".parse().unwrap()]);
    service.visibility = Visibility::Namespaces(["shop".into()].into());
    service.labels = Labels::from_iter([("team", "blue")]);
    service
}

fn endpoint(port: u16, ip: &str, target: u16, origins: &Origins) -> Endpoint {
    Endpoint {
        weight: 3,
        identity: Some("spiffe://td/ns/shop/sa/web".into()),
        labels: Labels::from_iter([("app", "web")]),
        place: Place {
            network: "n1".into(),
            locality: Locality::new("eu", "eu-1", ""),
            ..Place::default()
        }
        .into(),
        ..Endpoint::new(port, Address::parse(ip), target, origins.clone())
    }
}

fn exported(service: &Service, endpoints: Vec<Endpoint>) -> (Metadata, ServiceEntry) {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    let set = EndpointSet::new(service.key.clone(), endpoints);
    let bytes = resource(service, Some(&set), &"home".into());
    let Resource { metadata, body } = Resource::decode(bytes).unwrap();
    let body = body.unwrap();
    assert_eq!(body.type_url, SERVICE_ENTRY);
    (metadata.unwrap(), ServiceEntry::decode(body.value).unwrap())
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn a_service_is_an_entry_with_its_endpoints_and_whence_each_comes() {
    let slice = origins("kubernetes/c1", "EndpointSlice", "shop/web-1");
    let mut handed_on = origins("mcp/other", "ServiceEntry", "shop/web").to_vec();
    handed_on[0].origin.via = Via::parse("far consul/dc1 instance n1/web");
    let degraded = Endpoint {
        health: Health::Degraded,
        ..endpoint(80, "10.1.0.2", 8080, &Origins::from(handed_on))
    };
    let ill = Endpoint { health: Health::Unhealthy, ..endpoint(80, "10.1.0.3", 8080, &slice) };
    let endpoints = vec![
        endpoint(80, "10.1.0.1", 8080, &slice),
        endpoint(9000, "10.1.0.1", 9001, &slice),
        degraded,
        ill,
    ];
    let (metadata, entry) = exported(&service(), endpoints);
    let listed = r#"["home kubernetes/c1 Service shop/web","home kubernetes/c1 EndpointSlice shop/web-1","far>home consul/dc1 instance n1/web"]"#;
    let expected = Metadata {
        name: format!("shop/{HOST}"),
        labels: pairs([("team", "blue")]),
        annotations: pairs([(ORIGINS, listed), (ORIGIN, "0")]),
        version: metadata.version.clone(),
        create_time: None,
    };
    assert_eq!(metadata, expected);
    let workload = |address: &str, labels, ports: &[(&str, u32)]| WorkloadEntry {
        address: address.to_owned(),
        ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(),
        labels,
        network: "n1".to_owned(),
        locality: "eu/eu-1".to_owned(),
        weight: 3,
        service_account: "web".to_owned(),
    };
    let port = |number, protocol: &str, name: &str, target_port| ServicePort {
        number,
        protocol: protocol.to_owned(),
        name: name.to_owned(),
        target_port,
    };
    let both = workload(
        "10.1.0.1",
        pairs([("app", "web"), (ORIGIN, "1")]),
        &[("http", 8080), ("raw", 9001)],
    );
    let marked = pairs([("app", "web"), (ORIGIN, "2"), (HEALTH, DEGRADED)]);
    let expected = ServiceEntry {
        hosts: vec![HOST.to_owned()],
        addresses: vec!["10.0.0.1".to_owned()],
        ports: vec![port(80, "HTTP", "http", 8080), port(9000, "", "raw", 0)],
        location: 1,
        resolution: 1,
        endpoints: vec![both, workload("10.1.0.2", marked, &[("http", 8080)])],
        export_to: vec!["shop".to_owned()],
        subject_alt_names: Vec::new(),
        workload_selector: None,
    };
    assert_eq!(entry, expected);
}

#[test]
fn an_entry_has_another_version_only_with_other_content() {
    let slice = origins("kubernetes/c1", "EndpointSlice", "shop/web-1");
    let newer =
        Sourced::only(&RegistryId::from("kubernetes/c1"), "EndpointSlice", "shop/web-1", "18");
    let version = |endpoint| exported(&service(), vec![endpoint]).0.version;
    let first = version(endpoint(80, "10.1.0.1", 8080, &slice));
    assert_eq!(version(endpoint(80, "10.1.0.1", 8080, &newer)), first);
    assert_ne!(version(endpoint(80, "10.1.0.2", 8080, &slice)), first);
}

#[test]
fn names_that_proxies_resolve_are_told_as_names() {
    let of = |service: &Service, endpoints| exported(service, endpoints).1;
    let mut alias = service();
    alias.alias_of = Some("db.example.com".into());
    alias.resolution = Resolution::Alias;
    let told = of(&alias, Vec::new());
    assert_eq!((told.resolution, told.endpoints), (2, vec![named("db.example.com")]));
    let origins = origins("consul/dc1", "instance", "n1/web");
    let told = of(&service(), vec![endpoint(80, "web.example.com", 8080, &origins)]);
    assert_eq!((told.resolution, told.endpoints[0].address.as_str()), (2, "web.example.com"));
}
