//! A real Consul agent.
//!
//! `Consul` starts and supervises it; `api` speaks to it.

mod api;
mod options;

use std::fs;
use std::net::SocketAddr;

use reqwest::Method;
use serde_json::Value;

pub use api::AclToken;
pub use options::{ConsulOptions, Federation, Storage};

use crate::eventually::TIMEOUT;
use crate::http_client::HttpClient;
use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::tls::{Ca, Identity};
use crate::tools;
use options::Ports;

/// The initial management token of agents with ACLs.
const MANAGEMENT_TOKEN: &str = "6d61696e-7374-656d-2d74-657374732d31";

/// A running Consul server agent, ready for reads and writes.
#[derive(Debug)]
pub struct Consul {
    process: Process,
    http: HttpClient,
    options: ConsulOptions,
    ports: Ports,
    tls: Option<Tls>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Tls {
    ca: Ca,
    client: Identity,
}

impl Consul {
    /// Starts an agent and waits until it is ready.
    pub async fn start(options: ConsulOptions) -> Self {
        let scratch = Scratch::new("consul");
        let ports = Ports::free(&options);
        let tls = options.tls.then(|| write_tls(&scratch, &options));
        let config = options.config(&ports, scratch.path());
        let config = scratch.write("agent.json", config.to_string());
        let mut program = Program::new(tools::binary("CONSUL_BIN", "bin/consul"))
            .args(["agent", "-log-level=info", "-config-file"])
            .arg(config);
        if options.storage == Storage::Memory {
            program = program.arg("-dev");
        }
        let process = Process::spawn("consul", program, scratch.path());
        let http = client(&options, &ports, tls.as_ref());
        let consul = Self { process, http, options, ports, tls, scratch };
        consul.ready().await;
        consul
    }

    /// `http://…`, or `https://…` with TLS.
    pub fn http_url(&self) -> String {
        self.ports.http_url(&self.options)
    }

    /// Where the HTTP (or HTTPS) API listens.
    pub fn http_address(&self) -> SocketAddr {
        self.ports.http_address(&self.options)
    }

    /// The management token; none without ACLs.
    pub fn token(&self) -> Option<&'static str> {
        self.options.acl.then_some(MANAGEMENT_TOKEN)
    }

    /// The agent's datacenter.
    pub fn datacenter(&self) -> &str {
        &self.options.datacenter
    }

    /// The authority behind the agent's certificate, with TLS.
    pub fn ca(&self) -> Option<&Ca> {
        self.tls.as_ref().map(|tls| &tls.ca)
    }

    /// A client certificate that the agent accepts, with TLS.
    pub fn client_identity(&self) -> Option<&Identity> {
        self.tls.as_ref().map(|tls| &tls.client)
    }

    /// The agent's process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the agent at once.
    pub fn kill9(&self) {
        self.process.kill9();
    }

    /// Stops the agent where it is: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets a stopped agent go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills the agent, if it still runs, and starts it on the same ports; one
    /// with [`Storage::Disk`] keeps its catalog, one with [`Storage::Memory`]
    /// comes back empty. Ready when this returns.
    pub async fn restart(&self) {
        self.process.restart();
        self.ready().await;
    }

    /// As [`restart`](Self::restart), but with nothing left of the catalog.
    pub async fn restart_empty(&self) {
        self.process.kill9();
        let _ = fs::remove_dir_all(self.scratch.path().join(options::DATA_DIR));
        self.restart().await;
    }

    /// With TLS: starts the agent again with a certificate that has expired. Nobody
    /// who looks at certificates connects to it any more; [`Self::renew`] mends it.
    pub fn expire(&self) {
        let ca = self.ca().expect("the agent speaks TLS");
        self.write_identity(&ca.expired_server(&self.server_names()));
        self.process.restart();
    }

    /// Starts the agent again with a good certificate. Ready when this returns.
    pub async fn renew(&self) {
        let ca = self.ca().expect("the agent speaks TLS");
        self.write_identity(&ca.server(&self.server_names()));
        self.restart().await;
    }

    fn write_identity(&self, identity: &Identity) {
        self.scratch.write("agent.pem", &identity.cert_pem);
        self.scratch.write("agent.key", &identity.key_pem);
    }

    fn server_names(&self) -> [&str; 2] {
        ["server.dc1.consul", "127.0.0.1"]
    }

    /// A leader exists and knows this agent, so both reads and writes work.
    async fn ready(&self) {
        self.process
            .wait_until("is ready", TIMEOUT, async || {
                let path = "/v1/catalog/nodes?consistent";
                match self.api(Method::GET, path, None).await? {
                    (status, Value::Array(nodes)) if status.is_success() && !nodes.is_empty() => {
                        Ok(())
                    }
                    (status, body) => Err(format!("{path}: {status}: {body}")),
                }
            })
            .await;
    }
}

fn client(options: &ConsulOptions, ports: &Ports, tls: Option<&Tls>) -> HttpClient {
    let token = options.acl.then(|| ("x-consul-token", MANAGEMENT_TOKEN.to_owned()));
    HttpClient::secured(
        &ports.http_url(options),
        tls.map(|tls| &tls.ca),
        tls.map(|tls| &tls.client),
        token,
    )
}

fn write_tls(scratch: &Scratch, options: &ConsulOptions) -> Tls {
    let ca = options.ca.clone().unwrap_or_else(|| Ca::new("Consul CA"));
    let server_name = format!("server.{}.consul", options.datacenter);
    let bind = options.bind.to_string();
    let server = ca.server(&[&server_name, &bind]);
    scratch.write("ca.pem", ca.pem());
    scratch.write("agent.pem", &server.cert_pem);
    scratch.write("agent.key", &server.key_pem);
    let client = ca.client("test");
    Tls { ca, client }
}

#[cfg(test)]
mod tests;
