//! Which services a change of checks concerns: pure.

use std::collections::BTreeMap;

use crate::api::Check;

/// All checks that do not pass, by node and id.
#[derive(Debug, Default)]
pub(super) struct TroubledChecks(BTreeMap<(String, String), Check>);

/// What a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// One service.
    Service(String),
    /// Every service with an instance on this node.
    Node(String),
}

impl TroubledChecks {
    /// Takes over the present checks; what has come, gone or changed since, once each.
    pub(super) fn replace(&mut self, checks: Vec<Check>) -> Vec<Concern> {
        let key = |check: &Check| (check.node.clone(), check.check_id.clone());
        let new: BTreeMap<_, _> = checks.into_iter().map(|check| (key(&check), check)).collect();
        let came = new.iter().filter(|(key, check)| self.0.get(*key) != Some(*check));
        let went = self.0.iter().filter(|(key, _)| !new.contains_key(*key));
        let mut concerns: Vec<Concern> =
            came.chain(went).map(|(_, check)| concern(check)).collect();
        concerns.sort();
        concerns.dedup();
        self.0 = new;
        concerns
    }
}

fn concern(check: &Check) -> Concern {
    match check.service_name.as_str() {
        "" => Concern::Node(check.node.clone()),
        service => Concern::Service(service.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(node: &str, id: &str, service: &str, modify_index: u64) -> Check {
        Check {
            node: node.to_owned(),
            check_id: id.to_owned(),
            status: "critical".to_owned(),
            service_name: service.to_owned(),
            modify_index,
        }
    }

    #[test]
    fn what_comes_changes_or_goes_names_its_service_or_node() {
        let mut checks = TroubledChecks::default();
        let stays = check("n1", "a", "stays", 1);
        let first =
            vec![stays.clone(), check("n1", "b", "changes", 1), check("n2", "c", "goes", 1)];
        assert_eq!(checks.replace(first).len(), 3);

        let second = vec![stays, check("n1", "b", "changes", 2), check("n3", "serfHealth", "", 1)];

        assert_eq!(
            checks.replace(second),
            [
                Concern::Service("changes".to_owned()),
                Concern::Service("goes".to_owned()),
                Concern::Node("n3".to_owned())
            ]
        );
    }
}
