//! Clusters: how a proxy connects.
//!
//! ```text
//!  outbound|80||host        a service port: EDS, DNS or ORIGINAL_DST
//!  inbound|8080||           one of the workload's own ports
//!  BlackHoleCluster, PassthroughCluster, InboundPassthroughCluster
//! ```

mod inbound;
mod metadata;
mod options;
mod outbound;

pub(crate) use inbound::{Families, inbound, inbound_passthrough};
pub(crate) use outbound::{OutboundView, black_hole, outbound, passthrough};
