//! Load assignments as bytes.
//!
//! Written by hand: this is the resource that changes most, and is rebuilt
//! for every change of an endpoint. The tests compare with the generated messages.

use bytes::Bytes;
use mainstem_model::{Address, Endpoint, Health, Labels, Locality, WorkloadKey};
use mainstem_proto::envoy::config::core::v3::HealthStatus;

use super::arrange::Group;
use super::network::Member;
use crate::wire::Writer;

/// Room for an endpoint with an IPv4 address, and for its workload.
const USUAL_ENDPOINT: usize = 40;
const USUAL_DESCRIPTION: usize = 80;

/// An encoded `envoy.config.endpoint.v3.ClusterLoadAssignment`.
///
/// With `describe` endpoints name their workloads.
pub(crate) fn load_assignment(name: &str, groups: &[Group<'_>], describe: bool) -> Bytes {
    let members: usize = groups.iter().map(|group| group.members.len()).sum();
    let usual = USUAL_ENDPOINT + if describe { USUAL_DESCRIPTION } else { 0 };
    let mut out = Writer::with_capacity(name.len() + 32 + members * usual);
    out.bytes(1, name.as_bytes());
    for group in groups {
        out.message(2, |out| locality_endpoints(out, group, describe));
    }
    Bytes::from(out.into_bytes().into_boxed_slice())
}

fn locality_endpoints(out: &mut Writer, group: &Group<'_>, describe: bool) {
    out.message(1, |out| locality(out, group.locality));
    for (member, weight) in &group.members {
        out.message(2, |out| endpoint(out, member, *weight, describe));
    }
    out.message(3, |out| out.number(1, u64::from(group.weight)));
    if group.priority > 0 {
        out.number(5, u64::from(group.priority));
    }
}

fn locality(out: &mut Writer, locality: &Locality) {
    for (field, part) in [(1, locality.region()), (2, locality.zone()), (3, locality.subzone())] {
        if !part.is_empty() {
            out.bytes(field, part.as_bytes());
        }
    }
}

/// An `LbEndpoint`.
fn endpoint(out: &mut Writer, member: &Member<'_>, weight: u32, describe: bool) {
    let Member { endpoint, gateway, .. } = member;
    out.message(1, |out| {
        let (first, port) = member.address();
        out.message(1, |out| address(out, first, port));
        let more = endpoint.more_addresses.iter().filter(|_| gateway.is_none());
        let more = more.flat_map(|more| more.iter());
        for also in more.filter(|also| matches!(also, Address::Ip(_))) {
            out.message(4, |out| out.message(1, |out| address(out, also, port)));
        }
    });
    out.number(2, u64::from(health(endpoint.health).cast_unsigned()));
    if let (true, Some(workload), None) = (describe, &endpoint.workload, gateway) {
        out.message(3, |out| metadata(out, &description(workload, endpoint)));
    }
    out.message(4, |out| out.number(1, u64::from(weight)));
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

fn health(health: Health) -> i32 {
    let status = match health {
        Health::Healthy => HealthStatus::Healthy,
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
