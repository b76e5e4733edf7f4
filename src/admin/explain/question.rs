//! What is asked.

use mainstem_model::{Address, Endpoint, Hostname, NamespaceName};

/// A service, or one endpoint of it.
#[derive(Clone, Debug)]
pub struct Question {
    /// The service's host name.
    pub host: Hostname,
    /// Only in this namespace.
    pub namespace: Option<NamespaceName>,
    /// The endpoint; `None` is all of them.
    pub target: Option<Target>,
}

/// An endpoint by its address, and perhaps a port: its own, or the service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: Option<u16>,
}

impl Target {
    /// Reads `10.0.0.1`, `10.0.0.1:8080`, `[::1]:8080`, `name:8080`, `unix:///path`.
    pub fn parse(text: &str) -> Self {
        if let Ok(at) = text.parse::<std::net::SocketAddr>() {
            return Self { address: Address::Ip(at.ip()), port: Some(at.port()) };
        }
        let whole = || Self { address: Address::parse(text), port: None };
        if text.starts_with("unix://") || text.parse::<std::net::IpAddr>().is_ok() {
            return whole();
        }
        match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => Self { address: Address::parse(host), port: Some(port) },
            _ => whole(),
        }
    }

    /// Whether the endpoint has the address.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        endpoint.addresses().any(|own| *own == self.address)
    }

    /// Whether the endpoint is meant.
    pub fn is(&self, endpoint: &Endpoint) -> bool {
        let port = |port| endpoint.target_port == port || endpoint.port == port;
        self.is_at(endpoint) && self.port.is_none_or(port)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.address, self.port) {
            (Address::Ip(ip), Some(port)) => std::net::SocketAddr::new(*ip, port).fmt(f),
            (address, Some(port)) => write!(f, "{address}:{port}"),
            (address, None) => address.fmt(f),
        }
    }
}
