//! How an agent is to run, and its configuration file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use super::MANAGEMENT_TOKEN;
use crate::claim::free_port;
use crate::tls::Ca;

pub(super) const DATA_DIR: &str = "data";

const WAL_SEGMENT_MIB: u64 = 4;

/// Where an agent keeps its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In memory: ready after 0.2 s, empty after a restart.
    Memory,
    /// On disk: ready after an election of about two seconds.
    Disk,
}

/// How an agent is to run. The default: plain HTTP, no ACLs, datacenter `dc1`,
/// in memory, any number of connections.
#[derive(Debug, Clone)]
pub struct ConsulOptions {
    /// ACLs on, with everything denied by default.
    pub acl: bool,
    /// HTTPS instead of HTTP.
    pub tls: bool,
    /// With TLS: clients must show a certificate.
    pub verify_incoming: bool,
    /// With TLS: the authority to use; a new one without.
    pub ca: Option<Ca>,
    /// The datacenter's name.
    pub datacenter: String,
    /// Where the catalog is kept.
    pub storage: Storage,
    /// How many connections one client address may have; 0 is no limit.
    /// Consul's own default is 200.
    pub connection_limit: u32,
    /// Whether other agents may become its peers.
    pub peering: bool,
    /// The address that it listens on.
    pub bind: Ipv4Addr,
    /// The server address (`bind` and ports) of an agent of another datacenter,
    /// whose federation this one joins. See [`Self::federated_with`].
    pub primary: Option<Federation>,
    /// More settings, merged into the agent's configuration file.
    pub extra: Value,
}

/// The datacenter that another one joins.
#[derive(Debug, Clone)]
pub struct Federation {
    datacenter: String,
    bind: Ipv4Addr,
    ports: Ports,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self {
            acl: false,
            tls: false,
            verify_incoming: false,
            ca: None,
            datacenter: "dc1".to_owned(),
            storage: Storage::Memory,
            connection_limit: 0,
            peering: false,
            bind: Ipv4Addr::LOCALHOST,
            primary: None,
            extra: Value::Null,
        }
    }
}

impl ConsulOptions {
    /// An agent of `datacenter` in the federation of `primary`, on another
    /// address of loopback (`bind`) and the same ports, as gossip over a wide
    /// area network wants it.
    #[must_use]
    pub fn federated_with(primary: &super::Consul, datacenter: &str, bind: Ipv4Addr) -> Self {
        Self {
            acl: primary.options.acl,
            tls: primary.options.tls,
            ca: primary.ca().cloned(),
            datacenter: datacenter.to_owned(),
            bind,
            primary: Some(Federation {
                datacenter: primary.options.datacenter.clone(),
                bind: primary.options.bind,
                ports: primary.ports.clone(),
            }),
            ..Self::default()
        }
    }

    pub(super) fn config(&self, ports: &Ports, dir: &Path) -> Value {
        let mut config = json!({
            "node_name": format!("node-{}", self.datacenter),
            "datacenter": self.datacenter,
            "server": true,
            "bind_addr": self.bind,
            "client_addr": self.bind,
            "ports": ports.config(self),
            "limits": { "http_max_conns_per_client": self.connection_limit },
            "performance": { "raft_multiplier": 1 },
            "disable_update_check": true,
        });
        merge(&mut config, self.storage_config(dir));
        merge(&mut config, self.acl_config());
        merge(&mut config, self.tls_config(dir));
        merge(&mut config, self.federation_config());
        merge(&mut config, json!({ "connect": { "enabled": self.peering } }));
        merge(&mut config, self.extra.clone());
        config
    }

    fn storage_config(&self, dir: &Path) -> Value {
        match self.storage {
            Storage::Memory => Value::Null,
            Storage::Disk => json!({
                "data_dir": dir.join(DATA_DIR),
                "bootstrap_expect": 1,
                // The default reserves 64 MiB of disk for each agent.
                "raft_logstore": { "wal": { "segment_size_mb": WAL_SEGMENT_MIB } },
            }),
        }
    }

    fn acl_config(&self) -> Value {
        if !self.acl {
            return Value::Null;
        }
        json!({ "acl": {
            "enabled": true,
            "default_policy": "deny",
            "down_policy": "extend-cache",
            "enable_token_replication": self.primary.is_some(),
            "tokens": {
                "initial_management": MANAGEMENT_TOKEN,
                "agent": MANAGEMENT_TOKEN,
                "replication": MANAGEMENT_TOKEN,
            },
        }})
    }

    fn tls_config(&self, dir: &Path) -> Value {
        if !self.tls {
            return Value::Null;
        }
        json!({ "tls": {
            "defaults": {
                "ca_file": dir.join("ca.pem"),
                "cert_file": dir.join("agent.pem"),
                "key_file": dir.join("agent.key"),
                "verify_outgoing": true,
            },
            "https": { "verify_incoming": self.verify_incoming },
            "internal_rpc": { "verify_incoming": true, "verify_server_hostname": true },
        }})
    }

    fn federation_config(&self) -> Value {
        let Some(primary) = &self.primary else {
            return Value::Null;
        };
        json!({
            "primary_datacenter": primary.datacenter,
            "retry_join_wan": [SocketAddr::new(IpAddr::V4(primary.bind), primary.ports.serf_wan)],
            "retry_interval_wan": "200ms",
        })
    }
}

/// The agent's ports.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    http: u16,
    serf_lan: u16,
    serf_wan: u16,
    server: u16,
    peering: u16,
}

impl Ports {
    pub(super) fn free(options: &ConsulOptions) -> Self {
        if let Some(primary) = &options.primary {
            return primary.ports.clone();
        }
        Self {
            http: free_port(),
            serf_lan: free_port(),
            serf_wan: free_port(),
            server: free_port(),
            peering: free_port(),
        }
    }

    pub(super) fn http_address(&self, options: &ConsulOptions) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(options.bind), self.http)
    }

    pub(super) fn http_url(&self, options: &ConsulOptions) -> String {
        let scheme = if options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.http_address(options))
    }

    fn config(&self, options: &ConsulOptions) -> Value {
        let api = i32::from(self.http);
        let (http, https) = if options.tls { (-1, api) } else { (api, -1) };
        json!({
            "http": http,
            "https": https,
            "dns": -1,
            "grpc": -1,
            "grpc_tls": if options.peering { i32::from(self.peering) } else { -1 },
            "serf_lan": self.serf_lan,
            "serf_wan": self.serf_wan,
            "server": self.server,
        })
    }
}

/// Lays `over` upon `base`: objects member by member, anything else replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_settings_are_merged_member_by_member() {
        let mut config = json!({ "a": { "x": 1, "y": 2 }, "b": [1] });

        merge(&mut config, json!({ "a": { "y": 3 }, "b": [2], "c": null }));

        assert_eq!(config, json!({ "a": { "x": 1, "y": 3 }, "b": [2], "c": null }));
    }
}
