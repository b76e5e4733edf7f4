//! `mainstem bootstrap`: what an Envoy, or a gRPC client, needs to know before it can ask.

mod security;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use mainstem_model::{ClusterId, Locality, Proxy};
use serde_json::{Value, json};

use super::output;
use security::Security;

/// The name of the cluster that leads to the control plane, as Istio's agents name it.
const XDS_CLUSTER: &str = "xds-grpc";

/// Which node, and where the control plane is.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The whole node id, `type~ip~name.namespace~domain`, instead of its parts
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "kind", "ip", "domain"])]
    node: Option<String>,
    /// The workload's name
    #[arg(long, required_unless_present = "node")]
    name: Option<String>,
    /// The workload's namespace
    #[arg(long, default_value = "default")]
    namespace: String,
    /// What the proxy is for
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value_t)]
    kind: Kind,
    /// The workload's IP address, by which registries know it
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    ip: IpAddr,
    /// Further addresses of the workload
    #[arg(long = "more-ip", value_name = "IP")]
    more_ips: Vec<IpAddr>,
    /// The domain in which short host names are looked up [default: NAMESPACE.svc.cluster.local]
    #[arg(long)]
    domain: Option<String>,
    /// The cluster that the workload belongs to [default: the control plane's own]
    #[arg(long)]
    cluster: Option<String>,
    /// The network of its addresses
    #[arg(long)]
    network: Option<String>,
    /// Where it runs, as region/zone/subzone
    #[arg(long, default_value = "")]
    locality: String,
    /// A label of the workload; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// The workload's service account
    #[arg(long)]
    service_account: Option<String>,
    /// How traffic gets into the proxy
    #[arg(long, value_enum, default_value_t)]
    interception: Interception,
    /// The control plane's xDS server; several replicas are separated by commas
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:15010",
        env = "MAINSTEM_XDS"
    )]
    xds_address: Vec<String>,
    #[command(flatten)]
    security: Security,
    /// The port of Envoy's own admin interface, on loopback; 0 takes any
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    admin_port: u16,
    /// Follow changes one by one (the default)
    #[arg(long, conflicts_with = "sotw")]
    delta: bool,
    /// Get the state of the world on each change
    #[arg(long)]
    sotw: bool,
    /// For a gRPC client without a proxy: the JSON that GRPC_XDS_BOOTSTRAP names
    #[arg(long, conflicts_with_all = ["kind", "interception", "admin_port", "delta", "sotw", "output"])]
    grpc: bool,
    /// YAML or JSON
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
}

/// What a proxy is for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    /// Beside one workload
    #[default]
    Sidecar,
    /// A gateway
    Router,
}

/// How traffic gets into the proxy.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Interception {
    /// iptables REDIRECT
    #[default]
    Redirect,
    /// iptables TPROXY
    Tproxy,
    /// Not at all: the proxy binds the ports that applications connect to
    None,
}

/// How the bootstrap is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    #[default]
    Yaml,
    Json,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Bootstrap {
    /// Prints the bootstrap.
    ///
    /// # Errors
    /// When the node or the address makes no sense.
    pub fn run(&self) -> anyhow::Result<()> {
        if self.grpc {
            return output::json(&self.for_grpc()?);
        }
        let bootstrap = self.build()?;
        match self.output {
            Form::Yaml => output::yaml(&bootstrap),
            Form::Json => output::json(&bootstrap),
        }
    }

    /// The bootstrap as Envoy reads it.
    fn build(&self) -> anyhow::Result<Value> {
        let source =
            || json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
        let servers = self.xds_servers()?;
        let service = match self.security.token_service(&servers)? {
            Some(service) => service,
            None => json!({"envoy_grpc": {"cluster_name": XDS_CLUSTER}}),
        };
        Ok(json!({
            "node": self.node()?,
            "admin": {"address": socket("127.0.0.1", self.admin_port)},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": if self.sotw { "GRPC" } else { "DELTA_GRPC" },
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [service],
                },
                "cds_config": source(),
                "lds_config": source(),
            },
            "static_resources": {"clusters": [self.xds_cluster(&servers)]},
        }))
    }

    /// The bootstrap as gRPC's clients read it, all of which speak SotW alone.
    fn for_grpc(&self) -> anyhow::Result<Value> {
        let server = |(host, port): (&str, u16)| {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let mut server = json!({
                "server_uri": format!("{host}:{port}"),
                // What Mainstem removes was removed on purpose: a registry that fails
                // removes nothing.
                "server_features": ["xds_v3", "fail_on_data_errors"],
            });
            self.security.for_grpc(&mut server);
            server
        };
        let servers: Vec<Value> = self.xds_servers()?.into_iter().map(server).collect();
        Ok(json!({ "xds_servers": servers, "node": self.node()? }))
    }

    fn node_id(&self) -> String {
        if let Some(id) = &self.node {
            return id.clone();
        }
        let (name, namespace) = (self.name.as_deref().unwrap_or_default(), &self.namespace);
        let kind = match self.kind {
            Kind::Sidecar => "sidecar",
            Kind::Router => "router",
        };
        let domain = self.domain.clone();
        let domain = domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local"));
        format!("{kind}~{}~{name}.{namespace}~{domain}", self.ip)
    }

    fn node(&self) -> anyhow::Result<Value> {
        let id = self.node_id();
        let unnamed = ClusterId::default();
        let proxy = Proxy::parse(&id, Value::Null, Locality::default(), &unnamed)
            .context("the node id makes no sense")?;
        if proxy.name.is_empty() {
            bail!("the workload has no name; write --name NAME");
        }
        let mut node = json!({
            "id": id,
            "cluster": format!("{}.{}", proxy.name, proxy.namespace),
            "metadata": self.metadata(&proxy),
        });
        let locality = Locality::parse(&self.locality);
        // Node.js wants one of a gRPC client, be it empty.
        if !locality.is_unknown() || self.grpc {
            node["locality"] = json!({
                "region": locality.region(),
                "zone": locality.zone(),
                "sub_zone": locality.subzone(),
            });
        }
        Ok(node)
    }

    /// The node metadata that changes what the proxy is told; names are Istio's.
    fn metadata(&self, proxy: &Proxy) -> Value {
        let labels: BTreeMap<&String, &String> = self.labels.iter().map(|(k, v)| (k, v)).collect();
        let ips: Vec<String> =
            proxy.addresses.iter().chain(&self.more_ips).map(ToString::to_string).collect();
        let mode = match self.interception {
            Interception::Redirect => "REDIRECT",
            Interception::Tproxy => "TPROXY",
            Interception::None => "NONE",
        };
        let mut metadata = json!({
            "NAMESPACE": proxy.namespace,
            "INSTANCE_IPS": ips.join(","),
        });
        if self.grpc {
            metadata["GENERATOR"] = json!("grpc");
        } else {
            metadata["INTERCEPTION_MODE"] = json!(mode);
        }
        let optional = [
            ("CLUSTER_ID", self.cluster.as_ref()),
            ("NETWORK", self.network.as_ref()),
            ("SERVICE_ACCOUNT", self.service_account.as_ref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                metadata[name] = json!(value);
            }
        }
        if !labels.is_empty() {
            metadata["LABELS"] = json!(labels);
        }
        metadata
    }

    /// Host and port of each xDS server.
    fn xds_servers(&self) -> anyhow::Result<Vec<(&str, u16)>> {
        let servers = self.xds_address.iter().map(|address| {
            host_and_port(address)
                .with_context(|| format!("{address:?} is not HOST:PORT of an xDS server"))
        });
        servers.collect()
    }

    fn xds_cluster(&self, servers: &[(&str, u16)]) -> Value {
        // Names are followed where they lead; an IP address has nothing to resolve.
        let resolved = servers.iter().all(|(host, _)| host.parse::<IpAddr>().is_ok());
        let kind = if resolved { "STATIC" } else { "STRICT_DNS" };
        let endpoints: Vec<Value> = servers
            .iter()
            .map(|(host, port)| json!({"endpoint": {"address": socket(host, *port)}}))
            .collect();
        let mut cluster = json!({
            "name": XDS_CLUSTER,
            "type": kind,
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": XDS_CLUSTER,
                "endpoints": [{"lb_endpoints": endpoints}],
            },
            // gRPC needs HTTP/2, which Envoy assumes of nobody. The pings notice a
            // control plane whose host vanished without a word.
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {
                        "http2_protocol_options": {
                            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                        },
                    },
                },
            },
            "upstream_connection_options": {
                "tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 10, "keepalive_probes": 3},
            },
        });
        if let Some(socket) = self.security.transport_socket(servers) {
            cluster["transport_socket"] = socket;
        }
        cluster
    }
}

fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) =
        address.trim_start_matches("http://").trim_start_matches("https://").rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port.parse().ok()?))
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
