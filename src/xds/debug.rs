//! What istioctl asks over ADS: who is connected and in sync (`istio.io/debug/syncz`),
//! and what one proxy is given (`istio.io/debug/config_dump`).
//!
//! Its node is of the type `debug`, which stands for no proxy. Only operators are
//! answered, since the answers are about others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use mainstem_proto::envoy::admin::v3::clusters_config_dump::DynamicCluster;
use mainstem_proto::envoy::admin::v3::endpoints_config_dump::DynamicEndpointConfig;
use mainstem_proto::envoy::admin::v3::listeners_config_dump::{
    DynamicListener, DynamicListenerState,
};
use mainstem_proto::envoy::admin::v3::routes_config_dump::DynamicRouteConfig;
use mainstem_proto::envoy::admin::v3::{
    ClustersConfigDump, EndpointsConfigDump, ListenersConfigDump, RoutesConfigDump,
};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use mainstem_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use mainstem_proto::google::protobuf::{Struct, Value, value::Kind};
use mainstem_xds::clients::{Connected, SyncState};
use mainstem_xds::{
    Changes, ClientStatus, Lookup, Resource, ResourceFailure, ResourceView, TypeUrl,
};

use super::Source;

const SYNCZ: &str = "istio.io/debug/syncz";
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";

/// The types whose state `syncz` tells.
const TOLD: [TypeUrl; 5] = [
    TypeUrl::LISTENER,
    TypeUrl::ROUTE_CONFIGURATION,
    TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    TypeUrl::CLUSTER,
    TypeUrl::EXTENSION_CONFIG,
];

/// What of a node's metadata `syncz` tells.
const METADATA: [&str; 3] = ["CLUSTER_ID", "ISTIO_VERSION", "NAMESPACE"];

/// Whether a node is of somebody who looks, and not of a proxy.
pub fn is_debug(node: &Node) -> bool {
    node.id.starts_with("debug~")
}

/// What an operator sees: each request is answered with what is so then.
pub(super) struct DebugView(pub(super) Source);

impl ResourceView for DebugView {
    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn advance(&mut self) -> Changes {
        Changes::default()
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup {
        if **type_url != *CONFIG_DUMP || self.connected(name).is_some() {
            return Lookup::Absent;
        }
        let message = format!("no proxy {name} is connected here");
        Lookup::Failed(ResourceFailure { code: tonic::Code::NotFound, message: message.into() })
    }

    fn parts(&self, type_url: &TypeUrl, name: &str) -> Vec<Arc<Resource>> {
        let connected = (**type_url == *CONFIG_DUMP).then(|| self.connected(name)).flatten();
        connected.map(|connected| self.dump(&connected)).unwrap_or_default()
    }

    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        if **type_url != *SYNCZ {
            return Box::new(std::iter::empty());
        }
        // The newest stream of each node, in order of nodes.
        let newest: BTreeMap<String, Arc<Resource>> =
            self.all().iter().filter_map(|connected| self.client(connected)).collect();
        Box::new(newest.into_values())
    }
}

impl DebugView {
    fn all(&self) -> Vec<Arc<Connected>> {
        self.0.shared.clients.get().map(|clients| clients.all()).unwrap_or_default()
    }

    /// The newest stream of a proxy, by its node id or its `name.namespace`.
    fn connected(&self, name: &str) -> Option<Arc<Connected>> {
        let named = |connected: &Arc<Connected>| {
            let client = connected.client();
            let proxy = self.0.proxy(client);
            proxy.is_ok_and(|p| {
                client.node.id == name || name == format!("{}.{}", p.name, p.namespace)
            })
        };
        self.all().into_iter().rev().find(named)
    }

    /// How a proxy is; nothing for what is none.
    fn client(&self, connected: &Connected) -> Option<(String, Arc<Resource>)> {
        let proxy = self.0.proxy(connected.client()).ok()?;
        let status = connected.status();
        let id = status.node.clone();
        let config = ClientConfig {
            node: Some(node(&connected.client().node(), proxy.cluster.as_str())),
            generic_xds_configs: TOLD.iter().map(|type_url| told(&status, type_url)).collect(),
            ..ClientConfig::default()
        };
        Some((id.clone(), Arc::new(Resource::of(id, &config))))
    }

    /// What a proxy is given, as Envoy's own dump has it.
    fn dump(&self, connected: &Connected) -> Vec<Arc<Resource>> {
        let given = connected.given(&self.0).unwrap_or_default();
        let of = |type_url: &TypeUrl| given.get(type_url).map_or(&[][..], Vec::as_slice);
        let clusters = ClustersConfigDump {
            dynamic_active_clusters: of(&TypeUrl::CLUSTER).iter().map(cluster).collect(),
            ..ClustersConfigDump::default()
        };
        let endpoints = EndpointsConfigDump {
            dynamic_endpoint_configs: of(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT)
                .iter()
                .map(assignment)
                .collect(),
            ..EndpointsConfigDump::default()
        };
        let listeners = ListenersConfigDump {
            dynamic_listeners: of(&TypeUrl::LISTENER).iter().map(listener).collect(),
            ..ListenersConfigDump::default()
        };
        let routes = RoutesConfigDump {
            dynamic_route_configs: of(&TypeUrl::ROUTE_CONFIGURATION).iter().map(route).collect(),
            ..RoutesConfigDump::default()
        };
        let all = [
            Resource::of("clusters", &clusters),
            Resource::of("endpoints", &endpoints),
            Resource::of("listeners", &listeners),
            Resource::of("routes", &routes),
        ];
        all.into_iter().map(Arc::new).collect()
    }
}

fn node(of: &Node, cluster: &str) -> Node {
    let own = of.metadata.iter().flat_map(|metadata| &metadata.fields);
    let own = own.filter(|(name, _)| METADATA.contains(&name.as_str()));
    let mut fields: BTreeMap<String, Value> =
        own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let cluster = Value { kind: Some(Kind::StringValue(cluster.to_owned())) };
    fields.entry("CLUSTER_ID".to_owned()).or_insert(cluster);
    Node { id: of.id.clone(), metadata: Some(Struct { fields }), ..Node::default() }
}

fn told(status: &ClientStatus, type_url: &TypeUrl) -> GenericXdsConfig {
    let of_type = status.types.iter().find(|of| *of.type_url == **type_url);
    let state = match of_type.map(|of| of.state()) {
        None | Some(SyncState::Empty) => ConfigStatus::NotSent,
        Some(SyncState::Synced) => ConfigStatus::Synced,
        Some(SyncState::Stale) => ConfigStatus::Stale,
        Some(SyncState::Rejected) => ConfigStatus::Error,
    };
    GenericXdsConfig {
        type_url: type_url.to_string(),
        config_status: state.into(),
        ..GenericXdsConfig::default()
    }
}

fn cluster(resource: &Arc<Resource>) -> DynamicCluster {
    let version_info = resource.version().to_string();
    DynamicCluster { version_info, cluster: Some(resource.any()), ..DynamicCluster::default() }
}

fn assignment(resource: &Arc<Resource>) -> DynamicEndpointConfig {
    DynamicEndpointConfig {
        version_info: resource.version().to_string(),
        endpoint_config: Some(resource.any()),
        ..DynamicEndpointConfig::default()
    }
}

fn listener(resource: &Arc<Resource>) -> DynamicListener {
    let state = DynamicListenerState {
        version_info: resource.version().to_string(),
        listener: Some(resource.any()),
        ..DynamicListenerState::default()
    };
    DynamicListener {
        name: resource.name().to_string(),
        active_state: Some(state),
        ..DynamicListener::default()
    }
}

fn route(resource: &Arc<Resource>) -> DynamicRouteConfig {
    DynamicRouteConfig {
        version_info: resource.version().to_string(),
        route_config: Some(resource.any()),
        ..DynamicRouteConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use mainstem_xds::clients::{Answer, Protocol, Push, Refused, TypeStatus};
    use mainstem_xds::protocol::Nonce;
    use mainstem_xds::{Identity, Version};

    use super::*;

    /// A proxy that accepted the latest clusters, and refuses those of `refused`.
    fn status(refused: Vec<Refused>) -> ClientStatus {
        let (nonce, at) = (Nonce::new(1, 2), UNIX_EPOCH);
        let clusters = TypeStatus {
            type_url: TypeUrl::CLUSTER.to_string(),
            wildcard: true,
            names: 0,
            pending: 0,
            stale_since: None,
            sent: Some(Push { nonce, at, resources: 1, removed: 0, bytes: 1 }),
            acked: Some(Answer { nonce, at }),
            nacked: None,
            refused,
        };
        ClientStatus {
            stream: 1,
            node: String::new(),
            cluster: String::new(),
            agent: String::new(),
            peer: None,
            identity: Identity::default(),
            protocol: Protocol::Delta,
            since: at,
            types: vec![clusters],
        }
    }

    #[test]
    fn a_type_of_which_anything_is_refused_is_told_as_an_error() {
        let of = |refused| told(&status(refused), &TypeUrl::CLUSTER).config_status();
        let version = Version::of(b"bad");
        let bad = Refused { name: "bad".into(), version, at: UNIX_EPOCH, message: "no".into() };
        assert_eq!((of(vec![]), of(vec![bad])), (ConfigStatus::Synced, ConfigStatus::Error));
    }
}
