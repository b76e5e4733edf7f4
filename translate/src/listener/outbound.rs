//! Listeners for the workload's own calls.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use mainstem_model::{Interception, MeshSettings, Port, Protocol, Service};
use mainstem_proto::envoy::config::core::v3::TrafficDirection::Outbound;
use mainstem_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use prost::Message;

use super::chain::{chain, range, sniffed_http, to_port};
use super::{ListenerView, any_address, at_any_address, base, http, tcp, with_chains};
use crate::names;

/// Where a listener gets its connections from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// The virtual listener hands them over.
    Intercepted,
    /// It binds its port, a wildcard listener at this address.
    To(IpAddr),
}

/// Receives all outbound connections, and what of them no other listener takes.
pub(crate) fn virtual_outbound(view: ListenerView, mesh: &MeshSettings) -> Bytes {
    let port = mesh.proxy_listen_port;
    let name = names::VIRTUAL_OUTBOUND;
    let chains = vec![
        // Who connects to this very port would be led back to it for ever.
        chain(
            format!("{name}-blackhole"),
            Some(to_port(port)),
            tcp::proxy(names::BLACK_HOLE, mesh),
        ),
        chain(format!("{name}-catchall-tcp"), None, tcp::unknown(mesh)),
    ];
    let listener = Listener {
        use_original_dst: Some(true),
        transparent: (view.interception == Interception::Tproxy).then_some(true),
        ..at_any_address(name.to_owned(), port, view.families, Outbound)
    };
    with_chains(listener, chains, None, mesh).encode_to_vec().into()
}

/// The listener that all services of a port share which have none of their own.
///
/// HTTP is told by its first bytes, TLS by its server name, a service with
/// address prefixes by the destination. Opaque TCP without any of these can be
/// told by nothing: the first service in order gets it, else it passes as
/// traffic to unknown destinations does.
pub(crate) fn wildcard(
    port: u16,
    routed: bool,
    services: &[(&Service, &Port)],
    bind: Bind,
    view: ListenerView,
    mesh: &MeshSettings,
) -> Option<Bytes> {
    let ip = any_address(view.families);
    let name = names::listener(ip, port);
    let mut chains: Vec<FilterChain> = Vec::new();
    let mut default = None;
    let mut taken = BTreeSet::new();
    for (service, port) in services {
        let cluster = names::outbound(port.number, service.hostname());
        let made = |matches| chain(&*cluster, matches, tcp::proxy(&cluster, mesh));
        match told_by(service, port, bind, &mut taken) {
            Told::By(matches) => chains.push(made(Some(*matches))),
            Told::ByNothing => {
                default.get_or_insert_with(|| made(None));
            }
            Told::Hidden => {}
        }
    }
    if !routed && chains.is_empty() && default.is_none() {
        return None;
    }
    if bind == Bind::Intercepted {
        let name = "passthrough";
        default.get_or_insert_with(|| chain(name, None, tcp::unknown(mesh)));
    }
    if routed {
        let filter = http::outbound(format!("outbound_{name}"), port.to_string(), mesh);
        // Where there is nothing else, nothing needs to be sniffed.
        let sniff = !chains.is_empty() || default.is_some();
        chains.push(chain("http", sniff.then(sniffed_http), filter));
    }
    let listener = match bind {
        Bind::Intercepted => not_bound(at_any_address(name, port, view.families, Outbound)),
        Bind::To(address) => base(name, address, port, Outbound),
    };
    // A listener needs a chain beside its default one.
    if chains.is_empty() {
        chains.extend(default.take());
    }
    Some(with_chains(listener, chains, default, mesh).encode_to_vec().into())
}

/// The listener at an address of services; the first of them in order decides
/// what is spoken. Others are told apart by server name, if all speak TLS.
pub(crate) fn own(
    ip: IpAddr,
    services: &[(&Service, &Port)],
    bind: Bind,
    mesh: &MeshSettings,
) -> Option<Bytes> {
    let (service, port) = services.first()?;
    let name = names::listener(ip, port.number);
    let cluster = names::outbound(port.number, service.hostname());
    let opaque = |matches| chain(&*cluster, matches, tcp::proxy(&cluster, mesh));
    let (mut chains, mut default) = (Vec::new(), None);
    if port.protocol == Protocol::Unspecified {
        let route = names::host_port(service.hostname(), port.number);
        let filter = http::outbound(format!("outbound_{name}"), route, mesh);
        chains.push(chain("http", Some(sniffed_http()), filter));
        default = Some(opaque(None));
    } else {
        let others = services[1..].iter().filter(|_| port.protocol.is_tls());
        for (other, other_port) in others.filter(|(_, port)| port.protocol.is_tls()) {
            let cluster = names::outbound(other_port.number, other.hostname());
            let named = server_name(other).map(by_name);
            chains.extend(named.map(|m| chain(&*cluster, Some(m), tcp::proxy(&cluster, mesh))));
        }
        // Also without a server name, or with one that nobody knows.
        if chains.is_empty() { chains.push(opaque(None)) } else { default = Some(opaque(None)) }
    }
    let listener = base(name, ip, port.number, Outbound);
    let listener = if bind == Bind::Intercepted { not_bound(listener) } else { listener };
    Some(with_chains(listener, chains, default, mesh).encode_to_vec().into())
}

/// How connections to a service without a listener of its own are told apart.
enum Told {
    By(Box<FilterChainMatch>),
    ByNothing,
    /// Another service has all its prefixes.
    Hidden,
}

/// `taken` are the prefixes, with or without a server name, of the services
/// before: Envoy refuses what matches twice.
fn told_by(
    service: &Service,
    port: &Port,
    bind: Bind,
    taken: &mut BTreeSet<(IpNet, Option<String>)>,
) -> Told {
    let name = if port.protocol.is_tls() { server_name(service) } else { None };
    if bind != Bind::Intercepted || service.prefixes.is_empty() {
        return name.map_or(Told::ByNothing, |name| Told::By(Box::new(by_name(name))));
    }
    let free = service.prefixes.iter().filter(|net| taken.insert((net.trunc(), name.clone())));
    let prefixes: Vec<_> = free.map(range).collect();
    if prefixes.is_empty() {
        return Told::Hidden;
    }
    let matches = name.map(by_name).unwrap_or_default();
    Told::By(Box::new(FilterChainMatch { prefix_ranges: prefixes, ..matches }))
}

/// The name that TLS clients of the service ask for; none if that is any name,
/// or one that Envoy does not match.
fn server_name(service: &Service) -> Option<String> {
    let host = service.hostname().as_str();
    let plain = !host.strip_prefix("*.").unwrap_or(host).contains('*');
    plain.then(|| host.to_owned())
}

fn by_name(name: String) -> FilterChainMatch {
    FilterChainMatch { server_names: vec![name], ..FilterChainMatch::default() }
}

fn not_bound(listener: Listener) -> Listener {
    Listener { bind_to_port: Some(false), ..listener }
}
