//! Whether one proxy has it.

use std::sync::Arc;

use mainstem_model::{Address, Endpoint, ServiceKey};
use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::core::v3::address::Address as Wire;
use mainstem_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mainstem_translate::{Carriage, Kind, Omission, Way, carriage};
use mainstem_xds::TypeUrl;
use mainstem_xds::clients::{SyncState, TypeStatus};
use prost::Message;

use super::{Asked, Client, Ground, Passed, Trace};

/// Steps `connected`, `served`, `visible`, `cluster-local`, `node-local`, `network`,
/// `address`, `track`, `resource`, `subscribed`, `sent`, `acked`.
pub fn deliver(
    ground: &Ground<'_>,
    key: &ServiceKey,
    endpoints: &[Arc<Endpoint>],
    trace: &mut Trace,
) -> Passed<()> {
    let client = match &ground.client {
        Asked::Nobody => return Ok(()),
        Asked::Absent(why) => return trace.removed("connected", why.clone()),
        Asked::Client(client) => client,
    };
    trace.passed("connected", client.proxy.id.clone());
    if !ground.waiting_for.is_empty() {
        let names: Vec<_> = ground.waiting_for.iter().map(ToString::to_string).collect();
        let because = format!("nobody is served before {} is known", names.join(", "));
        return trace.removed("served", because);
    }
    let (endpoint, carriage) = carried(ground, client, key, endpoints, trace)?;
    told(client, endpoint, &carriage, trace)?;
    accepted(client, Kind::Cluster, &carriage.cluster, trace)?;
    if carriage.eds {
        accepted(client, Kind::LoadAssignment, &carriage.cluster, trace)?;
    }
    Ok(())
}

/// The first of the endpoints that the rules let through to the client.
fn carried<'a>(
    ground: &Ground<'_>,
    client: &Client<'_>,
    key: &ServiceKey,
    endpoints: &'a [Arc<Endpoint>],
    trace: &mut Trace,
) -> Passed<(&'a Endpoint, Carriage)> {
    let snapshot = ground.testimony.snapshot();
    let service = snapshot.service(key);
    let of = |endpoint: &'a Arc<Endpoint>| {
        Some((&**endpoint, carriage(snapshot, client.proxy, service?, endpoint)))
    };
    let mut all: Vec<_> = endpoints.iter().filter_map(of).collect();
    all.sort_by_key(|(_, carriage)| carriage.is_err());
    let Some((endpoint, carriage)) = all.into_iter().next() else {
        return trace.removed("resource", "the service has no endpoint to be told");
    };
    match carriage {
        Ok(carriage) => {
            trace.passed("visible", format!("namespace {} sees it", client.proxy.namespace));
            trace.passed("network", way(&carriage.way, endpoint, client));
            Ok((endpoint, carriage))
        }
        Err(omission) => {
            let (name, because) = omitted(ground, client, key, endpoint, &omission);
            trace.removed(name, because)
        }
    }
}

fn way(way: &Way, endpoint: &Endpoint, client: &Client<'_>) -> String {
    let (there, here) = (&endpoint.place.network, &client.proxy.network);
    match way {
        Way::Direct => "the proxy reaches it at its own address".to_owned(),
        Way::WithoutGateway => format!(
            "it is in network {there:?}, the proxy in {here:?}, and no gateway is known: \
             the proxy is told its own address, and may not reach it"
        ),
        Way::Gateways(ways) => {
            let ways: Vec<_> = ways.iter().map(|w| format!("{}:{}", w.address, w.port)).collect();
            format!("through the gateway of network {there:?} at {}", ways.join(", "))
        }
    }
}

/// The step that leaves it out, and why.
fn omitted(
    ground: &Ground<'_>,
    client: &Client<'_>,
    key: &ServiceKey,
    endpoint: &Endpoint,
    omission: &Omission,
) -> (&'static str, String) {
    let proxy = client.proxy;
    match omission {
        Omission::Hidden => ("visible", hidden(ground, key, client)),
        Omission::Shadowed(other) => {
            let because = format!("namespace {} means {other} by that name", proxy.namespace);
            ("visible", because)
        }
        Omission::OtherCluster => {
            let (there, here) = (&endpoint.place.cluster, &proxy.cluster);
            let because = format!(
                "for clients of its own cluster alone: it is in {there}, the proxy in {here}"
            );
            ("cluster-local", because)
        }
        Omission::OtherNode => {
            ("node-local", "for clients of its own node alone (internalTrafficPolicy)".to_owned())
        }
        Omission::Unresolved => {
            let because = format!("load assignments carry no such address: {}", endpoint.address);
            ("address", because)
        }
        Omission::Useless(_) => {
            ("health", "gRPC clients are told no endpoints that take no traffic".to_owned())
        }
        Omission::NotBehindGateway(_) => {
            let because = "in another network, and gateways stand in for healthy ones alone";
            ("network", because.to_owned())
        }
        Omission::Passthrough => {
            let because = "no endpoints are told: connections go where they were meant to go";
            ("address", because.to_owned())
        }
    }
}

fn hidden(ground: &Ground<'_>, key: &ServiceKey, client: &Client<'_>) -> String {
    let namespace = &client.proxy.namespace;
    let snapshot = ground.testimony.snapshot();
    let lost = snapshot.conflicts_of(key).iter();
    let mut lost = lost.filter(|c| c.kind == mainstem_model::ConflictKind::NamespaceTakeover);
    if let Some(conflict) = lost.next() {
        return format!("seen in its own namespace alone, since {}", conflict.detail);
    }
    let service = snapshot.service(key);
    let names = service.and_then(|service| service.visibility.namespaces());
    let names: Vec<_> = names.into_iter().flatten().map(ToString::to_string).collect();
    let only = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    format!("namespace {namespace} does not see it: exportTo, or the mesh's default, is {only}")
}

/// Steps `track` and `resource`: it stands in the resource as it is sent.
fn told(
    client: &Client<'_>,
    endpoint: &Endpoint,
    carriage: &Carriage,
    trace: &mut Trace,
) -> Passed<()> {
    let name = &carriage.cluster;
    let wanted = carriage.way.addresses(endpoint);
    let assignment = assignment(client, carriage);
    let priority = assignment.as_ref().and_then(|all| priority_of(all, &wanted));
    match (priority, &client.track) {
        (Some(priority), _) => {
            let kind = if carriage.eds { "load assignment" } else { "cluster" };
            trace.passed("resource", format!("{kind} {name} has it in priority {priority}"));
            Ok(())
        }
        (None, Some(track)) => {
            let because = format!("the proxy is frozen with {track}, whose snapshot lacks it");
            trace.removed("track", because)
        }
        (None, None) => trace.removed("resource", format!("{name} does not have it yet")),
    }
}

fn assignment(client: &Client<'_>, carriage: &Carriage) -> Option<ClusterLoadAssignment> {
    if carriage.eds {
        let body = (client.given)(Kind::LoadAssignment, &carriage.cluster)?;
        return ClusterLoadAssignment::decode(body.to_bytes()).ok();
    }
    let body = (client.given)(Kind::Cluster, &carriage.cluster)?;
    Cluster::decode(body.to_bytes()).ok()?.load_assignment
}

fn priority_of(all: &ClusterLoadAssignment, wanted: &[(Address, u16)]) -> Option<u32> {
    let found = all.endpoints.iter().find(|group| {
        group.lb_endpoints.iter().any(|member| match &member.host_identifier {
            Some(HostIdentifier::Endpoint(endpoint)) => {
                let address = endpoint.address.as_ref().and_then(|a| a.address.as_ref());
                address.is_some_and(|address| is_one_of(address, wanted))
            }
            _ => false,
        })
    });
    found.map(|group| group.priority)
}

fn is_one_of(wire: &Wire, wanted: &[(Address, u16)]) -> bool {
    wanted.iter().any(|(address, port)| match (wire, address) {
        (Wire::SocketAddress(socket), Address::Ip(_) | Address::Host(_)) => {
            socket.address == address.to_string()
                && socket.port_specifier == Some(PortSpecifier::PortValue(u32::from(*port)))
        }
        (Wire::Pipe(pipe), Address::Unix(path)) => *pipe.path == **path,
        _ => false,
    })
}

/// Steps `subscribed`, `sent`, `acked` for one resource.
fn accepted(client: &Client<'_>, kind: Kind, name: &str, trace: &mut Trace) -> Passed<()> {
    let type_url = TypeUrl::from(kind.type_url());
    let short = type_url.short();
    if !(client.asks_for)(kind, name) {
        return trace.removed("subscribed", format!("the proxy did not ask for {short} {name}"));
    }
    let status = client.types.iter().find(|of| of.type_url == kind.type_url());
    let Some((status, sent)) = status.and_then(|of| Some((of, of.sent.as_ref()?))) else {
        return trace.removed("sent", format!("no {short} response was sent to the proxy yet"));
    };
    match status.state_of(name) {
        SyncState::Empty => trace.removed("sent", format!("no {short} response was sent yet")),
        SyncState::Rejected => {
            let message = refusal(status, name);
            trace.removed("acked", format!("the proxy refused {short} {name}: {message}"))
        }
        SyncState::Stale if status.pending > 0 => {
            let because = format!("{} {short} names wait to be sent", status.pending);
            trace.removed("sent", because)
        }
        SyncState::Stale => {
            let because = format!("{short} response {} is sent and not answered yet", sent.nonce);
            trace.removed("acked", because)
        }
        SyncState::Synced => {
            let others = match status.refused.len() {
                0 => String::new(),
                count => format!(", and refuses {count} other"),
            };
            trace.passed("acked", format!("the proxy accepted {short} {name}{others}"));
            Ok(())
        }
    }
}

/// What the proxy said against this resource, or against the response that has it.
fn refusal<'a>(status: &'a TypeStatus, name: &str) -> &'a str {
    let own = status.refusal_of(name).map(|refused| &*refused.message);
    let latest = status.nacked.as_ref().map(|nack| nack.rejection.message.as_str());
    own.filter(|message| !message.is_empty()).or(latest).unwrap_or_default().trim()
}
