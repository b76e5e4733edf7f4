//! Listeners for calls to the proxy's own workload.

use std::net::IpAddr;

use bytes::Bytes;
use mainstem_model::{Hostname, Interception, MeshSettings, Protocol};
use mainstem_proto::envoy::config::core::v3::TrafficDirection::Inbound;
use mainstem_proto::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener,
};
use prost::Message;

use super::chain::{chain, original_destination, original_source, sniffed_http, to_port};
use super::{ListenerView, any_address, at_any_address, base, http, tcp, with_chains};
use crate::{names, route};

/// One port of a sidecar's own workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundPort {
    /// The port that the workload listens on.
    pub number: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The service that says so.
    pub host: Hostname,
    /// Its port.
    pub service_port: u16,
}

/// Receives all inbound connections: a filter chain or two per port of the
/// workload, and one for ports that no service knows, which are not sniffed:
/// on those the server may speak first.
pub(crate) fn virtual_inbound(
    ports: &[InboundPort],
    view: ListenerView,
    mesh: &MeshSettings,
) -> Bytes {
    let name = names::VIRTUAL_INBOUND;
    let own_port = mesh.proxy_inbound_listen_port;
    let mut chains = vec![chain(
        format!("{name}-blackhole"),
        Some(to_port(own_port)),
        tcp::proxy(names::BLACK_HOLE, mesh),
    )];
    // Of a service on the proxy's own port nobody could be served.
    for port in ports.iter().filter(|port| port.number != own_port) {
        let ip = any_address(view.families);
        chains.extend(port_chains(port, ip, Some(to_port(port.number)), mesh));
    }
    let unknown = tcp::proxy(names::INBOUND_PASSTHROUGH, mesh);
    chains.push(chain(format!("{name}-catchall-tcp"), None, unknown));
    let transparent = view.interception == Interception::Tproxy;
    let mut listener = Listener {
        transparent: transparent.then_some(true),
        ..at_any_address(name.to_owned(), own_port, view.families, Inbound)
    };
    listener.listener_filters.push(original_destination());
    if transparent {
        listener.listener_filters.push(original_source());
    }
    with_chains(listener, chains, None, mesh).encode_to_vec().into()
}

/// The listener that binds an address of the workload, where nothing is
/// intercepted: the workload itself listens on loopback.
pub(crate) fn bound_inbound(ip: IpAddr, port: &InboundPort, mesh: &MeshSettings) -> Bytes {
    let name = names::listener(ip, port.number);
    let chains = port_chains(port, ip, None, mesh);
    let listener = base(name, ip, port.number, Inbound);
    with_chains(listener, chains, None, mesh).encode_to_vec().into()
}

/// The filter chains of a port: by what is spoken there, or, if nobody says, by
/// what the first bytes look like.
fn port_chains(
    port: &InboundPort,
    ip: IpAddr,
    to_port: Option<FilterChainMatch>,
    mesh: &MeshSettings,
) -> Vec<FilterChain> {
    let name = names::listener(ip, port.number);
    let opaque = || tcp::proxy(&names::inbound(port.number), mesh);
    let requests = || requests(port, &name, mesh);
    match port.protocol {
        Protocol::Unspecified => {
            let number = to_port.as_ref().and_then(|to_port| to_port.destination_port);
            let sniffed = FilterChainMatch { destination_port: number, ..sniffed_http() };
            vec![
                chain(format!("{name}-http"), Some(sniffed), requests()),
                chain(name.clone(), to_port, opaque()),
            ]
        }
        protocol if protocol.is_http() => vec![chain(name.clone(), to_port, requests())],
        _ => vec![chain(name.clone(), to_port, opaque())],
    }
}

fn requests(port: &InboundPort, name: &str, mesh: &MeshSettings) -> Filter {
    let routes = route::inbound(port.number, &port.host, port.service_port);
    http::inbound(format!("inbound_{name}"), port.protocol, routes, mesh)
}
