//! The order between types on one stream: make before break.
//!
//! ```text
//!  additions:  clusters ─▶ load assignments ─▶ listeners ─▶ routes ─▶ the rest
//!  removals:   the other way round, each after the ACK of what referred to it
//! ```

use crate::names::TypeUrl;

/// Types are sent in order of rank; equal ranks by their URL.
pub(super) fn rank(type_url: &TypeUrl) -> u8 {
    match *type_url {
        TypeUrl::CLUSTER => 0,
        TypeUrl::CLUSTER_LOAD_ASSIGNMENT => 1,
        TypeUrl::LISTENER => 2,
        TypeUrl::SCOPED_ROUTE_CONFIGURATION => 3,
        TypeUrl::ROUTE_CONFIGURATION => 4,
        TypeUrl::VIRTUAL_HOST => 5,
        _ => 6,
    }
}

/// Types whose resources may refer to those of this type: a removal waits until
/// the client has accepted that they no longer do.
pub(super) fn referrers(type_url: &TypeUrl) -> &'static [TypeUrl] {
    match *type_url {
        TypeUrl::CLUSTER => &[
            TypeUrl::LISTENER,
            TypeUrl::SCOPED_ROUTE_CONFIGURATION,
            TypeUrl::ROUTE_CONFIGURATION,
            TypeUrl::VIRTUAL_HOST,
            TypeUrl::EXTENSION_CONFIG,
        ],
        TypeUrl::CLUSTER_LOAD_ASSIGNMENT => &[TypeUrl::CLUSTER],
        TypeUrl::ROUTE_CONFIGURATION => &[TypeUrl::LISTENER, TypeUrl::SCOPED_ROUTE_CONFIGURATION],
        TypeUrl::SCOPED_ROUTE_CONFIGURATION | TypeUrl::EXTENSION_CONFIG => &[TypeUrl::LISTENER],
        TypeUrl::VIRTUAL_HOST => &[TypeUrl::ROUTE_CONFIGURATION],
        _ => &[],
    }
}

/// Types that must be there before a change of this type: routes do not wait
/// for clusters by themselves, so the clusters are sent and accepted first.
pub(super) fn prerequisites(type_url: &TypeUrl) -> &'static [TypeUrl] {
    match *type_url {
        TypeUrl::LISTENER
        | TypeUrl::SCOPED_ROUTE_CONFIGURATION
        | TypeUrl::ROUTE_CONFIGURATION
        | TypeUrl::VIRTUAL_HOST
        | TypeUrl::EXTENSION_CONFIG => &[TypeUrl::CLUSTER, TypeUrl::CLUSTER_LOAD_ASSIGNMENT],
        _ => &[],
    }
}

/// The type whose resources a client waits for when one of this type is new or
/// changed, however it may know them already: a cluster warms with its load
/// assignment, a listener with its routes, and a changed route configuration
/// forgets the virtual hosts that were fetched on demand.
pub(super) fn warmed_by(type_url: &TypeUrl) -> Option<TypeUrl> {
    match *type_url {
        TypeUrl::CLUSTER => Some(TypeUrl::CLUSTER_LOAD_ASSIGNMENT),
        TypeUrl::LISTENER => Some(TypeUrl::ROUTE_CONFIGURATION),
        TypeUrl::ROUTE_CONFIGURATION => Some(TypeUrl::VIRTUAL_HOST),
        _ => None,
    }
}

/// Types whose SotW responses are complete: what they lack is deleted. So are those
/// of the Mesh Configuration Protocol, which names a type as `GROUP/VERSION/KIND`:
/// its clients wait for an answer for each kind, also where there is nothing.
pub(super) fn complete_in_sotw(type_url: &TypeUrl) -> bool {
    matches!(*type_url, TypeUrl::CLUSTER | TypeUrl::LISTENER) || is_of_mcp(type_url)
}

/// Whether it is `GROUP/VERSION/KIND`, with a version like `v1alpha3`.
fn is_of_mcp(type_url: &str) -> bool {
    let [_, version, _] = type_url.split('/').collect::<Vec<_>>()[..] else { return false };
    let number = version.strip_prefix('v').unwrap_or_default();
    number.starts_with(|first: char| first.is_ascii_digit())
}
