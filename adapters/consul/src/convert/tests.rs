use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use mainstem_model::{Health, Labels, Locality, Place, TlsMode};

use super::*;
use crate::api::RawInstance;
use crate::config::{HostnameTemplate, Selector};

fn registry() -> RegistryId {
    RegistryId::new("consul", "vm")
}

fn config() -> ConsulConfig {
    ConsulConfig { network: "vpc".into(), ..ConsulConfig::new("vm") }
}

/// Merges `over` into an instance as Consul writes it.
fn instance(over: Json) -> Json {
    let mut base = json!({
        "Node": {"ID": "x", "Node": "n1", "Address": "10.0.0.9", "Datacenter": "dc1",
                 "TaggedAddresses": null, "Meta": null, "ModifyIndex": 5},
        "Service": {"ID": "web-1", "Service": "web", "Tags": null, "Address": "",
                    "TaggedAddresses": null, "Meta": null, "Port": 8080,
                    "Weights": {"Passing": 1, "Warning": 1}, "ModifyIndex": 7},
        "Checks": [],
    });
    merge(&mut base, over);
    base
}

fn merge(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

fn raw(instance: Json) -> RawInstance {
    crate::api::read_instances(json!([instance]).to_string()).unwrap().remove(0)
}

fn convert_with(config: &ConsulConfig, over: Json) -> Result<Option<Contribution>, String> {
    let registry = registry();
    let context = Context { config, registry: &registry, datacenter: "dc1" };
    contribution(context, "web", &raw(instance(over))).map_err(|rejected| rejected.reason)
}

fn endpoint(over: Json) -> Endpoint {
    (*convert_with(&config(), over).unwrap().unwrap().endpoint).clone()
}

fn reason(over: Json) -> String {
    convert_with(&config(), over).unwrap_err()
}

fn check(status: &str, of: &str) -> Json {
    json!({"Node": "n1", "CheckID": "c", "Status": status, "ServiceName": of, "ModifyIndex": 9})
}

#[test]
fn an_instance_becomes_an_endpoint_with_all_that_it_says() {
    let made = endpoint(json!({
        "Service": {
            "Address": "10.0.0.1", "Tags": ["version|v1", "security.istio.io/tlsMode=istio"],
            "Meta": {"service-port": "80", "port-name": "http-web", "network": "dmz"},
            "Weights": {"Passing": 7, "Warning": 2}, "Locality": {"Region": "eu", "Zone": "eu-1"},
        },
        "Checks": [check("passing", "web")],
    }));
    let expected = Endpoint {
        port_name: "http-web".into(),
        weight: 7,
        tls_mode: TlsMode::Istio,
        labels: Labels::from_iter([
            ("network", "dmz"),
            ("port-name", "http-web"),
            ("security.istio.io/tlsMode", "istio"),
            ("service-port", "80"),
            ("version", "v1"),
        ]),
        place: Place {
            locality: Locality::new("eu", "eu-1", ""),
            network: "dmz".into(),
            cluster: "vm".into(),
            node: Some("n1".into()),
        }
        .into(),
        ..Endpoint::new(
            80,
            Address::parse("10.0.0.1"),
            8080,
            Sourced::only(&registry(), "instance", "web/web-1@n1", "9"),
        )
    };
    assert_eq!(format!("{made:#?}"), format!("{expected:#?}"));
}

#[test]
fn what_an_instance_does_not_say_comes_from_its_node_and_the_configuration() {
    let made = endpoint(json!({}));
    let expected = Endpoint {
        place: Place {
            locality: Locality::new("dc1", "", ""),
            network: "vpc".into(),
            cluster: "vm".into(),
            node: Some("n1".into()),
        }
        .into(),
        ..Endpoint::new(
            0,
            Address::parse("10.0.0.9"),
            8080,
            Sourced::only(&registry(), "instance", "web/web-1@n1", "7"),
        )
    };
    assert_eq!(format!("{made:#?}"), format!("{expected:#?}"));
}

#[rstest]
#[case(&[], Health::Healthy, 10)]
#[case(&[("passing", "web"), ("passing", "")], Health::Healthy, 10)]
#[case(&[("passing", "web"), ("warning", "web")], Health::Degraded, 3)]
#[case(&[("warning", "web"), ("critical", "")], Health::Unhealthy, 10)]
#[case(&[("critical", "web")], Health::Unhealthy, 10)]
fn the_worst_check_decides_health_and_weight(
    #[case] checks: &[(&str, &str)],
    #[case] health: Health,
    #[case] weight: u32,
) {
    let checks: Vec<Json> = checks.iter().map(|(status, of)| check(status, of)).collect();
    let made = endpoint(json!({
        "Service": {"Weights": {"Passing": 10, "Warning": 3}}, "Checks": checks,
    }));
    assert_eq!((made.health, made.weight), (health, weight));
}

#[test]
fn a_warning_weight_of_zero_takes_no_traffic() {
    let made = endpoint(json!({
        "Service": {"Weights": {"Passing": 4, "Warning": 0}}, "Checks": [check("warning", "web")],
    }));
    assert_eq!((made.health, made.weight), (Health::Unhealthy, 4));
}

#[rstest]
#[case(None, json!({}), "10.0.0.9", 8080)]
#[case(None, json!({"Service": {"Address": "10.0.0.1"}}), "10.0.0.1", 8080)]
#[case(Some("wan"), json!({"Service": {"Address": "10.0.0.1",
    "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 443}}}}), "1.2.3.4", 443)]
#[case(Some("wan"), json!({"Service": {
    "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 0}}}}), "1.2.3.4", 8080)]
#[case(Some("wan"), json!({"Service": {"Address": "10.0.0.1"},
    "Node": {"TaggedAddresses": {"wan": "4.3.2.1"}}}), "10.0.0.1", 8080)]
#[case(Some("wan"), json!({"Node": {"TaggedAddresses": {"wan": "4.3.2.1"}}}), "4.3.2.1", 8080)]
#[case(Some("wan"), json!({}), "10.0.0.9", 8080)]
#[case(None, json!({"Service": {"Address": "DB.example.com."}}), "db.example.com", 8080)]
#[case(None, json!({"Service": {"SocketPath": "/run/web.sock", "Port": 0}}), "unix:///run/web.sock", 0)]
#[case(None, json!({"Service": {"Address": "fd00::1"}}), "fd00::1", 8080)]
fn an_address_is_the_nearest_one_known(
    #[case] tagged: Option<&str>,
    #[case] over: Json,
    #[case] address: &str,
    #[case] port: u16,
) {
    let config = ConsulConfig { tagged_address: tagged.map(str::to_owned), ..config() };
    let made = convert_with(&config, over).unwrap().unwrap().endpoint;
    assert_eq!((made.address.to_string(), made.target_port), (address.to_owned(), port));
}

#[rstest]
#[case(json!({"Service": {"Meta": {"locality": "eu/eu-2/r"}}}), "eu/eu-2/r")]
#[case(json!({"Node": {"Meta": {"locality": "eu/eu-3"}}}), "eu/eu-3")]
#[case(json!({"Node": {"Locality": {"Region": "us", "Zone": "us-1"}}}), "us/us-1")]
#[case(json!({"Node": {"Meta": {"region": "ap", "zone": "ap-1", "subzone": "r1"}}}), "ap/ap-1/r1")]
#[case(json!({"Node": {"Meta": {"zone": "z"}}}), "dc1/z")]
#[case(json!({"Service": {"Locality": null}}), "dc1")]
fn a_locality_is_the_nearest_one_known(#[case] over: Json, #[case] locality: &str) {
    assert_eq!(endpoint(over).place.locality.to_string(), locality);
}

#[rstest]
#[case(json!({"Service": {"Port": 0}}), "it has no port: register one, or exclude the service")]
#[case(json!({"Service": {"Port": 70000}}), "its port 70000 is none; ports are 1 to 65535")]
#[case(json!({"Service": {"Port": -1}}), "its port -1 is none; ports are 1 to 65535")]
#[case(json!({"Service": {"Meta": {"service-port": "many"}}}),
    "its metadata service-port is \"many\"; ports are 1 to 65535")]
#[case(json!({"Service": {"Meta": {"service-port": "0"}}}),
    "its metadata service-port is \"0\"; ports are 1 to 65535")]
#[case(json!({"Service": {"Address": "not an address"}}),
    "its address \"not an address\" is neither an IP address nor a host name")]
#[case(json!({"Node": {"Address": ""}}), "its address \"\" is neither an IP address nor a host name")]
#[case(json!({"Checks": [{"CheckID": "up", "Status": "fine"}]}),
    "its check \"up\" has the status \"fine\"; known are passing, warning and critical")]
#[case(json!({"Service": {"Port": "8080"}}), "invalid type: string \"8080\", expected i64")]
fn a_malformed_instance_says_what_is_wrong(#[case] over: Json, #[case] expected: &str) {
    assert_eq!(reason(over), expected);
}

#[rstest]
#[case("connect-proxy", false)]
#[case("mesh-gateway", false)]
#[case("ingress-gateway", false)]
#[case("terminating-gateway", false)]
#[case("api-gateway", false)]
#[case("typical", true)]
#[case("", true)]
fn proxies_and_gateways_are_left_out(#[case] kind: &str, #[case] taken: bool) {
    let made = convert_with(&config(), json!({"Service": {"Kind": kind}})).unwrap();
    assert_eq!(made.is_some(), taken);
}

#[rstest]
#[case(Selector { tags: vec!["mesh".into()], ..Selector::default() }, true)]
#[case(Selector { tags: vec!["mesh".into(), "x".into()], ..Selector::default() }, false)]
#[case(Selector { without_tags: vec!["mesh".into()], ..Selector::default() }, false)]
#[case(Selector { metadata: [("env".into(), "prod".into())].into(), ..Selector::default() }, true)]
#[case(Selector { metadata: [("env".into(), "dev".into())].into(), ..Selector::default() }, false)]
#[case(Selector { node_metadata: [("rack".into(), "r1".into())].into(), ..Selector::default() }, true)]
#[case(Selector { node_metadata: [("rack".into(), "r2".into())].into(), ..Selector::default() }, false)]
#[case(Selector { passing_only: true, ..Selector::default() }, false)]
fn a_selector_leaves_instances_out(#[case] select: Selector, #[case] taken: bool) {
    let over = json!({
        "Service": {"Tags": ["mesh"], "Meta": {"env": "prod"}},
        "Node": {"Meta": {"rack": "r1"}},
        "Checks": [check("warning", "web")],
    });
    let made = convert_with(&ConsulConfig { select, ..config() }, over).unwrap();
    assert_eq!(made.is_some(), taken);
}

fn assembled(config: &ConsulConfig, instances: Vec<Json>) -> Option<(Service, EndpointSet)> {
    let registry = registry();
    let context = Context { config, registry: &registry, datacenter: "dc1" };
    let key = ServiceKey::new("web.service.dc1.consul", "default");
    let contributions: BTreeMap<ObjectRef, Contribution> = instances
        .into_iter()
        .filter_map(|one| contribution(context, "web", &raw(instance(one))).unwrap())
        .map(|one| (one.object.clone(), one))
        .collect();
    assemble(context, "web", &key, contributions.values())
}

fn ports(config: &ConsulConfig, instances: Vec<Json>) -> Vec<(u16, String, Protocol)> {
    let (service, _) = assembled(config, instances).unwrap();
    service.ports.into_iter().map(|p| (p.number, p.name.to_string(), p.protocol)).collect()
}

fn service(id: &str, port: u16, meta: Json) -> Json {
    json!({"Service": {"ID": id, "Port": port, "Meta": meta}})
}

#[test]
fn a_service_has_the_ports_that_its_instances_name() {
    let instances = vec![
        service("a", 8080, json!({"service-port": "80", "protocol": "http"})),
        service("b", 8081, json!({"service-port": "80", "protocol": "tcp"})),
        service("c", 9090, json!({"service-port": "9000", "protocol": "grpc", "port-name": "rpc"})),
        service("d", 9999, json!({"protocol": "http"})),
    ];
    assert_eq!(
        ports(&config(), instances),
        [(80, "http-80".to_owned(), Protocol::Http), (9000, "rpc".to_owned(), Protocol::Grpc)]
    );
}

#[test]
fn without_a_named_port_the_lowest_target_is_the_services_port() {
    let instances = || vec![service("a", 9090, json!({})), service("b", 8080, json!({}))];
    let expected = [(8080, "port-8080".to_owned(), Protocol::Unspecified)];
    assert_eq!(ports(&config(), instances()), expected);
    let (_, set) = assembled(&config(), instances()).unwrap();
    assert_eq!(set.of_port(0).len(), 2, "they join whatever only port the service has");

    let config =
        ConsulConfig { service_port: Some(80), protocol: Some(Protocol::Http), ..config() };
    assert_eq!(ports(&config, instances()), [(80, "http-80".to_owned(), Protocol::Http)]);
    let (_, set) = assembled(&config, instances()).unwrap();
    assert_eq!(set.of_port(80).len(), 2);
}

#[test]
fn a_port_name_or_number_tells_the_protocol_where_nothing_else_does() {
    let named = service("a", 8080, json!({"service-port": "80", "port-name": "http-web"}));
    assert_eq!(ports(&config(), vec![named]), [(80, "http-web".to_owned(), Protocol::Http)]);
    let mysql = service("a", 3306, json!({}));
    assert_eq!(ports(&config(), vec![mysql]), [(3306, "tcp-3306".to_owned(), Protocol::Tcp)]);
    let unknown = service("a", 8080, json!({"protocol": "dubbo"}));
    let sniffed = [(8080, "port-8080".to_owned(), Protocol::Unspecified)];
    assert_eq!(ports(&config(), vec![unknown]), sniffed);
}

#[test]
fn host_addresses_and_the_external_mark_change_the_service() {
    let (plain, _) = assembled(&config(), vec![json!({})]).unwrap();
    assert_eq!((plain.resolution, plain.external), (Resolution::ClientSide, false));
    let named = json!({"Service": {"Address": "db.example.com", "Meta": {"external": "true"}}});
    let (external, _) = assembled(&config(), vec![named]).unwrap();
    assert_eq!((external.resolution, external.external), (Resolution::Dns, true));
}

#[test]
fn a_service_without_instances_does_not_exist() {
    assert!(assembled(&config(), Vec::new()).is_none());
    let proxy = json!({"Service": {"Kind": "connect-proxy"}});
    assert!(assembled(&config(), vec![proxy]).is_none());
}

fn named(config: &ConsulConfig, listed: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
    let registry = registry();
    let context = Context { config, registry: &registry, datacenter: "DC1" };
    let names = names(context, listed.iter().copied());
    (
        names.services.iter().map(|(name, key)| (name.to_string(), key.to_string())).collect(),
        names.rejected.values().map(|r| format!("{}: {}", r.object, r.reason)).collect(),
    )
}

#[test]
fn names_become_hosts_in_the_namespace_of_their_shape() {
    let (services, rejected) = named(&config(), &["Web_API", "consul", "db"]);
    let pair = |name: &str, key: &str| (name.to_owned(), key.to_owned());
    assert_eq!(
        services,
        [
            pair("Web_API", "default/web-api.service.dc1.consul"),
            pair("db", "default/db.service.dc1.consul")
        ]
    );
    assert_eq!(rejected, Vec::<String>::new());

    let hostname: HostnameTemplate = "{service}.shop.svc.cluster.local".parse().unwrap();
    let hostname = Some(hostname);
    let config =
        ConsulConfig { hostname, include: vec!["d*".to_owned()], exclude: vec![], ..config() };
    let (services, _) = named(&config, &["web", "db", "consul"]);
    assert_eq!(services, [pair("db", "shop/db.shop.svc.cluster.local")]);

    let config = ConsulConfig { peer: Some("emea".to_owned()), ..ConsulConfig::new("vm") };
    let (services, _) = named(&config, &["web"]);
    assert_eq!(services, [pair("web", "default/web.service.emea.peer.consul")]);
}

#[test]
fn a_name_that_is_no_host_or_already_taken_is_rejected() {
    let (services, rejected) = named(&config(), &["a_b", "a-b", "no host"]);
    assert_eq!(services, [("a-b".to_owned(), "default/a-b.service.dc1.consul".to_owned())]);
    assert_eq!(
        rejected,
        [
            "service a_b: its host name a-b.service.dc1.consul is already that of the service \
             \"a-b\": rename one or exclude it",
            "service no host: by the template {service}.service.{datacenter}.consul it has no DNS \
             name: rename the service or exclude it",
        ]
    );
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".*".prop_map(Json::from),
        prop::sample::select(vec![
            "passing",
            "10.0.0.1",
            "80",
            "a=b",
            "connect-proxy",
            "unix:///x"
        ])
        .prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// The places of an instance in which anything may stand.
const PLACES: &[&str] = &[
    "/Node",
    "/Node/Node",
    "/Node/Address",
    "/Node/Meta",
    "/Node/TaggedAddresses",
    "/Node/ModifyIndex",
    "/Service",
    "/Service/ID",
    "/Service/Service",
    "/Service/Tags",
    "/Service/Address",
    "/Service/TaggedAddresses",
    "/Service/Meta",
    "/Service/Port",
    "/Service/Weights",
    "/Service/Weights/Warning",
    "/Service/ModifyIndex",
    "/Checks",
    "",
];

proptest! {
    #[test]
    fn whatever_stands_in_an_instance_rejects_at_most_that_instance(
        changes in prop::collection::vec((prop::sample::select(PLACES), any_json()), 0..4),
        at in 0usize..3,
    ) {
        let mut bad = instance(json!({"Service": {"ID": "bad"}}));
        for (place, value) in changes {
            if let Some(slot) = bad.pointer_mut(place) {
                *slot = value;
            }
        }
        let mut all = vec![
            instance(json!({"Service": {"ID": "a"}})),
            instance(json!({"Service": {"ID": "b"}})),
        ];
        all.insert(at, bad);
        let (config, registry) = (config(), registry());
        let context = Context { config: &config, registry: &registry, datacenter: "dc1" };

        let instances = crate::api::read_instances(Json::from(all).to_string()).unwrap();
        let made: Vec<_> =
            instances.iter().map(|one| contribution(context, "web", one)).collect();

        prop_assert_eq!(made.len(), 3);
        let good = made.iter().enumerate().filter(|(i, _)| *i != at);
        for (_, one) in good {
            prop_assert!(matches!(one, Ok(Some(_))));
        }
        let contributions: Vec<Contribution> =
            made.into_iter().filter_map(Result::ok).flatten().collect();
        let key = ServiceKey::new("web", "default");
        prop_assert!(assemble(context, "web", &key, &contributions).is_some());
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = crate::api::read_instances(bytes);
    }

    #[test]
    fn any_service_name_gets_a_host_or_is_rejected(listed in prop::collection::btree_set(".*", 0..6)) {
        let (config, registry) = (config(), registry());
        let context = Context { config: &config, registry: &registry, datacenter: "dc1" };
        let followed = listed.iter().filter(|name| *name != "consul").count();
        let names = names(context, listed.iter().map(String::as_str));
        prop_assert_eq!(names.services.len() + names.rejected.len(), followed);
    }
}
