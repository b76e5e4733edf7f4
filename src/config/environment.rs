//! Settings from environment variables, laid over those of the file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report::Problem;
use super::schema::{PREFIX, Setting, Step, setting_of};
use super::tree::{Node, Place, Tree};

/// Variables that are no settings: flags of the command line, and those of tests.
const OTHERS: [&str; 6] = [
    "MAINSTEM_CONFIG",
    "MAINSTEM_LOG",
    "MAINSTEM_LOG_FORMAT",
    "MAINSTEM_ADMIN",
    "MAINSTEM_OUTPUT",
    "MAINSTEM_XDS",
];

/// Lays the settings in `environment` over `root`. Returns the variables that
/// look like settings and are none.
pub fn apply(
    root: &mut Node,
    environment: &BTreeMap<String, String>,
    schema: &Value,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut settings = Vec::new();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match setting_of(name, schema) {
            Some(setting) => settings.push((name, setting, value)),
            None if OTHERS.contains(&name.as_str()) || is_of_kubernetes(name) => {}
            None if name.starts_with("MAINSTEM_TEST_") => {}
            None => unknown.push(name.clone()),
        }
    }
    // A list as a whole comes before its items.
    settings.sort_by_key(|(_, setting, _)| setting.path.len());
    for (name, setting, value) in settings {
        if let Err(problem) = set(root, name, &setting, value) {
            problems.push(problem);
        }
    }
    unknown
}

/// Kubernetes describes a Service named `mainstem…` to every Pod beside it.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn set(root: &mut Node, name: &str, setting: &Setting, value: &str) -> Result<(), Problem> {
    let place = Place::Environment(name.into());
    let mut node = &mut *root;
    for step in &setting.path {
        node = match step {
            Step::Key(key) => node.entry(key, &place),
            Step::Item(index) => item(node, *index, &place)?,
        };
    }
    *node = parse(value, setting.text, &place)?;
    Ok(())
}

fn item<'a>(node: &'a mut Node, index: usize, place: &Place) -> Result<&'a mut Node, Problem> {
    if !matches!(node.tree, Tree::List(_)) {
        *node = Node::new(place.clone(), Tree::List(Vec::new()));
    }
    let Tree::List(items) = &mut node.tree else { unreachable!("made a list above") };
    if index > items.len() {
        let message = format!("there is no item {index}: the list has {}", items.len());
        return Err(Problem::new(place, message).advise("number the items from 0, without gaps"));
    }
    if index == items.len() {
        items.push(Node::empty_map(place.clone()));
    }
    Ok(&mut items[index])
}

fn parse(value: &str, text: bool, place: &Place) -> Result<Node, Problem> {
    if text {
        return Ok(Node::new(place.clone(), Tree::Text(value.to_owned())));
    }
    let options = super::yaml_options();
    let mut node: Node = serde_saphyr::from_str_with_options(value, options).map_err(|error| {
        Problem::new(place, error.to_string()).advise("write the value as YAML or JSON")
    })?;
    node.relocate(&|_| place.clone());
    Ok(node)
}
