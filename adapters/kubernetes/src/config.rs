//! The adapter's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstem_model::{ClusterId, Labels, NamespaceName, NetworkId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one Kubernetes cluster is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The name by which the cluster is known in the mesh (ClusterID). Required.
    pub cluster: ClusterId,
    /// A kubeconfig file; a leading `~/` is the home directory. It is read again
    /// when the API server refuses its credentials. Default: the Pod's own service
    /// account where there is one, else `$KUBECONFIG`, else `~/.kube/config`.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context. Default: its current context.
    #[serde(default)]
    pub context: Option<String>,
    /// What host names end in: `NAME.NAMESPACE.svc.SUFFIX`. Default: `cluster.local`.
    #[serde(default = "default_domain")]
    pub domain_suffix: String,
    /// The trust domain of this cluster's identities. Default: `cluster.local`.
    #[serde(default = "default_domain")]
    pub trust_domain: String,
    /// The network of the cluster's addresses, where a Pod's label
    /// `topology.istio.io/network` does not say otherwise. Default: that label of
    /// the system namespace, else the default network.
    #[serde(default)]
    pub network: NetworkId,
    /// The system namespace. Default: `istio-system`.
    #[serde(default = "default_system_namespace")]
    pub system_namespace: NamespaceName,
    /// The namespaces that are read: those which some selector matches. Default,
    /// or an empty list: all.
    #[serde(default)]
    pub discovery_selectors: Vec<LabelSelector>,
    /// How often the API server is asked whether it still answers. Default: `2s`.
    #[serde(default = "default_probe_interval")]
    pub probe_interval: TimeSpan,
    /// How long that answer may take before the registry counts as failed.
    /// Default: `4s`.
    #[serde(default = "default_probe_timeout")]
    pub probe_timeout: TimeSpan,
    /// How long one page of a list, or the beginning of a watch, may take.
    /// Default: `30s`.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: TimeSpan,
    /// How long a watch lasts before it is opened anew from where it stands; also
    /// the longest that a watch whose connection died unseen stays unnoticed while
    /// the API server answers. Default: `2m`.
    #[serde(default = "default_watch_timeout")]
    pub watch_timeout: TimeSpan,
    /// How often to look for ServiceEntry and WorkloadEntry while the cluster does
    /// not define them. Default: `5s`.
    #[serde(default = "default_discovery_interval")]
    pub discovery_interval: TimeSpan,
    /// How many objects a list asks for at once. Default: 500.
    #[serde(default = "default_page_size")]
    pub page_size: u32,
}

fn default_domain() -> String {
    "cluster.local".to_owned()
}

fn default_system_namespace() -> NamespaceName {
    "istio-system".into()
}

fn default_probe_interval() -> TimeSpan {
    TimeSpan::from_secs(2)
}

fn default_probe_timeout() -> TimeSpan {
    TimeSpan::from_secs(4)
}

fn default_request_timeout() -> TimeSpan {
    TimeSpan::from_secs(30)
}

fn default_watch_timeout() -> TimeSpan {
    TimeSpan::from_secs(120)
}

fn default_discovery_interval() -> TimeSpan {
    TimeSpan::from_secs(5)
}

fn default_page_size() -> u32 {
    500
}

impl KubernetesConfig {
    /// The defaults for a cluster.
    pub fn new(cluster: impl Into<ClusterId>) -> Self {
        Self {
            cluster: cluster.into(),
            kubeconfig: None,
            context: None,
            domain_suffix: default_domain(),
            trust_domain: default_domain(),
            network: NetworkId::default(),
            system_namespace: default_system_namespace(),
            discovery_selectors: Vec::new(),
            probe_interval: default_probe_interval(),
            probe_timeout: default_probe_timeout(),
            request_timeout: default_request_timeout(),
            watch_timeout: default_watch_timeout(),
            discovery_interval: default_discovery_interval(),
            page_size: default_page_size(),
        }
    }
}

/// Kubernetes' label selector: all of `matchLabels` and all of `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    /// Labels that must stand there with these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    pub match_expressions: Vec<LabelRequirement>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is missing.
    NotIn,
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether the labels meet every requirement; an empty selector selects all.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl LabelRequirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.iter().any(|own| own == value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[test]
    fn only_the_cluster_is_required() {
        let config: KubernetesConfig = serde_json::from_value(json!({"cluster": "eu"})).unwrap();
        assert_eq!(config, KubernetesConfig::new("eu"));
    }

    #[test]
    fn a_misspelt_setting_is_an_error() {
        let config = json!({"cluster": "eu", "kubeConfig": "x"});
        assert!(serde_json::from_value::<KubernetesConfig>(config).is_err());
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"matchLabels": {"mesh": "on"}}), true)]
    #[case(json!({"matchLabels": {"mesh": "off"}}), false)]
    #[case(json!({"matchExpressions": [{"key": "mesh", "operator": "In", "values": ["on"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "mesh", "operator": "NotIn", "values": ["on"]}]}), false)]
    #[case(json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "mesh", "operator": "Exists"}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "mesh", "operator": "DoesNotExist"}]}), false)]
    fn a_selector_selects_as_in_kubernetes(#[case] selector: Value, #[case] expected: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        assert_eq!(selector.matches(&Labels::from_iter([("mesh", "on")])), expected);
    }
}
