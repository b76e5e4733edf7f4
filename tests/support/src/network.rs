//! Hosts of our own: network namespaces on a bridge.

mod interception;

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

pub use interception::Interception;

use crate::background;
use crate::claim::claim;
use crate::http_client::{Answer, HttpClient};
use crate::process::Program;

/// Networks that may exist at one time on this machine.
const NETWORKS: std::ops::Range<u32> = 0..200;

/// A subnet (`10.66.N.0/24`) with a bridge. The test itself is on it as `.1`, so
/// a control plane in the test is reached there.
///
/// Needs root, `ip` and, for interception, `iptables` (`make tools-network`).
#[derive(Debug, Clone)]
pub struct Network {
    bridge: Arc<Bridge>,
}

/// A host on a [`Network`]: a network namespace with one address. It is gone
/// when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct NetNs {
    host: Arc<Host>,
}

#[derive(Debug)]
struct Bridge {
    number: u8,
    hosts: AtomicU8,
}

#[derive(Debug)]
struct Host {
    name: String,
    ip: Ipv4Addr,
    /// The bridge's end of the cable.
    cable: String,
    /// Keeps the bridge while a host is on it.
    _bridge: Arc<Bridge>,
}

impl Network {
    /// A new subnet without hosts.
    pub fn new() -> Self {
        let number = claim("network", NETWORKS, |number| !address_in_use(number));
        let number = u8::try_from(number).expect("the range of networks fits");
        let bridge = Bridge { number, hosts: AtomicU8::new(1) };
        bridge.remove();
        let name = bridge.name();
        ip(&["link", "add", &name, "type", "bridge"]);
        ip(&["addr", "add", &format!("{}/24", bridge.address(1)), "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        Self { bridge: Arc::new(bridge) }
    }

    /// The test's own address on it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.bridge.address(1)
    }

    /// A new host, connected and with a default route to the test's address.
    pub fn host(&self) -> NetNs {
        let bridge = &self.bridge;
        let number = bridge.hosts.fetch_add(1, Ordering::SeqCst) + 1;
        let host = Host {
            name: format!("{}h{number}", bridge.prefix()),
            ip: bridge.address(number),
            cable: format!("{}v{number}", bridge.prefix()),
            _bridge: Arc::clone(bridge),
        };
        let (name, cable) = (host.name.as_str(), host.cable.as_str());
        ip(&["netns", "add", name]);
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["link", "set", cable, "master", &bridge.name(), "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        let address = format!("{}/24", host.ip);
        ip(&["-n", name, "addr", "add", &address, "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        let gateway = bridge.address(1).to_string();
        ip(&["-n", name, "route", "add", "default", "via", &gateway]);
        NetNs { host: Arc::new(host) }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl NetNs {
    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.host.ip
    }

    /// Unplugs it from the bridge: a partition.
    pub fn disconnect(&self) {
        ip(&["link", "set", &self.host.cable, "down"]);
    }

    /// Plugs it in again.
    pub fn connect(&self) {
        ip(&["link", "set", &self.host.cable, "up"]);
    }

    /// A program to be run inside.
    pub fn program(&self, path: &str) -> Program {
        Program::new(path).in_namespace(self.name())
    }

    /// Runs a command inside to its end and returns its output.
    ///
    /// # Panics
    ///
    /// When the command fails, with what it said.
    pub fn exec(&self, program: &str, args: &[&str]) -> String {
        let mut line = vec!["netns", "exec", self.name(), program];
        line.extend(args);
        ip(&line)
    }

    /// Runs `work` inside, on a thread and an async runtime of its own.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> T {
        background::run_in(self, work).await
    }

    /// Sends a GET request from inside, over a new connection; see
    /// [`HttpClient::fetch`].
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let url = url.to_owned();
        let owned: Vec<(String, String)> =
            headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.run(async move || {
            let headers: Vec<(&str, &str)> =
                owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            HttpClient::new(&url).fetch("", &headers).await
        })
        .await
    }

    /// A handle by which a thread can enter the namespace.
    pub(crate) fn file(&self) -> File {
        let path = format!("/run/netns/{}", self.name());
        File::open(&path).unwrap_or_else(|error| panic!("opening {path}: {error}"))
    }
}

impl Bridge {
    fn prefix(&self) -> String {
        format!("ms{}", self.number)
    }

    fn name(&self) -> String {
        format!("{}br", self.prefix())
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 66, self.number, host)
    }

    /// Removes the bridge and hosts of that number, those of a killed test too.
    fn remove(&self) {
        let hosts = format!("{}h", self.prefix());
        for namespace in ip(&["netns", "list"]).lines() {
            let name = namespace.split_whitespace().next().unwrap_or_default();
            if name.starts_with(&hosts) {
                try_ip(&["netns", "del", name]);
            }
        }
        try_ip(&["link", "del", &self.name()]);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The cable goes at once, the namespace with its last process.
        try_ip(&["link", "del", &self.cable]);
        try_ip(&["netns", "del", &self.name]);
    }
}

/// Whether somebody else's interface or route covers the subnet.
fn address_in_use(number: u32) -> bool {
    let own = format!("ms{number}br");
    ip(&["-o", "addr", "show"])
        .lines()
        .any(|line| line.contains(&format!(" 10.66.{number}.")) && !line.contains(&own))
}

fn ip(args: &[&str]) -> String {
    try_command("ip", args).unwrap_or_else(|error| {
        panic!("{error}\n(network namespaces need root and `make tools-network`)")
    })
}

fn try_ip(args: &[&str]) {
    // Removing what is not there is fine.
    let _ = try_command("ip", args);
}

fn try_command(program: &str, args: &[&str]) -> Result<String, String> {
    let line = format!("{program} {}", args.join(" "));
    let output =
        Command::new(program).args(args).output().map_err(|error| format!("{line}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{line}: {}: {}", output.status, said.trim()))
    }
}

#[cfg(test)]
mod tests;
