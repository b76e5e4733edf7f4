//! The order between types on one stream: make before break.
//!
//! ```text
//!  additions:  clusters ─▶ load assignments ─▶ listeners ─▶ routes ─▶ the rest
//!  removals:   the other way round, each after the ACK of what referred to it
//! ```

use mainstem_proto::type_url::{
    CLUSTER, CLUSTER_LOAD_ASSIGNMENT, EXTENSION_CONFIG, LISTENER, ROUTE_CONFIGURATION,
    SCOPED_ROUTE_CONFIGURATION, VIRTUAL_HOST,
};

use crate::names::TypeUrl;

/// Types are sent in order of rank; equal ranks by their URL.
pub(super) fn rank(type_url: &str) -> u8 {
    match type_url {
        CLUSTER => 0,
        CLUSTER_LOAD_ASSIGNMENT => 1,
        LISTENER => 2,
        SCOPED_ROUTE_CONFIGURATION => 3,
        ROUTE_CONFIGURATION => 4,
        VIRTUAL_HOST => 5,
        _ => 6,
    }
}

/// Types whose resources may refer to those of this type: a removal waits until
/// the client has accepted that they no longer do.
pub(super) fn referrers(type_url: &str) -> &'static [&'static str] {
    match type_url {
        CLUSTER => &[
            LISTENER,
            SCOPED_ROUTE_CONFIGURATION,
            ROUTE_CONFIGURATION,
            VIRTUAL_HOST,
            EXTENSION_CONFIG,
        ],
        CLUSTER_LOAD_ASSIGNMENT => &[CLUSTER],
        ROUTE_CONFIGURATION => &[LISTENER, SCOPED_ROUTE_CONFIGURATION],
        SCOPED_ROUTE_CONFIGURATION | EXTENSION_CONFIG => &[LISTENER],
        VIRTUAL_HOST => &[ROUTE_CONFIGURATION],
        _ => &[],
    }
}

/// Types that must be there before a change of this type: routes do not wait
/// for clusters by themselves, so the clusters are sent and accepted first.
pub(super) fn prerequisites(type_url: &str) -> &'static [&'static str] {
    match type_url {
        LISTENER
        | SCOPED_ROUTE_CONFIGURATION
        | ROUTE_CONFIGURATION
        | VIRTUAL_HOST
        | EXTENSION_CONFIG => &[CLUSTER, CLUSTER_LOAD_ASSIGNMENT],
        _ => &[],
    }
}

/// The type whose resources a client waits for when one of this type is new or
/// changed, however it may know them already: a cluster warms with its load
/// assignment, a listener with its routes, and a changed route configuration
/// forgets the virtual hosts that were fetched on demand.
pub(super) fn warmed_by(type_url: &str) -> Option<TypeUrl> {
    match type_url {
        CLUSTER => Some(TypeUrl::CLUSTER_LOAD_ASSIGNMENT),
        LISTENER => Some(TypeUrl::ROUTE_CONFIGURATION),
        ROUTE_CONFIGURATION => Some(TypeUrl::VIRTUAL_HOST),
        _ => None,
    }
}

/// Types whose SotW responses are complete: what they lack is deleted.
pub(super) fn complete_in_sotw(type_url: &str) -> bool {
    matches!(type_url, CLUSTER | LISTENER)
}
