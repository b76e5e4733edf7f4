//! `export`: what a registry gives to the mesh, and under which names.

use mainstem_registry::{ExportFault, ExportSettings};

use super::decode::decode;
use super::registry::{check_host_rule, texts};
use super::report::Problem;
use super::tree::{Node, Place, Tree};

/// Reads the rules of one registry.
pub(super) fn read(node: Option<Node>, problems: &mut Vec<Problem>) -> ExportSettings {
    let Some(node) = node else { return ExportSettings::default() };
    let before = problems.len();
    for name in ["include", "exclude"] {
        if let Some(list) = node.get(name) {
            texts(list, check_host_rule, problems);
        }
    }
    let settings = match decode::<ExportSettings>(&node) {
        Ok(settings) => settings,
        Err(fault) => {
            // A pattern that makes no sense has been told already.
            if problems.len() == before {
                problems.push(fault.into());
            }
            return ExportSettings::default();
        }
    };
    problems.extend(settings.check().into_iter().map(|fault| problem(&node, &settings, &fault)));
    settings
}

fn problem(node: &Node, settings: &ExportSettings, fault: &ExportFault) -> Problem {
    let place = place(node, settings, fault);
    match fault.message.split_once("; ") {
        Some((message, advice)) => Problem::new(&place, message).advise(advice),
        None => Problem::new(&place, fault.message.as_str()),
    }
}

/// Where the entry of a fault stands.
fn place(node: &Node, settings: &ExportSettings, fault: &ExportFault) -> Place {
    let Some(part) = node.get(fault.setting) else { return node.place.clone() };
    let (part, key) = match fault.setting {
        "aliases" => (Some(part), settings.aliases.keys().nth(fault.entry)),
        "labels" => (part.get("rename"), settings.labels.rename.keys().nth(fault.entry)),
        _ => (Some(part), None),
    };
    let entry = part.and_then(|part| match (&part.tree, key) {
        (Tree::List(items), _) => items.get(fault.entry),
        (Tree::Map(_), Some(key)) => part.get(key),
        _ => None,
    });
    entry.or(part).map_or_else(|| node.place.clone(), |entry| entry.place.clone())
}
