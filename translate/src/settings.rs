//! What the operator chooses about translation, apart from the mesh settings.

use std::net::{IpAddr, Ipv4Addr};

use mainstem_model::ClusterId;

/// How resources are made, beside what the snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where a sidecar without interception (`INTERCEPTION_MODE: NONE`) listens
    /// for its own workload's outbound traffic; by default 127.0.0.1.
    pub bound_address: IpAddr,
    /// The control plane's own cluster, by which it names itself in what it exports.
    pub home: ClusterId,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bound_address: Ipv4Addr::LOCALHOST.into(), home: ClusterId::default() }
    }
}
