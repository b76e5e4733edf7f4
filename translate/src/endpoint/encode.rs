//! Load assignments as bytes.
//!
//! Written by hand: this is the resource that changes most, and is rebuilt
//! for every change of an endpoint. The tests compare with the generated messages.

use std::borrow::Cow;

use bytes::Bytes;
use mainstem_model::{Address, Endpoint, Health, Labels, WorkloadKey};
use mainstem_proto::envoy::config::core::v3::HealthStatus;
use rustc_hash::{FxHashMap, FxHashSet};

use super::arrange::Group;
use super::network::Member;
use super::view::Audience;
use crate::wire::Writer;

/// Room for an endpoint with an IPv4 address, and for its workload.
const USUAL_ENDPOINT: usize = 40;
const USUAL_DESCRIPTION: usize = 80;

/// An encoded `envoy.config.endpoint.v3.ClusterLoadAssignment`.
///
/// For Istio's proxy endpoints name their workloads.
pub(crate) fn load_assignment(name: &str, groups: &[Group<'_>], audience: Audience) -> Bytes {
    let members: usize = groups.iter().map(|group| group.members.len()).sum();
    let described = audience == Audience::IstioProxy;
    let usual = USUAL_ENDPOINT + if described { USUAL_DESCRIPTION } else { 0 };
    let distinct = (audience == Audience::Grpc).then(|| distinct_further(groups));
    let style = Style { audience, distinct };
    let mut out = Writer::with_capacity(name.len() + 32 + members * usual);
    out.bytes(1, name.as_bytes());
    for group in groups {
        out.message(2, |out| locality_endpoints(out, group, &style));
    }
    Bytes::from(out.into_bytes().into_boxed_slice())
}

/// How an assignment is written for whom.
struct Style<'a> {
    audience: Audience,
    /// The further addresses, where not all of them are written.
    distinct: Option<FxHashMap<Place<'a>, Vec<&'a Address>>>,
}

/// An address to connect to.
type Place<'a> = (&'a Address, u16);

/// The further addresses of endpoints, by their first. gRPC refuses an
/// assignment in which an address comes twice: each belongs to who has it first.
fn distinct_further<'a>(groups: &'a [Group<'_>]) -> FxHashMap<Place<'a>, Vec<&'a Address>> {
    let members = || groups.iter().flat_map(|group| &group.members).map(|(member, _)| member);
    let mut seen: FxHashSet<Place<'_>> = members().map(Member::address).collect();
    let mut distinct: FxHashMap<_, Vec<_>> = FxHashMap::default();
    for member in members() {
        let port = member.address().1;
        let own = further(member).filter(|also| seen.insert((also, port))).collect();
        distinct.insert(member.address(), own);
    }
    distinct
}

/// The further IP addresses of an endpoint; a gateway has none.
fn further<'a>(member: &Member<'a>) -> impl Iterator<Item = &'a Address> {
    let more = member.endpoint.more_addresses.iter().filter(|_| member.gateway.is_none());
    let more = more.flat_map(|more| more.iter());
    more.filter(|also| matches!(also, Address::Ip(_)))
}

fn locality_endpoints(out: &mut Writer, group: &Group<'_>, style: &Style<'_>) {
    out.message(1, |out| locality(out, group));
    for (member, weight) in &group.members {
        out.message(2, |out| endpoint(out, member, *weight, style));
    }
    out.message(3, |out| out.number(1, u64::from(group.weight)));
    if group.priority > 0 {
        out.number(5, u64::from(group.priority));
    }
}

fn locality(out: &mut Writer, group: &Group<'_>) {
    let Group { locality, share, .. } = group;
    // A locality may stand once in a priority: those of other weights than 1 are
    // told apart by name, always by the same, whatever stands beside them.
    let subzone = match share {
        Some(share) if *share != 1 => Cow::Owned(format!("{}~{share}", locality.subzone())),
        _ => Cow::Borrowed(locality.subzone()),
    };
    for (field, part) in [(1, locality.region()), (2, locality.zone()), (3, &*subzone)] {
        if !part.is_empty() {
            out.bytes(field, part.as_bytes());
        }
    }
}

/// An `LbEndpoint`.
fn endpoint(out: &mut Writer, member: &Member<'_>, weight: u32, style: &Style<'_>) {
    let Member { endpoint, gateway, .. } = member;
    out.message(1, |out| {
        let (first, port) = member.address();
        out.message(1, |out| address(out, first, port));
        let write = |also| out.message(4, |out| out.message(1, |out| address(out, also, port)));
        match &style.distinct {
            None => further(member).for_each(write),
            Some(all) => all.get(&member.address()).into_iter().flatten().copied().for_each(write),
        }
    });
    out.number(2, u64::from(health(endpoint.health, style.audience).cast_unsigned()));
    let described = style.audience == Audience::IstioProxy;
    if let (true, Some(workload), None) = (described, &endpoint.workload, gateway) {
        out.message(3, |out| metadata(out, &description(workload, endpoint)));
    }
    // Without a weight it is 1 (`LbEndpoint.load_balancing_weight`).
    if weight != 1 {
        out.message(4, |out| out.number(1, u64::from(weight)));
    }
}

/// A `core.v3.Address`.
fn address(out: &mut Writer, address: &Address, port: u16) {
    match address {
        Address::Ip(ip) => socket_address(out, &ip.to_string(), port),
        Address::Host(host) => socket_address(out, host.as_str(), port),
        Address::Unix(path) => out.message(2, |out| out.bytes(1, path.as_bytes())),
    }
}

fn socket_address(out: &mut Writer, address: &str, port: u16) {
    out.message(1, |out| {
        out.bytes(2, address.as_bytes());
        out.number(3, u64::from(port));
    });
}

/// `{filter_metadata: {istio: {workload: TEXT}}}`
fn metadata(out: &mut Writer, workload: &str) {
    out.message(1, |out| {
        out.bytes(1, b"istio");
        out.message(2, |out| {
            out.message(1, |out| {
                out.bytes(1, b"workload");
                out.message(2, |out| out.bytes(3, workload.as_bytes()));
            });
        });
    });
}

fn health(health: Health, audience: Audience) -> i32 {
    let status = match health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Degraded if audience == Audience::Grpc => HealthStatus::Healthy,
        Health::Degraded => HealthStatus::Degraded,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy => HealthStatus::Unhealthy,
    };
    status.into()
}

/// `name;namespace;canonical name;canonical revision;cluster`, as Istio's
/// telemetry reads it.
fn description(workload: &WorkloadKey, endpoint: &Endpoint) -> String {
    let labels = &endpoint.labels;
    let name = owner(workload.name(), labels);
    let canonical =
        first(labels, &["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"], name);
    let revision = first(
        labels,
        &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
        "latest",
    );
    format!("{name};{};{canonical};{revision};{}", workload.namespace(), workload.cluster())
}

fn first<'a>(labels: &'a Labels, keys: &[&str], default: &'a str) -> &'a str {
    keys.iter().find_map(|key| labels.get(key)).unwrap_or(default)
}

/// The name of what made the workload: a pod's without the parts that its
/// Deployment or StatefulSet gave it.
fn owner<'a>(name: &'a str, labels: &Labels) -> &'a str {
    let without_last = || name.rsplit_once('-').map_or(name, |(owner, _)| owner);
    if labels.get("statefulset.kubernetes.io/pod-name") == Some(name) {
        return without_last();
    }
    labels
        .get("pod-template-hash")
        .and_then(|hash| without_last().strip_suffix(hash)?.strip_suffix('-'))
        .unwrap_or(name)
}
