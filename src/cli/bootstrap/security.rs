//! How a proxy knows the control plane, and proves who it is itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

const FILE_TOKEN: &str = "envoy.grpc_credentials.file_based_metadata";

/// TLS to the control plane, and credentials to present there.
#[derive(Debug, Args)]
pub(super) struct Security {
    /// Speak TLS to the control plane, whose certificate is of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The name in the control plane's certificate [default: the host of --xds-address]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// The workload's own certificate with its SPIFFE ID (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file with the workload's token, read anew for each connection
    #[arg(long, value_name = "FILE", requires = "tls_ca", conflicts_with = "tls_cert")]
    token_file: Option<PathBuf>,
}

impl Security {
    /// The transport socket of Envoy's cluster that leads to the control plane.
    pub(super) fn transport_socket(&self, servers: &[(&str, u16)]) -> Option<Value> {
        let name = self.name(servers)?;
        let mut common = json!({
            "validation_context": {
                "trusted_ca": file(self.tls_ca.as_deref()?),
                "match_typed_subject_alt_names": [{
                    "san_type": if is_ip(name) { "IP_ADDRESS" } else { "DNS" },
                    "matcher": {"exact": name},
                }],
            },
        });
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            common["tls_certificates"] =
                json!([{"certificate_chain": file(certificate), "private_key": file(key)}]);
        }
        let mut context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": common,
        });
        // An address is no server name (RFC 6066, section 3).
        if !is_ip(name) {
            context["sni"] = json!(name);
        }
        Some(json!({"name": "envoy.transport_sockets.tls", "typed_config": context}))
    }

    /// Envoy's gRPC service that presents the token, which only its own gRPC
    /// client reads from a file; `None` if there is no token.
    pub(super) fn token_service(&self, servers: &[(&str, u16)]) -> anyhow::Result<Option<Value>> {
        let (Some(token), Some(ca)) = (&self.token_file, &self.tls_ca) else { return Ok(None) };
        let mut service = json!({
            "target_uri": target(servers)?,
            "stat_prefix": super::XDS_CLUSTER,
            "credentials_factory_name": FILE_TOKEN,
            "channel_credentials": {"ssl_credentials": {"root_certs": file(ca)}},
            "call_credentials": [{"from_plugin": {
                "name": FILE_TOKEN,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
                    "secret_data": file(token),
                    "header_key": "authorization",
                    "header_prefix": "Bearer ",
                },
            }}],
        });
        if let Some(name) = &self.tls_name {
            service["channel_args"] =
                json!({"args": {"grpc.ssl_target_name_override": {"string_value": name}}});
        }
        Ok(Some(json!({"google_grpc": service})))
    }

    /// What a gRPC client presents, as members of its `xds_servers`.
    pub(super) fn for_grpc(&self, server: &mut Value) {
        let Some(ca) = &self.tls_ca else {
            server["channel_creds"] = json!([{"type": "insecure"}]);
            return;
        };
        let mut config = json!({"ca_certificate_file": ca});
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config["certificate_file"] = json!(certificate);
            config["private_key_file"] = json!(key);
        }
        server["channel_creds"] = json!([{"type": "tls", "config": config}]);
        if let Some(token) = &self.token_file {
            server["call_creds"] =
                json!([{"type": "jwt_token_file", "config": {"jwt_token_file": token}}]);
        }
    }

    fn name<'a>(&'a self, servers: &[(&'a str, u16)]) -> Option<&'a str> {
        self.tls_name.as_deref().or_else(|| servers.first().map(|(host, _)| *host))
    }
}

fn file(path: impl AsRef<Path>) -> Value {
    json!({"filename": path.as_ref()})
}

fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// The servers as gRPC's naming has them: one name, or several addresses of a family.
fn target(servers: &[(&str, u16)]) -> anyhow::Result<String> {
    let listed = |scheme: &str| {
        let all: Vec<String> = servers.iter().map(|(host, port)| authority(host, *port)).collect();
        format!("{scheme}:{}", all.join(","))
    };
    let family = |v4: bool| {
        servers.iter().all(|(host, _)| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v4))
    };
    match servers {
        _ if family(true) => Ok(listed("ipv4")),
        _ if family(false) => Ok(listed("ipv6")),
        [(host, port)] => Ok(format!("dns:///{host}:{port}")),
        _ => bail!(
            "with --token-file, several --xds-address must be IP addresses of one family; \
             write one name that leads to all replicas instead"
        ),
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
