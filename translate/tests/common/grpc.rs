//! What gRPC clients refuse, as far as gRPC's proposals and its C core say.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use mainstem_proto::envoy::config::core::v3::address::Address;
use mainstem_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use mainstem_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use mainstem_proto::envoy::config::core::v3::{ConfigSource, HealthStatus};
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mainstem_proto::envoy::config::listener::v3::Listener;
use mainstem_proto::envoy::config::route::v3::RouteConfiguration;
use mainstem_proto::envoy::config::route::v3::route::Action;
use mainstem_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mainstem_translate::Kind;
use prost::Message;

use super::Told;

/// Panics on the first thing that a gRPC client would refuse or wait for in vain.
pub fn assert_accepted(told: &Told) {
    for ((kind, name), body) in told {
        match kind {
            Kind::Listener => listener(told, name, body),
            Kind::Route => routes(told, name, body),
            Kind::Cluster => cluster(told, name, body),
            Kind::LoadAssignment => load_assignment(name, body),
            Kind::ServiceEntry | Kind::Config => panic!("{name} is not for gRPC clients"),
        }
    }
}

fn is_ads(source: Option<&ConfigSource>) -> bool {
    let specifier = source.and_then(|source| source.config_source_specifier.as_ref());
    matches!(specifier, Some(ConfigSourceSpecifier::Ads(_)))
}

fn listener(told: &Told, name: &str, body: &[u8]) {
    let listener = Listener::decode(body).unwrap();
    assert_eq!(listener.name, name);
    let (host, port) = name.rsplit_once(':').unwrap();
    assert!(port.parse::<u16>().is_ok() && !host.contains('*'), "{name}");
    assert!(listener.address.is_none() && listener.filter_chains.is_empty(), "{name}");
    let any = listener.api_listener.unwrap().api_listener.unwrap();
    let manager = HttpConnectionManager::decode(any.value).unwrap();
    let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else { panic!("{name}: no RDS") };
    assert!(is_ads(rds.config_source.as_ref()), "{name}");
    assert!(told.contains_key(&(Kind::Route, rds.route_config_name)), "{name}: no routes");
    let filters: Vec<_> = manager.http_filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(filters, ["envoy.filters.http.router"]);
}

fn routes(told: &Told, name: &str, body: &[u8]) {
    let routes = RouteConfiguration::decode(body).unwrap();
    assert_eq!(routes.name, name);
    let [host] = &routes.virtual_hosts[..] else { panic!("{name}: one virtual host") };
    assert_eq!(host.domains, ["*"]);
    let [route] = &host.routes[..] else { panic!("{name}: one route") };
    let Some(Action::Route(action)) = &route.action else { panic!("{name}: no route") };
    let Some(ClusterSpecifier::Cluster(cluster)) = &action.cluster_specifier else {
        panic!("{name}: no cluster")
    };
    assert_eq!(cluster, name);
    // There is none only where the only host names belong to other ports.
    let assignment = told.contains_key(&(Kind::LoadAssignment, cluster.clone()));
    assert!(!assignment || told.contains_key(&(Kind::Cluster, cluster.clone())), "{name}");
}

fn cluster(told: &Told, name: &str, body: &[u8]) {
    let cluster = Cluster::decode(body).unwrap();
    assert_eq!((cluster.name.as_str(), cluster.lb_policy()), (name, LbPolicy::RoundRobin));
    assert!(cluster.typed_extension_protocol_options.is_empty(), "{name}");
    let Some(ClusterDiscoveryType::Type(kind)) = cluster.cluster_discovery_type else {
        panic!("{name}: {:?}", cluster.cluster_discovery_type)
    };
    match DiscoveryType::try_from(kind).unwrap() {
        DiscoveryType::Eds => {
            let eds = cluster.eds_cluster_config.unwrap();
            assert!(is_ads(eds.eds_config.as_ref()), "{name}");
            assert!(told.contains_key(&(Kind::LoadAssignment, name.to_owned())), "{name}");
        }
        DiscoveryType::LogicalDns => {
            let assignment = cluster.load_assignment.unwrap();
            let endpoints: Vec<_> =
                assignment.endpoints.iter().map(|group| group.lb_endpoints.len()).collect();
            assert_eq!(endpoints, [1], "{name}");
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn load_assignment(name: &str, body: &[u8]) {
    let assignment = ClusterLoadAssignment::decode(body).unwrap();
    assert_eq!(assignment.cluster_name, name);
    let mut localities = BTreeSet::new();
    let mut weights: BTreeMap<u32, u64> = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for group in &assignment.endpoints {
        let locality = group.locality.as_ref().expect("a locality");
        let key = (&locality.region, &locality.zone, &locality.sub_zone);
        assert!(localities.insert((group.priority, key)), "{name}: {key:?} twice");
        let weight = group.load_balancing_weight.expect("a weight");
        assert!(weight > 0 && !group.lb_endpoints.is_empty(), "{name}");
        *weights.entry(group.priority).or_default() += u64::from(weight);
        for endpoint in &group.lb_endpoints {
            assert_eq!(endpoint.health_status(), HealthStatus::Healthy, "{name}");
            assert!(endpoint.load_balancing_weight.is_none_or(|weight| weight > 0), "{name}");
            let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
                panic!("{name}: no endpoint")
            };
            let further = endpoint.additional_addresses.iter().map(|more| more.address.as_ref());
            for address in std::iter::once(endpoint.address.as_ref()).chain(further) {
                let Some(Address::SocketAddress(socket)) = &address.unwrap().address else {
                    panic!("{name}: no socket address")
                };
                socket.address.parse::<std::net::IpAddr>().expect("an IP address");
                let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
                    panic!("{name}: no port")
                };
                assert!(
                    addresses.insert((socket.address.clone(), port)),
                    "{name}: {socket:?} twice"
                );
            }
        }
    }
    let priorities: Vec<u32> = weights.keys().copied().collect();
    assert_eq!(priorities, (0..u32::try_from(weights.len()).unwrap()).collect::<Vec<_>>());
    assert!(weights.values().all(|sum| *sum <= u64::from(u32::MAX)), "{name}: {weights:?}");
}
