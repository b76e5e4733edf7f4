//! From what was found to what is said.

use mainstem_model::{Proxy, Snapshot};
use mainstem_translate::{Kind, carriage, resource_names};
use mainstem_xds::TypeUrl;

use super::{Asked, Found, Ground};
use crate::admin::views;
use crate::api;

/// How many endpoints are shown.
const SHOWN: usize = 100;

/// The answer, without who carries it.
pub fn answer(ground: &Ground<'_>, proxy: Option<&str>, found: &Found) -> api::Explanation {
    let snapshot = ground.testimony.snapshot();
    let service = found.key.as_ref().and_then(|key| snapshot.service(key));
    api::Explanation {
        hostname: ground.question.host.to_string(),
        namespace: found.key.as_ref().map(|key| key.namespace().to_string()),
        endpoint: ground.question.target.as_ref().map(ToString::to_string),
        proxy: match &ground.client {
            Asked::Client(client) => Some(client.proxy.id.clone()),
            _ => proxy.map(ToOwned::to_owned),
        },
        outcome: found.trace.outcome(),
        steps: found.trace.steps.clone(),
        origins: service.map(|service| views::origins(&service.origins)).unwrap_or_default(),
        endpoints: found.endpoints.iter().take(SHOWN).map(|e| views::endpoint(e)).collect(),
        resources: resources(ground, found),
        carriers: api::Carriers::default(),
    }
}

/// Cluster and load assignment by name; with a proxy, all that it is given.
fn resources(ground: &Ground<'_>, found: &Found) -> Vec<api::ResourceName> {
    let snapshot = ground.testimony.snapshot();
    let Some(service) = found.key.as_ref().and_then(|key| snapshot.service(key)) else {
        return Vec::new();
    };
    let mut ports: Vec<u16> = found.endpoints.iter().map(|endpoint| endpoint.port).collect();
    ports.dedup();
    let mut all = Vec::new();
    for port in ports {
        let cluster = format!("outbound|{port}||{}", service.hostname());
        all.extend([(Kind::Cluster, cluster.clone()), (Kind::LoadAssignment, cluster)]);
        if matches!(ground.client, Asked::Client(_)) {
            let (listeners, routes) = resource_names(service, port);
            all.extend(listeners.into_iter().map(|name| (Kind::Listener, name)));
            all.extend(routes.into_iter().map(|name| (Kind::Route, name)));
        }
    }
    if let Asked::Client(client) = &ground.client {
        all.retain(|(kind, name)| (client.given)(*kind, name).is_some());
    }
    let named = |(kind, name): (Kind, String)| api::ResourceName {
        kind: TypeUrl::from(kind.type_url()).short().to_owned(),
        name,
    };
    all.into_iter().map(named).collect()
}

/// The cluster by which the rules give a proxy one of the endpoints, and whether its
/// endpoints travel by EDS.
pub fn given(snapshot: &Snapshot, proxy: &Proxy, found: &Found) -> Option<(String, bool)> {
    let service = snapshot.service(found.key.as_ref()?)?;
    let all = found.endpoints.iter();
    let mut carried = all.filter_map(|e| carriage(snapshot, proxy, service, e).ok());
    carried.next().map(|carriage| (carriage.cluster, carriage.eds))
}
