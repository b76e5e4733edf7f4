//! Mainstem's own documents.

use std::collections::BTreeMap;
use std::fmt;

use mainstem_model::Labels;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A document with services and workloads.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OwnDocument {
    /// What holds for the objects of this document that do not say otherwise.
    pub defaults: Defaults,
    /// Services with their endpoints.
    pub services: Vec<ServiceSpec>,
    /// Workloads, which services pick by their labels.
    pub workloads: Vec<WorkloadSpec>,
}

impl OwnDocument {
    /// Its fields.
    pub const FIELDS: [&'static str; 3] = ["defaults", "services", "workloads"];
}

/// What holds for the objects of a document that do not say otherwise.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// The namespace, for names that have not the shape NAME.NAMESPACE.svc.SUFFIX.
    pub namespace: String,
    /// The network of endpoints and workloads.
    pub network: String,
    /// The locality of endpoints and workloads: `region/zone/subzone`.
    pub locality: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// The fully qualified host name; `*.suffix` with resolution `static` or `passthrough`.
    pub hostname: String,
    /// The namespace. By default taken from a host name of the shape
    /// NAME.NAMESPACE.svc.SUFFIX, else the document's, else the registry's.
    #[serde(default)]
    pub namespace: String,
    /// The service ports.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// How endpoints are found.
    #[serde(default)]
    pub resolution: ServiceResolution,
    /// Addresses that clients connect to: IP addresses, or prefixes in CIDR form.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Further host names for the same service.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Another service that this one is a mere name for; excludes endpoints and selector.
    #[serde(default)]
    pub alias_of: Option<String>,
    /// Labels of the service itself.
    #[serde(default)]
    pub labels: Labels,
    /// The namespaces that see it: names, `.` (its own), `*` (all, the default), `~` (none).
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Picks workloads of the same namespace that have all of these labels.
    #[serde(default)]
    pub selector: Labels,
    /// Who its workloads may be: `ACCOUNT`, `NAMESPACE/ACCOUNT` or a SPIFFE ID.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// Outside of the mesh: no mesh TLS.
    #[serde(default)]
    pub external: bool,
    /// Which endpoints come first.
    #[serde(default)]
    pub traffic_distribution: Option<Distribution>,
    /// The endpoints, beside those of selected workloads.
    #[serde(default)]
    pub endpoints: Vec<EndpointSpec>,
}

/// A service port.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSpec {
    /// The number that clients use, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub number: u32,
    /// The name, unique in the service. Default: the protocol and the number, as in `http-80`.
    #[serde(default)]
    pub name: String,
    /// http, http2, https, grpc, grpc-web, http_proxy, tcp, tls, mongo, redis, mysql or udp,
    /// in any case. Default: the word that the name begins with.
    #[serde(default)]
    pub protocol: String,
    /// Where it leads on endpoints that do not say: a number, or the name of one
    /// of their ports. Default: `number`.
    #[serde(default)]
    pub target_port: Option<PortTarget>,
}

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase")]
pub enum ServiceResolution {
    /// They are those given here or selected.
    #[default]
    Static,
    /// All addresses that their names, or else the service's own, resolve to.
    Dns,
    /// One of those addresses at a time.
    DnsRoundRobin,
    /// The connection goes where the client wanted to go.
    Passthrough,
}

/// Which endpoints come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
pub enum Distribution {
    /// Those of the same zone.
    #[serde(rename = "PreferClose")]
    Close,
    /// Those of the same zone.
    #[serde(rename = "PreferSameZone")]
    SameZone,
    /// Those of the same node.
    #[serde(rename = "PreferSameNode")]
    SameNode,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointSpec {
    /// An IP address, a host name or `unix:///path`.
    pub address: String,
    /// Several addresses of the same endpoint, the preferred one first, in place of `address`.
    pub addresses: Vec<String>,
    /// Its port, for a service with one port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// Its ports by the name of the service port or of the service port's target.
    pub ports: BTreeMap<String, u32>,
    /// Share of traffic, relative to the other endpoints; at least 1.
    #[schemars(range(min = 1))]
    pub weight: Option<u32>,
    /// Its health.
    pub health: EndpointHealth,
    /// Where it runs: `region/zone/subzone`.
    pub locality: String,
    /// The network that its addresses belong to.
    pub network: String,
    /// Labels, for subsets.
    pub labels: Labels,
    /// Who it is: `ACCOUNT`, `NAMESPACE/ACCOUNT` or a SPIFFE ID.
    pub service_account: String,
    /// The host it runs on.
    pub node: String,
    /// Whether it accepts mesh TLS. Default: `istio` with a service account, else `disabled`.
    pub tls_mode: Option<EndpointTls>,
}

/// Whether mesh TLS is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndpointTls {
    /// Mesh mutual TLS.
    Istio,
    /// Plain text only.
    Disabled,
}

/// The health of an endpoint or workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase")]
pub enum EndpointHealth {
    /// Takes traffic.
    #[default]
    Healthy,
    /// Takes traffic when too few healthy ones are left.
    Degraded,
    /// Finishes what it has.
    Draining,
    /// Takes none.
    Unhealthy,
}

/// A workload: something that runs, and that services pick by its labels.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Its name, unique in its namespace.
    pub name: String,
    /// Its namespace. Default: the document's, else the registry's.
    #[serde(default)]
    pub namespace: String,
    /// Its addresses, the preferred one first: IP addresses, host names or `unix:///path`.
    pub addresses: Vec<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its ports by the name of service ports or of their targets.
    #[serde(default)]
    pub ports: BTreeMap<String, u32>,
    /// Share of traffic, relative to other endpoints; at least 1.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub weight: Option<u32>,
    /// Its health.
    #[serde(default)]
    pub health: EndpointHealth,
    /// Where it runs: `region/zone/subzone`.
    #[serde(default)]
    pub locality: String,
    /// The network that its addresses belong to.
    #[serde(default)]
    pub network: String,
    /// Who it is: `ACCOUNT`, `NAMESPACE/ACCOUNT` or a SPIFFE ID.
    #[serde(default)]
    pub service_account: String,
    /// The host it runs on.
    #[serde(default)]
    pub node: String,
    /// Whether it accepts mesh TLS. Default: `istio` with a service account, else `disabled`.
    #[serde(default)]
    pub tls_mode: Option<EndpointTls>,
}

/// Where a service port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortTarget {
    /// This port.
    Number(u32),
    /// The endpoint's port of this name.
    Name(String),
}

impl<'de> Deserialize<'de> for PortTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Target;
        impl Visitor<'_> for Target {
            type Value = PortTarget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or the name of a port")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<PortTarget, E> {
                let number = u32::try_from(value);
                let invalid = |_| E::invalid_value(Unexpected::Unsigned(value), &self);
                number.map(PortTarget::Number).map_err(invalid)
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<PortTarget, E> {
                Ok(PortTarget::Name(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Target)
    }
}

impl JsonSchema for PortTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port number, or the name of one of the endpoint's ports.",
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "minLength": 1},
            ],
        })
    }
}
