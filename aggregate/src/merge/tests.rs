use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{
    Conflict, ConflictKind, Endpoint, EndpointSet, Protocol, Resolution, Service,
};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::fixtures::{config, endpoint, endpoints, key, service, set, written};
use crate::policy::MergePolicy;
use crate::rules::Rules;

mod sharing;

const WEB: &str = "shop/web.shop.svc";

/// What registries say, in whatever order it is written here.
#[derive(Default)]
struct Said(Vec<OfOne>, Option<MergePolicy>);

type OfOne = (&'static str, Option<Arc<Service>>, Option<Arc<EndpointSet>>);

impl Said {
    fn service(mut self, registry: &'static str, service: Service) -> Self {
        self.0.push((registry, Some(Arc::new(service)), None));
        self
    }

    /// Endpoints of the registry named last.
    fn at(mut self, all: &[&str]) -> Self {
        let last = self.0.last_mut().unwrap();
        last.2 = Some(endpoints(last.0, WEB, all));
        self
    }

    fn endpoints(mut self, registry: &'static str, set: Arc<EndpointSet>) -> Self {
        self.0.push((registry, None, Some(set)));
        self
    }

    fn merged(&self, registries: &[&str]) -> Merged {
        let rules = Rules::new(&config(registries));
        let contributions = rules.registries().iter().filter_map(|registry| {
            let said = self.0.iter().find(|(id, ..)| *id == registry.id.as_str())?;
            let (service, endpoints) = (said.1.as_ref(), said.2.as_ref());
            Some(Contribution { registry, service, endpoints, share: 100 })
        });
        merge_service(self.1.as_ref(), &key(WEB), &contributions.collect::<Vec<_>>())
    }
}

fn web(registry: &str, ports: &[&str]) -> Service {
    service(registry, WEB, ports)
}

fn addresses(merged: &Merged) -> Vec<String> {
    merged.endpoints.as_ref().map(|set| written(set)).unwrap_or_default()
}

fn conflicts(merged: &Merged) -> Vec<(ConflictKind, &str, &str)> {
    merged.conflicts.iter().map(|c| (c.kind, c.loser.as_str(), c.detail.as_str())).collect()
}

#[test]
fn what_one_registry_brings_alone_is_shared() {
    let said = Said::default().service("kubernetes/home", web("kubernetes/home", &["80 http"]));
    let said = said.at(&["80 10.0.0.1:8080"]);
    let merged = said.merged(&["kubernetes/home", "consul/dc1"]);
    assert!(Arc::ptr_eq(&merged.service.unwrap(), said.0[0].1.as_ref().unwrap()));
    assert!(Arc::ptr_eq(&merged.endpoints.unwrap(), said.0[0].2.as_ref().unwrap()));
    assert_eq!(merged.conflicts, []);
}

#[test]
fn a_registry_that_joins_adds_endpoints_on_the_service_port() {
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .at(&["80 10.0.0.1:8080"])
        .service("consul/dc1", web("consul/dc1", &[]))
        .at(&["0 10.0.0.2:8080"])
        .merged(&["consul/dc1 *.shop.svc", "kubernetes/home"]);
    assert_eq!(addresses(&merged), ["80 10.0.0.1:8080", "80 10.0.0.2:8080"]);
    assert_eq!(merged.conflicts, []);
}

#[test]
fn a_registry_that_may_not_join_stays_out_and_is_named() {
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .at(&["80 10.0.0.1:8080"])
        .service("consul/dc1", web("consul/dc1", &["9 tcp"]))
        .at(&["80 10.0.0.2:8080"])
        .merged(&["kubernetes/home", "consul/dc1 *.other.svc"]);
    assert_eq!(addresses(&merged), ["80 10.0.0.1:8080"]);
    let expected = Conflict {
        hostname: "web.shop.svc".into(),
        namespace: "shop".into(),
        kind: ConflictKind::UndeclaredJoin,
        winner: Some("kubernetes/home".into()),
        loser: "consul/dc1".into(),
        detail: "joins of consul/dc1 does not include web.shop.svc".to_owned(),
    };
    assert_eq!(merged.conflicts, [expected]);
}

#[rstest]
#[case::without_joins("consul/dc1")]
#[case::with_joins("consul/dc1 *.shop.svc")]
fn a_name_registered_in_consul_defines_no_service_of_another_domain(#[case] consul: &str) {
    let merged = Said::default()
        .service("consul/dc1", web("consul/dc1", &["80 http"]))
        .at(&["80 10.0.0.2:8080"])
        .merged(&["kubernetes/home", consul]);
    assert!(merged.service.is_none() && merged.endpoints.is_none());
    let detail = "hosts of consul/dc1 does not include shop/web.shop.svc";
    assert_eq!(conflicts(&merged), [(ConflictKind::UndeclaredHost, "consul/dc1", detail)]);
}

#[test]
fn endpoints_without_a_definition_are_not_published_and_no_conflict() {
    let set = endpoints("kubernetes/home", WEB, &["80 10.0.0.1:8080"]);
    let merged = Said::default().endpoints("kubernetes/home", set).merged(&["kubernetes/home"]);
    assert!(merged.service.is_none() && merged.endpoints.is_none());
    assert_eq!(merged.conflicts, []);
}

#[test]
fn kubernetes_clusters_merge_by_name_without_being_told() {
    let mut home = web("kubernetes/home", &["80 http"]);
    home.addresses.insert("home".into(), ["10.96.0.1".parse().unwrap()]);
    let mut far = web("kubernetes/far", &["80 http", "90 grpc"]);
    far.addresses.insert("far".into(), ["10.97.0.1".parse().unwrap()]);
    let merged = Said::default()
        .service("kubernetes/far", far)
        .at(&["80 10.1.0.1:8080", "90 10.1.0.1:9090"])
        .service("kubernetes/home", home)
        .at(&["80 10.0.0.1:8080"])
        .merged(&["kubernetes/far", "kubernetes/home"]);
    assert_eq!(addresses(&merged), ["80 10.0.0.1:8080", "80 10.1.0.1:8080", "90 10.1.0.1:9090"]);
    let service = merged.service.unwrap();
    let ports: Vec<_> = service.ports.iter().map(|p| (p.number, p.name.as_str())).collect();
    assert_eq!(ports, [(80, "http"), (90, "grpc")]);
    assert_eq!(service.addresses.keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["far", "home"]);
    let origins: Vec<_> = service.origins.iter().map(|o| o.origin.registry.as_str()).collect();
    assert_eq!(origins, ["kubernetes/home", "kubernetes/far"]);
    assert_eq!(merged.conflicts, []);
}

#[test]
fn of_one_port_number_the_first_registrys_name_and_protocol_win() {
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .service("kubernetes/far", web("kubernetes/far", &["80 tcp-web"]))
        .at(&["80 10.1.0.1:8080"])
        .merged(&["kubernetes/home", "kubernetes/far"]);
    let service = merged.service.clone().unwrap();
    let port = service.port(80).unwrap();
    assert_eq!((port.name.as_str(), port.protocol), ("http", Protocol::Http));
    assert_eq!(addresses(&merged), ["80 10.1.0.1:8080"]);
    assert_eq!(
        conflicts(&merged),
        [
            (ConflictKind::PortName, "kubernetes/far", "port 80: http against tcp-web"),
            (ConflictKind::PortProtocol, "kubernetes/far", "port 80: http against tcp"),
        ]
    );
}

#[test]
fn a_further_port_under_a_taken_name_is_renamed() {
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .service("kubernetes/far", web("kubernetes/far", &["81 http"]))
        .merged(&["kubernetes/home", "kubernetes/far"]);
    let service = merged.service.unwrap();
    let ports: Vec<_> = service.ports.iter().map(|p| (p.number, p.name.as_str())).collect();
    assert_eq!(ports, [(80, "http"), (81, "http-81")]);
}

#[rstest]
#[case::by_number(&["80 http", "90 grpc"], "90 10.0.0.2:1", "", Some("90 10.0.0.2:1"))]
#[case::number_before_name(&["80 http", "90 grpc"], "90 10.0.0.2:1", "http", Some("90 10.0.0.2:1"))]
#[case::by_name(&["80 http", "90 grpc"], "7 10.0.0.2:1", "grpc", Some("90 10.0.0.2:1"))]
#[case::by_name_without_number(&["80 http", "90 grpc"], "0 10.0.0.2:1", "grpc", Some("90 10.0.0.2:1"))]
#[case::the_only_port(&["80 http"], "0 10.0.0.2:1", "", Some("80 10.0.0.2:1"))]
#[case::not_one_of_two(&["80 http", "90 grpc"], "0 10.0.0.2:1", "", None)]
#[case::unknown(&["80 http"], "7 10.0.0.2:1", "x", None)]
fn endpoints_find_their_port(
    #[case] ports: &[&str],
    #[case] place: &str,
    #[case] name: &str,
    #[case] expected: Option<&str>,
) {
    let joining = Endpoint { port_name: name.into(), ..endpoint("consul/dc1", "web", place) };
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", ports))
        .endpoints("consul/dc1", set(WEB, vec![joining]))
        .merged(&["kubernetes/home", "consul/dc1 *.svc"]);
    assert_eq!(addresses(&merged), Vec::from_iter(expected));
    let unknown: Vec<_> = merged.conflicts.iter().map(|c| (c.kind, c.loser.as_str())).collect();
    let none = [(ConflictKind::UnknownPort, "consul/dc1")];
    assert_eq!(unknown, if expected.is_some() { &[][..] } else { &none[..] });
}

#[test]
fn an_endpoint_of_several_registries_has_the_firsts_fields_and_all_origins() {
    let weighing = |registry: &str, weight| {
        set(WEB, vec![Endpoint { weight, ..endpoint(registry, "web", "80 10.0.0.1:8080") }])
    };
    let merged = Said::default()
        .endpoints("file/a", weighing("file/a", 7))
        .endpoints("consul/dc1", weighing("consul/dc1", 3))
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .merged(&["consul/dc1 *", "file/a *", "kubernetes/home"]);
    let set = merged.endpoints.unwrap();
    let found: Vec<_> = set
        .endpoints()
        .iter()
        .map(|e| (e.weight, e.origins.iter().map(|o| o.origin.registry.as_str()).collect()))
        .collect();
    assert_eq!(found, [(3, vec!["consul/dc1", "file/a"])]);
}

#[test]
fn a_registry_adds_no_foreign_service_account() {
    let mut joining = web("consul/dc1", &[]);
    let (own, foreign) = ("spiffe://cluster.local/ns/a/sa/b", "spiffe://evil/ns/a/sa/b");
    joining.service_accounts = [own.into(), foreign.into()].into();
    let vm =
        Endpoint { identity: Some(foreign.into()), ..endpoint("consul/dc1", "w", "80 1.1.1.1:1") };
    let mut said = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .service("consul/dc1", joining);
    said.0[1].2 = Some(set(WEB, vec![vm]));
    let merged = said.merged(&["kubernetes/home", "consul/dc1 *"]);
    let service = merged.service.clone().unwrap();
    assert_eq!(service.service_accounts, BTreeSet::from([own.into()]));
    assert_eq!(merged.endpoints.as_ref().unwrap().endpoints()[0].identity, None);
    let of_endpoint = format!("identity {foreign} of an endpoint");
    let of_service = format!("service account {foreign}");
    assert_eq!(
        conflicts(&merged),
        [
            (ConflictKind::ForeignServiceAccount, "consul/dc1", &*of_endpoint),
            (ConflictKind::ForeignServiceAccount, "consul/dc1", &*of_service),
        ]
    );
}

#[test]
fn the_first_registrys_resolution_wins() {
    let far =
        Service { resolution: Resolution::Passthrough, ..web("kubernetes/far", &["80 http"]) };
    let merged = Said::default()
        .service("kubernetes/home", web("kubernetes/home", &["80 http"]))
        .service("kubernetes/far", far)
        .merged(&["kubernetes/home", "kubernetes/far"]);
    assert_eq!(merged.service.as_ref().unwrap().resolution, Resolution::ClientSide);
    let detail = "client side against passthrough";
    assert_eq!(conflicts(&merged), [(ConflictKind::Resolution, "kubernetes/far", detail)]);
}

#[test]
fn an_alias_outside_its_hosts_captures_nothing() {
    let name = "shop/db.consul";
    let mut db = service("consul/dc1", name, &["80 http"]);
    db.aliases = ["db-2.consul".into(), "web.shop.svc".into()].into();
    let rules = Rules::new(&config(&["consul/dc1"]));
    let db = Arc::new(db);
    let said = Contribution {
        registry: &rules.registries()[0],
        service: Some(&db),
        endpoints: None,
        share: 100,
    };
    let merged = merge_service(None, &key(name), &[said]);
    assert_eq!(merged.service.as_ref().unwrap().aliases, BTreeSet::from(["db-2.consul".into()]));
    let detail = "hosts of consul/dc1 does not include the alias web.shop.svc";
    assert_eq!(conflicts(&merged), [(ConflictKind::UndeclaredHost, "consul/dc1", detail)]);
}
