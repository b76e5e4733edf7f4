//! The configuration compiled for merging: the total order of registries and
//! what each may do.

use std::sync::Arc;

use mainstem_model::{
    ClusterId, DefaultVisibility, HostPattern, Hostname, Key, RegistryId, Service, ServiceAccount,
    ServiceKey, Visibility,
};

use crate::freshness::ExpiryAction;
use crate::policy::{MergePolicy, Policies};
use crate::settings::{AggregateConfig, HostRule, RegistrySettings};

/// What one registry may do.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryRules {
    /// The registry.
    pub id: RegistryId,
    hosts: Vec<HostRule>,
    joins: Vec<HostPattern>,
    trust_domain: String,
    service_accounts: Vec<ServiceAccount>,
    pub(crate) expiry: ExpiryAction,
}

impl RegistryRules {
    /// The rules of a registry in a mesh of this trust domain.
    pub fn new(settings: &RegistrySettings, mesh_trust_domain: &str) -> Self {
        let trust_domain = settings.trust_domain.as_deref().unwrap_or(mesh_trust_domain);
        Self {
            id: settings.id.clone(),
            hosts: settings.hosts.clone(),
            joins: settings.joins.clone(),
            trust_domain: trust_domain.to_owned(),
            service_accounts: settings.service_accounts.clone(),
            expiry: settings.expiry.action,
        }
    }

    /// Whether what it brings is left out once it has expired.
    pub fn removed_by_expiry(&self) -> bool {
        self.expiry == ExpiryAction::Remove
    }

    /// Whether it may define the service (`hosts`).
    pub fn may_define(&self, key: &ServiceKey) -> bool {
        self.hosts.iter().any(|rule| rule.matches(key))
    }

    /// Whether it may add endpoints to the host of another registry (`joins`).
    pub fn may_join(&self, hostname: &Hostname) -> bool {
        self.joins.iter().any(|pattern| pattern.matches(hostname))
    }

    /// Whether it may add the identity to a service of another registry.
    pub fn may_add_account(&self, account: &ServiceAccount) -> bool {
        let trust_domain = account.as_str().strip_prefix("spiffe://");
        let trust_domain = trust_domain.and_then(|rest| rest.split('/').next());
        trust_domain == Some(&*self.trust_domain) || self.service_accounts.contains(account)
    }
}

/// All registries, the first first, and the policies by which they share services.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rules {
    registries: Vec<Arc<RegistryRules>>,
    policies: Policies,
    default_visibility: DefaultVisibility,
}

impl Rules {
    /// The rules that a configuration declares. Order: Kubernetes before the
    /// rest, the configuration cluster's at its head; then as configured. Of
    /// several registries of one name the first counts.
    pub fn new(config: &AggregateConfig) -> Self {
        let mut ordered: Vec<_> = config.registries.iter().enumerate().collect();
        ordered.sort_by_key(|(at, settings)| (class(&settings.id, &config.cluster), *at));
        let mut registries: Vec<Arc<RegistryRules>> = Vec::with_capacity(ordered.len());
        for (_, settings) in ordered {
            if registries.iter().all(|earlier| earlier.id != settings.id) {
                let rules = RegistryRules::new(settings, &config.mesh.trust_domain);
                registries.push(Arc::new(rules));
            }
        }
        let default_visibility = config.mesh.default_service_export_to.clone();
        Self { registries, policies: Policies::new(&config.policies), default_visibility }
    }

    /// Whether something could be merged differently by `other`.
    pub fn differ(&self, other: &Self, key: &Key) -> bool {
        let Self { registries, policies: _, default_visibility } = self;
        if *registries != other.registries || *default_visibility != other.default_visibility {
            return true;
        }
        match key {
            Key::Service(key) | Key::Endpoints(key) => self.policy(key) != other.policy(key),
            _ => false,
        }
    }

    /// The merge policy of a service, where one is declared.
    pub fn policy(&self, key: &ServiceKey) -> Option<&MergePolicy> {
        self.policies.of(key)
    }

    /// Applies the mesh's default to a service that does not say who may see it.
    pub fn show(&self, service: &mut Arc<Service>) {
        if service.visibility != Visibility::Unset {
            return;
        }
        let default = self.default_visibility.iter().map(String::as_str);
        let default = Visibility::parse(default, service.namespace());
        // Everybody sees it as it stands, shared with what the registry holds.
        if let Some(only @ Visibility::Namespaces(_)) = default {
            Arc::make_mut(service).visibility = only;
        }
    }

    /// The registries in order.
    pub fn registries(&self) -> &[Arc<RegistryRules>] {
        &self.registries
    }

    /// The registry's place in the order; unknown ones come last.
    pub fn rank(&self, id: &RegistryId) -> usize {
        let found = self.registries.iter().position(|registry| registry.id == *id);
        found.unwrap_or(self.registries.len())
    }

    /// Whether the registry is configured.
    pub fn knows(&self, id: &RegistryId) -> bool {
        self.registries.iter().any(|registry| registry.id == *id)
    }
}

fn class(id: &RegistryId, own_cluster: &ClusterId) -> u8 {
    match id.provider() {
        "kubernetes" if id.cluster() == own_cluster.as_str() => 0,
        "kubernetes" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_comes_first_with_the_configuration_cluster_at_its_head() {
        let ids = ["file/z", "kubernetes/far", "consul/dc1", "kubernetes/home", "file/a"];
        let registries = ids.map(|id| RegistrySettings::new(id.into())).to_vec();
        let config =
            AggregateConfig { cluster: "home".into(), registries, ..AggregateConfig::default() };
        let rules = Rules::new(&config);
        let order: Vec<_> = rules.registries().iter().map(|r| r.id.as_str()).collect();
        assert_eq!(order, ["kubernetes/home", "kubernetes/far", "file/z", "consul/dc1", "file/a"]);
    }

    #[test]
    fn a_registry_adds_identities_of_its_trust_domain_and_of_its_list() {
        let mut settings = RegistrySettings::new("consul/dc1".into());
        settings.service_accounts = vec!["spiffe://other/ns/a/sa/listed".into()];
        let rules = RegistryRules::new(&settings, "mesh");
        assert!(rules.may_add_account(&"spiffe://mesh/ns/a/sa/b".into()));
        assert!(rules.may_add_account(&"spiffe://other/ns/a/sa/listed".into()));
        assert!(!rules.may_add_account(&"spiffe://mesh.evil/ns/a/sa/b".into()));
        assert!(!rules.may_add_account(&"mesh".into()));
        settings.trust_domain = Some("other".to_owned());
        let rules = RegistryRules::new(&settings, "mesh");
        assert!(rules.may_add_account(&"spiffe://other/ns/a/sa/b".into()));
        assert!(!rules.may_add_account(&"spiffe://mesh/ns/a/sa/b".into()));
    }
}
