//! What can be wrong with policies before any service is merged by them.

use std::collections::BTreeSet;

use mainstem_model::RegistryId;

use super::{Isolation, MergePolicy, Sharing};

/// Something wrong with a policy, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// It names a registry that is not configured.
    #[error(
        "policy {policy} names the registry {registry}, which is not configured; \
         add it to registries or correct its name (provider/cluster)"
    )]
    UnknownRegistry {
        /// The policy.
        policy: String,
        /// What it names.
        registry: RegistryId,
    },
    /// It holds for nothing, or orders nobody.
    #[error("policy {policy} has no {what}; name at least one")]
    Empty {
        /// The policy.
        policy: String,
        /// What is missing.
        what: &'static str,
    },
    /// The shares are not a whole.
    #[error("the shares of policy {policy} are {sum} percent together; make them 100")]
    Shares {
        /// The policy.
        policy: String,
        /// What they are together.
        sum: u32,
    },
    /// Two policies have one name.
    #[error("there are two policies named {policy}; rename one")]
    SameName {
        /// The name.
        policy: String,
    },
    /// Two rules hold for the same services and neither is the narrower one.
    #[error(
        "{one} of policy {policy} and {other} of policy {against} hold for the same services \
         and neither is narrower; narrow one of them"
    )]
    Overlap {
        /// The first policy.
        policy: String,
        /// Its rule.
        one: String,
        /// The second policy.
        against: String,
        /// Its rule.
        other: String,
    },
}

impl MergePolicy {
    /// Everything wrong with these policies for a configuration with `registries`.
    pub fn check(policies: &[Self], registries: &BTreeSet<RegistryId>) -> Vec<PolicyFault> {
        let mut faults = Vec::new();
        for (at, policy) in policies.iter().enumerate() {
            policy.check_alone(registries, &mut faults);
            for other in &policies[at + 1..] {
                policy.check_against(other, &mut faults);
            }
        }
        faults
    }

    fn check_alone(&self, registries: &BTreeSet<RegistryId>, faults: &mut Vec<PolicyFault>) {
        let policy = || self.name.clone();
        let named: BTreeSet<_> = self.registries().chain(self.fields.all()).collect();
        let unknown = named.into_iter().filter(|registry| !registries.contains(*registry));
        faults.extend(unknown.map(|registry| PolicyFault::UnknownRegistry {
            policy: policy(),
            registry: registry.clone(),
        }));
        if self.hosts.is_empty() {
            faults.push(PolicyFault::Empty { policy: policy(), what: "hosts" });
        }
        let names_itself =
            !matches!(self.sharing, Sharing::Union | Sharing::Isolate(Isolation::OwnCluster));
        if names_itself && self.registries().next().is_none() {
            faults.push(PolicyFault::Empty { policy: policy(), what: "registries" });
        }
        if let Sharing::Weighted(shares) = &self.sharing {
            let sum = shares.values().map(|share| u32::from(*share)).sum();
            if sum != 100 {
                faults.push(PolicyFault::Shares { policy: policy(), sum });
            }
        }
    }

    fn check_against(&self, other: &Self, faults: &mut Vec<PolicyFault>) {
        if self.name == other.name {
            faults.push(PolicyFault::SameName { policy: self.name.clone() });
        }
        for one in &self.hosts {
            let ambiguous =
                |rule: &&_| one.overlaps(rule) && !one.is_narrower(rule) && !rule.is_narrower(one);
            faults.extend(other.hosts.iter().filter(ambiguous).map(|rule| PolicyFault::Overlap {
                policy: self.name.clone(),
                one: one.to_string(),
                against: other.name.clone(),
                other: rule.to_string(),
            }));
        }
    }
}
