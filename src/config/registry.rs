//! One entry of `registries`.

use std::path::{Path, PathBuf};

use mainstem_aggregate::{Expiry, Guard, HostRule, RegistrySettings};
use mainstem_model::{MeshSettings, RegistryId, ServiceAccount, TimeSpan};
use mainstem_registry::ExportSettings;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Config;
use super::decode::decode;
use super::provider::{AdapterConfig, PROVIDERS, Provider};
use super::read::Surroundings;
use super::report::Problem;
use super::tree::{Node, Place, Tree};

/// A registry: what it is, what it may do, and how it is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryConfig {
    /// `type/cluster`.
    pub id: RegistryId,
    /// What every kind of registry can be told.
    #[serde(flatten)]
    pub common: Common,
    /// The trust domain of its identities, where it has its own.
    #[serde(skip)]
    pub trust_domain: Option<String>,
    /// What its adapter is told.
    #[serde(flatten)]
    pub adapter: AdapterConfig,
}

/// What every kind of registry can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Common {
    /// The services that it may define: patterns of host names (`*.shop.svc.cluster.local`,
    /// an exact name, `*`), each optionally for one namespace (`shop/*`). Default: any for
    /// Kubernetes and files, `*.consul` for Consul.
    pub hosts: Option<Vec<String>>,
    /// The services of other registries that it may add endpoints to, as patterns of
    /// host names. Default: none.
    pub joins: Vec<String>,
    /// Identities outside its trust domain that it may add to a service of another
    /// registry, as SPIFFE IDs. Default: none.
    pub service_accounts: Vec<String>,
    /// How long readiness waits for its first complete state. Default: `30s`.
    pub deadline: TimeSpan,
    /// What becomes of its values while it does not answer.
    pub expiry: Expiry,
    /// When endpoints that it withdraws are held.
    pub guard: Guard,
    /// What it gives to the mesh, and under which names. Default: all, as it stands.
    #[serde(skip_serializing_if = "ExportSettings::is_default")]
    pub export: ExportSettings,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            hosts: None,
            joins: Vec::new(),
            service_accounts: Vec::new(),
            deadline: RegistrySettings::DEADLINE.into(),
            expiry: Expiry::default(),
            guard: Guard::default(),
            export: ExportSettings::default(),
        }
    }
}

impl RegistryConfig {
    /// What the aggregate is told of it.
    pub fn settings(&self) -> RegistrySettings {
        let defaults = RegistrySettings::new(self.id.clone());
        let Common { hosts, joins, service_accounts, deadline, expiry, guard, export: _ } =
            &self.common;
        let hosts = hosts.as_ref().map(|all| all.iter().map(|h| HostRule::from(h.as_str())));
        RegistrySettings {
            hosts: hosts.map_or(defaults.hosts, Iterator::collect),
            joins: joins.iter().map(|pattern| pattern.as_str().into()).collect(),
            trust_domain: self.trust_domain.clone(),
            service_accounts: service_accounts
                .iter()
                .map(|account| ServiceAccount::from(account.as_str()))
                .collect(),
            deadline: deadline.duration(),
            expiry: *expiry,
            guard: *guard,
            id: defaults.id,
        }
    }
}

/// Reads one entry. `None` when something is wrong with it, which `problems` says.
pub(super) fn read(
    mut node: Node,
    inherited: &Inherited<'_>,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<RegistryConfig> {
    let before = problems.len();
    let provider = provider(&mut node, problems)?;
    let trust_domain = node.get("trustDomain").and_then(Node::text).map(str::to_owned);
    let common = common(&mut node, problems);
    provider.paths.iter().for_each(|name| around.absolute(&mut node, name));
    inherit(&mut node, provider, inherited);
    let cluster = cluster(&node, problems);
    let adapter = (provider.decode)(&node).map_err(|fault| {
        // The cluster's name was found missing or empty already.
        if cluster.is_some() || !fault.message.contains("`cluster`") {
            problems.push(Problem::from(fault));
        }
    });
    let (Some(cluster), Ok(adapter), true) = (cluster, adapter, problems.len() == before) else {
        return None;
    };
    let id = RegistryId::new(provider.name, &cluster);
    Some(RegistryConfig { id, common, trust_domain, adapter })
}

fn provider(node: &mut Node, problems: &mut Vec<Problem>) -> Option<&'static Provider> {
    let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    let known = known.join(", ");
    if !matches!(node.tree, Tree::Map(_)) {
        let message = format!("{} where a registry belongs", node.kind());
        let advice = "write { type: …, cluster: …, … }";
        problems.push(Problem::new(&node.place, message).advise(advice));
        return None;
    }
    let Some(kind) = node.take("type") else {
        let problem = Problem::new(&node.place, "a registry without `type`");
        problems.push(problem.advise(format!("add `type`, one of {known}")));
        return None;
    };
    let found = PROVIDERS.iter().find(|provider| kind.text() == Some(provider.name));
    if found.is_none() {
        let name = kind.text().unwrap_or(kind.kind());
        let message = format!("unknown registry type `{name}`");
        problems.push(Problem::new(&kind.place, message).advise(format!("known are {known}")));
    }
    found
}

fn cluster(node: &Node, problems: &mut Vec<Problem>) -> Option<String> {
    let Some(cluster) = node.get("cluster") else {
        let problem = Problem::new(&node.place, "a registry without `cluster`");
        problems.push(problem.advise("add `cluster`, the name of what it holds in the mesh"));
        return None;
    };
    // Anything but text is found by the adapter's own settings.
    let name = cluster.text()?;
    if name.is_empty() || name.contains(['/', '~', '|']) || name.contains(char::is_whitespace) {
        let message = format!("{name:?} cannot be a cluster's name");
        let advice = "use letters, digits, `-`, `_` and `.`";
        problems.push(Problem::new(&cluster.place, message).advise(advice));
        return None;
    }
    Some(name.to_owned())
}

/// Takes what is common to all registries out of `node`.
fn common(node: &mut Node, problems: &mut Vec<Problem>) -> Common {
    let mut texts = |name: &str, check: fn(&str) -> Result<(), String>| {
        Some(texts(&node.take(name)?, check, problems))
    };
    let hosts = texts("hosts", check_host_rule);
    let joins = texts("joins", check_pattern).unwrap_or_default();
    let service_accounts = texts("serviceAccounts", check_spiffe).unwrap_or_default();
    let defaults = Common::default();
    let deadline = setting(node, "deadline", problems).unwrap_or(defaults.deadline);
    let expiry = setting(node, "expiry", problems).unwrap_or(defaults.expiry);
    let place = node.get("guard").map(|node| node.place.clone());
    let guard = setting(node, "guard", problems).unwrap_or(defaults.guard);
    if let (Some(place), Some(problem)) = (place, guard.problem()) {
        problems.push(Problem::new(&place, problem));
    }
    let export = super::export::read(node.take("export"), problems);
    Common { hosts, joins, service_accounts, deadline, expiry, guard, export }
}

/// Takes a setting out of `node`, if it is there and right.
fn setting<T: DeserializeOwned>(
    node: &mut Node,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let read = node.take(name).map(|node| decode(&node)).transpose();
    read.unwrap_or_else(|fault| {
        problems.push(fault.into());
        None
    })
}

/// The texts of a list that pass a check; nothing is an empty list.
pub(super) fn texts(
    node: &Node,
    check: fn(&str) -> Result<(), String>,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let items = match &node.tree {
        Tree::Null => &[],
        Tree::List(items) => items.as_slice(),
        _ => {
            let message = format!("{} where a list of texts belongs", node.kind());
            problems.push(Problem::new(&node.place, message).advise("write [\"…\"]"));
            &[]
        }
    };
    let read = items.iter().map(|item| {
        let text = decode::<String>(item)?;
        check(&text).map_err(|why| Problem::new(&item.place, why))?;
        Ok(text)
    });
    let mut good = Vec::new();
    for text in read {
        match text {
            Ok(text) => good.push(text),
            Err(problem) => problems.push(problem),
        }
    }
    good
}

/// What counts where a registry says nothing itself.
pub(super) struct Inherited<'a> {
    pub mesh: &'a MeshSettings,
    /// The control plane's own cluster.
    pub home: &'a str,
}

fn inherit(node: &mut Node, provider: &Provider, inherited: &Inherited<'_>) {
    let place = node.place.clone();
    let Inherited { mesh, home } = inherited;
    let settings = [
        ("domainSuffix", mesh.domain_suffix.as_str()),
        ("trustDomain", &mesh.trust_domain),
        ("home", home),
    ];
    for (name, value) in settings {
        if provider.knows(name) && node.get(name).is_none() {
            *node.entry(name, &place) = Node::new(place.clone(), Tree::Text(value.to_owned()));
        }
    }
}

/// A host pattern with an optional namespace before it.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check_host_rule(text: &str) -> Result<(), String> {
    match text.split_once('/') {
        Some(("", _)) => Err(format!("{text:?} names no namespace before its slash")),
        Some((_, pattern)) => check_pattern(pattern),
        None => check_pattern(text),
    }
}

/// A host name, `*.suffix`, or `*`.
fn check_pattern(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if text == "*" || name.split('.').all(label) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a pattern of host names: write a name, *.SUFFIX for all names below it, or *"
    ))
}

fn check_spiffe(text: &str) -> Result<(), String> {
    if text.starts_with("spiffe://") {
        return Ok(());
    }
    Err(format!("{text:?} is not a SPIFFE ID: write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME"))
}

/// Whether two entries are the same registry, and where the second stands.
pub(super) fn duplicates(read: &[(RegistryConfig, Place)], problems: &mut Vec<Problem>) {
    for (index, (registry, place)) in read.iter().enumerate() {
        if let Some((_, first)) = read[..index].iter().find(|(other, _)| other.id == registry.id) {
            let at = match first {
                Place::File { line, .. } => format!(" (first in line {line})"),
                _ => String::new(),
            };
            let message = format!("registry {} is there twice{at}", registry.id);
            problems
                .push(Problem::new(place, message).advise("give one of them another `cluster`"));
        }
    }
}

/// Whether the registries are Kubernetes ones that are named by the settings that stand at
/// these places.
pub(super) fn check_servers(
    config: &Config,
    settings: &[(&str, Place)],
    problems: &mut Vec<Problem>,
) {
    let named = [&config.policy_objects.registry, &config.conflict_events.registry];
    for ((name, place), id) in settings.iter().zip(named) {
        let Some(id) = id.as_ref().filter(|id| config.api_server(id).is_none()) else { continue };
        let message = format!("`{name}.registry` is {id}, which is no Kubernetes registry");
        let ids = config.registries.iter().map(|registry| &registry.id);
        let known: Vec<_> = ids.filter(|id| config.api_server(id).is_some()).collect();
        let known: Vec<_> = known.into_iter().map(ToString::to_string).collect();
        let advice = match known.is_empty() {
            true => "add a registry of type kubernetes".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        problems.push(Problem::new(place, message).advise(advice));
    }
}

/// A path as written, made absolute: `~/` is the home directory, anything
/// relative begins at `base`.
pub(super) fn absolute(text: &str, base: &Path, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => base.join(text),
    }
}
