//! Listeners: what happens to a connection.
//!
//! ```text
//!  outbound   virtualOutbound    receives all, and hands over by destination to
//!             0.0.0.0_80         all HTTP on port 80, and what has no address of its own
//!             10.0.0.1_5432      one service's address
//!  inbound    virtualInbound     receives all; a filter chain per port of the workload
//!             10.1.2.3_8080      without interception: one per port
//! ```

mod chain;
mod http;
mod inbound;
mod outbound;
mod tcp;

use std::net::IpAddr;

use mainstem_model::{Interception, MeshSettings};
use mainstem_proto::envoy::config::core::v3::TrafficDirection;
use mainstem_proto::envoy::config::listener::v3::{AdditionalAddress, FilterChain, Listener};

pub(crate) use inbound::{InboundPort, bound_inbound, virtual_inbound};
pub(crate) use outbound::{Bind, own, virtual_outbound, wildcard};

use crate::cluster::Families;
use crate::message::{address, duration};

/// What of a client all its listeners depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListenerView {
    pub interception: Interception,
    pub families: Families,
}

const ANY_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

/// `0.0.0.0`, or `::` for clients without IPv4: what wildcard listeners are named by.
pub(crate) fn any_address(families: Families) -> IpAddr {
    families.pick(ANY_V4, ANY_V6).0
}

/// A listener without filter chains.
fn base(name: String, ip: IpAddr, port: u16, direction: TrafficDirection) -> Listener {
    Listener {
        name,
        address: Some(address(ip, port)),
        traffic_direction: direction.into(),
        ..Listener::default()
    }
}

/// A listener at every address of the client's families.
fn at_any_address(
    name: String,
    port: u16,
    families: Families,
    direction: TrafficDirection,
) -> Listener {
    let (first, second) = families.pick(ANY_V4, ANY_V6);
    let also =
        |ip| AdditionalAddress { address: Some(address(ip, port)), ..AdditionalAddress::default() };
    Listener {
        additional_addresses: second.map(also).into_iter().collect(),
        ..base(name, first, port, direction)
    }
}

/// Gives the listener its filter chains, and the listener filters that they need.
fn with_chains(
    mut listener: Listener,
    chains: Vec<FilterChain>,
    default: Option<FilterChain>,
    mesh: &MeshSettings,
) -> Listener {
    listener.listener_filters.extend(chain::inspectors(&chains));
    if !listener.listener_filters.is_empty() {
        // A client that says nothing first is taken as opaque TCP after this
        // time; 0 is no limit.
        listener.listener_filters_timeout = Some(duration(mesh.protocol_detection_timeout));
        listener.continue_on_listener_filters_timeout = true;
    }
    listener.filter_chains = chains;
    listener.default_filter_chain = default;
    listener
}
