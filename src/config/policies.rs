//! `policies`: who serves a host name that several registries share.

use std::collections::BTreeSet;

use mainstem_aggregate::{MergePolicy, PolicyFault};
use mainstem_model::RegistryId;

use super::decode::decode;
use super::registry::{check_host_rule, texts};
use super::report::Problem;
use super::tree::{Node, Place, Tree};

/// Policies as they were read, and where each stands.
pub(super) type Placed = Vec<(MergePolicy, Place)>;

/// Reads the list; what is wrong with an entry costs the entry.
pub(super) fn read(node: Option<Node>, problems: &mut Vec<Problem>) -> Placed {
    let items = match node {
        None | Some(Node { tree: Tree::Null, .. }) => Vec::new(),
        Some(Node { tree: Tree::List(items), .. }) => items,
        Some(node) => {
            let message = format!("{} where a list of policies belongs", node.kind());
            let problem = Problem::new(&node.place, message);
            problems.push(problem.advise("begin each policy with `- name: …`"));
            Vec::new()
        }
    };
    items.into_iter().filter_map(|item| policy(&item, problems)).collect()
}

fn policy(node: &Node, problems: &mut Vec<Problem>) -> Option<(MergePolicy, Place)> {
    let before = problems.len();
    if let Some(hosts) = node.get("hosts") {
        texts(hosts, check_host_rule, problems);
    }
    match decode::<MergePolicy>(node) {
        Ok(policy) if problems.len() == before => {
            let place = node.get("name").map_or(&node.place, |name| &name.place);
            Some((policy, place.clone()))
        }
        Ok(_) => None,
        Err(fault) => {
            // A pattern that makes no sense has been told already.
            if problems.len() == before {
                problems.push(fault.into());
            }
            None
        }
    }
}

/// What is wrong with the policies together, and beside the registries.
pub(super) fn check(
    policies: &Placed,
    registries: &BTreeSet<RegistryId>,
    problems: &mut Vec<Problem>,
) {
    let all: Vec<MergePolicy> = policies.iter().map(|(policy, _)| policy.clone()).collect();
    problems.extend(MergePolicy::check(&all, registries).into_iter().map(|fault| {
        // Of two that are named alike, or exclude each other, the later is shown.
        let named = policies.iter().rev().find(|(policy, _)| policy.name == later(&fault));
        let place = named.map_or(Place::Unknown, |(_, place)| place.clone());
        let text = fault.to_string();
        match text.split_once("; ") {
            Some((message, advice)) => Problem::new(&place, message).advise(advice),
            None => Problem::new(&place, text),
        }
    }));
}

/// The policy that a fault is about.
fn later(fault: &PolicyFault) -> &str {
    match fault {
        PolicyFault::UnknownRegistry { policy, .. }
        | PolicyFault::Empty { policy, .. }
        | PolicyFault::Shares { policy, .. }
        | PolicyFault::SameName { policy }
        | PolicyFault::Overlap { against: policy, .. } => policy,
    }
}
