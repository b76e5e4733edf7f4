//! What the aggregate is told: registries in their order, what each may do, and
//! how long things may take.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mainstem_model::{
    ClusterId, HostPattern, MeshSettings, NamespaceName, RegistryId, ServiceAccount, ServiceKey,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::freshness::Expiry;
use crate::guard::Guard;
use crate::policy::MergePolicy;

/// Everything that the aggregate is configured with. A new value takes effect
/// without a restart.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AggregateConfig {
    /// The control plane's own cluster: its Kubernetes registry comes first of all.
    pub cluster: ClusterId,
    /// The registries, in the order configured. What other registries say is
    /// held and not merged.
    pub registries: Vec<RegistrySettings>,
    /// Who serves names that several registries share.
    pub policies: Vec<MergePolicy>,
    /// Settings of the whole mesh.
    pub mesh: MeshSettings,
    /// When changes are published.
    pub debounce: Debounce,
    /// Where last good states are kept; nowhere by default.
    pub state: StateSettings,
}

/// Where and how often last good states are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The directory; `None` keeps nothing.
    pub directory: Option<PathBuf>,
    /// The least time between two writes of one registry's state.
    pub interval: Duration,
}

impl Default for StateSettings {
    /// Nowhere; every 10 s.
    fn default() -> Self {
        Self { directory: None, interval: Duration::from_secs(10) }
    }
}

/// What one registry may do.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrySettings {
    /// Its identity.
    pub id: RegistryId,
    /// The services that it may define.
    pub hosts: Vec<HostRule>,
    /// The services of others that it may add endpoints to.
    pub joins: Vec<HostPattern>,
    /// The trust domain of the identities that it may add to a service of
    /// another registry; `None` is the mesh's own.
    pub trust_domain: Option<String>,
    /// Identities outside that trust domain that it may add as well.
    pub service_accounts: Vec<ServiceAccount>,
    /// How long readiness waits for its first complete state.
    pub deadline: Duration,
    /// What becomes of its values while it does not answer.
    pub expiry: Expiry,
    /// When what it withdraws is held.
    pub guard: Guard,
}

impl RegistrySettings {
    /// How long readiness waits unless told otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(30);

    /// A registry with the defaults of its provider: it defines its own names
    /// ([`RegistrySettings::default_hosts`]) and joins none of others.
    pub fn new(id: RegistryId) -> Self {
        Self {
            hosts: Self::default_hosts(&id),
            joins: Vec::new(),
            trust_domain: None,
            service_accounts: Vec::new(),
            deadline: Self::DEADLINE,
            expiry: Expiry::default(),
            guard: Guard::default(),
            id,
        }
    }

    /// What a registry may define unless told otherwise. Kubernetes, files, the
    /// memory registry and MCP sources are configuration that somebody wrote,
    /// ServiceEntries for any host included: they may define anything. In Consul
    /// whoever may register an instance names a service, so it defines names
    /// under `.consul` alone; any other provider names under its own.
    pub fn default_hosts(id: &RegistryId) -> Vec<HostRule> {
        match id.provider() {
            "kubernetes" | "file" | "memory" | "mcp" => vec![HostRule::from("*")],
            provider => vec![HostRule::from(format!("*.{provider}").as_str())],
        }
    }
}

/// Services that a registry may define: a pattern of host names, in one namespace
/// or in any. Written `pattern` or `namespace/pattern`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct HostRule {
    /// The only namespace that it holds for; `None` is any.
    pub namespace: Option<NamespaceName>,
    /// The host names.
    pub pattern: HostPattern,
}

impl HostRule {
    /// Whether the service is one of them.
    pub fn matches(&self, key: &ServiceKey) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| namespace == key.namespace())
            && self.pattern.matches(key.hostname())
    }
}

impl HostRule {
    /// An order in which of two rules that hold for one service the narrower
    /// comes first: exact names, then patterns from the longest on; within one
    /// pattern those of one namespace first.
    pub(crate) fn breadth(&self) -> (bool, Reverse<usize>, bool) {
        let pattern = self.pattern.as_str();
        (pattern.starts_with('*'), Reverse(pattern.len()), self.namespace.is_none())
    }

    /// Whether some service belongs to both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let namespaces = match (&self.namespace, &other.namespace) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        namespaces && (self.pattern.covers(&other.pattern) || other.pattern.covers(&self.pattern))
    }

    /// Whether every service of this rule belongs to `other`, and not the other way round.
    pub(crate) fn is_narrower(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| {
            b.pattern.covers(&a.pattern) && (b.namespace.is_none() || a.namespace == b.namespace)
        };
        within(self, other) && !within(other, self)
    }
}

impl From<&str> for HostRule {
    fn from(text: &str) -> Self {
        match text.split_once('/') {
            Some(("*", pattern)) => Self { namespace: None, pattern: pattern.into() },
            Some((namespace, pattern)) => {
                Self { namespace: Some(namespace.into()), pattern: pattern.into() }
            }
            None => Self { namespace: None, pattern: text.into() },
        }
    }
}

impl From<String> for HostRule {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl JsonSchema for HostRule {
    fn schema_name() -> Cow<'static, str> {
        "HostRule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.pattern),
            None => self.pattern.fmt(f),
        }
    }
}

/// When changes are published. Endpoint changes go out at once; services and
/// configuration wait for a moment of quiet, so that objects applied together
/// arrive together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// The quiet that services and configuration wait for.
    pub quiet: Duration,
    /// How long they wait at most, however little quiet there is.
    pub longest: Duration,
    /// The least time between two publications: under a storm, endpoint changes
    /// within it are published together.
    pub spacing: Duration,
}

impl Default for Debounce {
    /// 10 ms of quiet, 100 ms at most, 1 ms apart.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(10),
            longest: Duration::from_millis(100),
            spacing: Duration::from_millis(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*.consul", "shop", "db.consul", true)]
    #[case("*.consul", "shop", "db.svc", false)]
    #[case("shop/*", "shop", "db.svc", true)]
    #[case("shop/*", "other", "db.svc", false)]
    #[case("*/db.svc", "other", "db.svc", true)]
    fn a_host_rule_holds_for_a_namespace_and_a_pattern(
        #[case] rule: &str,
        #[case] namespace: &str,
        #[case] host: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(HostRule::from(rule).matches(&ServiceKey::new(host, namespace)), expected);
    }

    #[rstest]
    #[case("kubernetes/a", "*")]
    #[case("file/a", "*")]
    #[case("consul/dc1", "*.consul")]
    #[case("eureka/a", "*.eureka")]
    fn a_registry_defines_its_own_names_unless_told_otherwise(
        #[case] id: &str,
        #[case] hosts: &str,
    ) {
        assert_eq!(RegistrySettings::new(id.into()).hosts, [HostRule::from(hosts)]);
    }
}
