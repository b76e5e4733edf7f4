//! Names of resources, as Istio's tools and dashboards know them.

use std::net::IpAddr;

use mainstem_model::Hostname;

/// Drops every connection.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Connects to where the client wanted to go.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// Connects to the workload itself, on the port that the client wanted.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Receives all outbound connections.
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Receives all inbound connections.
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";

/// The cluster, and the load assignment, of a service port.
pub(crate) fn outbound(port: u16, host: &Hostname) -> String {
    format!("outbound|{port}||{host}")
}

/// The cluster of one of the workload's own ports, and its route configuration.
pub(crate) fn inbound(port: u16) -> String {
    format!("inbound|{port}||")
}

/// A listener by the address that it listens on.
pub(crate) fn listener(address: IpAddr, port: u16) -> String {
    format!("{address}_{port}")
}

/// `host:port`: a virtual host, or the route configuration of a sniffed port.
pub(crate) fn host_port(host: &Hostname, port: u16) -> String {
    format!("{host}:{port}")
}
