//! Kubernetes objects in files.

use std::sync::Arc;

use mainstem_model::{Body, Config, ConfigKey, Namespace, ObjectKind, Origins, Value};
use mainstem_registry::Problems;
use mainstem_registry::serviceentry::{self, ServiceEntrySpec, WorkloadEntrySpec};

use super::{Made, Reader, split};
use crate::api::{CONFIG_KINDS, Metadata};
use crate::convert::Around;
use crate::yaml::{self, Content, Flaw, Node};

const FRAME: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

impl Reader<'_> {
    /// Reads an object, or each object of a list; `place` names what has no name.
    pub(super) fn kubernetes(&mut self, around: &Around, node: &Node, place: &str) {
        let version = node.get("apiVersion").and_then(Node::text).unwrap_or_default();
        let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
        if (version, kind) == ("v1", "List") {
            return self.list(around, node, place);
        }
        let id = |reader: &Self| reader.named("Document", place);
        let kind = match known_kind(version, kind) {
            Ok(kind) => kind,
            Err(problem) => {
                let at = node.get("kind").or(node.get("apiVersion")).unwrap_or(node).place;
                return self.refuse(id(self), false, &[Flaw::at(at, problem)]);
            }
        };
        let name = node.get("metadata").and_then(|m| m.get("name")).and_then(Node::text);
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let at = node.get("metadata").unwrap_or(node).place;
            return self.refuse(id(self), false, &[Flaw::at(at, "metadata.name is missing")]);
        };
        let namespace = node.get("metadata").and_then(|m| m.get("namespace")).and_then(Node::text);
        let namespace = around.namespace_or(namespace.unwrap_or_default());
        let id = match kind {
            "Namespace" => self.named(kind, name),
            _ => self.named(kind, &format!("{namespace}/{name}")),
        };
        self.object(around, id, node, |origins| made(around, kind, node, origins));
    }

    fn list(&mut self, around: &Around, node: &Node, place: &str) {
        let Some(Content::List(items)) = node.get("items").map(|items| &items.content) else {
            let flaw = Flaw::at(node.place, "items: expected a list of objects");
            return self.refuse(self.named("Document", place), false, &[flaw]);
        };
        for (index, item) in items.iter().enumerate() {
            self.kubernetes(around, item, &format!("{place}/items[{index}]"));
        }
    }
}

/// The kind, as far as files may hold it.
fn known_kind(version: &str, kind: &str) -> Result<ObjectKind, String> {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, version, kind) {
        (_, "", _) => Err("apiVersion is missing".to_owned()),
        (_, _, "") => Err("kind is missing".to_owned()),
        ("", "v1", "Namespace") => Ok("Namespace"),
        ("networking.istio.io", _, "ServiceEntry" | "WorkloadEntry")
            if !matches!(
                version,
                "networking.istio.io/v1"
                    | "networking.istio.io/v1beta1"
                    | "networking.istio.io/v1alpha3"
            ) =>
        {
            Err(format!("{kind} has no version {version}; there are v1, v1beta1 and v1alpha3"))
        }
        ("networking.istio.io", _, "ServiceEntry") => Ok("ServiceEntry"),
        ("networking.istio.io", _, "WorkloadEntry") => Ok("WorkloadEntry"),
        (group, _, kind) if group.ends_with(".istio.io") => {
            let known = CONFIG_KINDS.iter().find(|known| **known == kind).copied();
            known.ok_or_else(|| unknown_kind(version, kind))
        }
        _ => Err(unknown_kind(version, kind)),
    }
}

fn unknown_kind(version: &str, kind: &str) -> String {
    format!(
        "{kind} of {version} is not read from files; there are ServiceEntry, WorkloadEntry, \
         Namespace, List, {}",
        CONFIG_KINDS.join(", ")
    )
}

fn made(around: &Around, kind: ObjectKind, node: &Node, origins: &Origins) -> Made {
    frame(node).map_err(|flaw| vec![flaw])?;
    let metadata = node.get("metadata").expect("an object with a name has metadata");
    let metadata: Metadata =
        yaml::typed(metadata).map_err(|flaw| vec![inside(flaw, "metadata")])?;
    let entry = serviceentry::Entry {
        namespace: around.namespace_or(&metadata.namespace),
        name: metadata.name.as_str().into(),
        labels: metadata.labels.clone(),
        annotations: metadata.annotations.clone(),
        origins: origins.clone(),
    };
    match kind {
        "ServiceEntry" => {
            let (spec, spec_node): (ServiceEntrySpec, _) = spec(node)?;
            let declared = serviceentry::convert::service_entry(&around.entries, &entry, &spec);
            declared.map(split).map_err(|problems| flaws(&problems, spec_node))
        }
        "WorkloadEntry" => {
            let (spec, spec_node): (WorkloadEntrySpec, _) = spec(node)?;
            let workload = serviceentry::convert::workload_entry(&around.entries, &entry, &spec)
                .map_err(|problems| flaws(&problems, spec_node))?;
            Ok((vec![Value::Workload(Arc::new(workload))], Vec::new()))
        }
        "Namespace" => {
            let name = metadata.name.as_str().into();
            let namespace = Namespace { name, labels: entry.labels, origins: entry.origins };
            Ok((vec![Value::Namespace(Arc::new(namespace))], Vec::new()))
        }
        kind => config(kind, node, entry),
    }
}

fn frame(node: &Node) -> Result<(), Flaw> {
    let unknown = node.entries().iter().find(|(key, ..)| !FRAME.contains(&key.as_str()));
    unknown
        .map_or(Ok(()), |(key, place, _)| Err(Flaw::at(*place, yaml::unknown_field(key, &FRAME))))
}

fn spec<T: serde::de::DeserializeOwned>(node: &Node) -> Result<(T, &Node), Vec<Flaw>> {
    let Some(spec) = node.get("spec") else {
        return Err(vec![Flaw::at(node.place, "spec is missing")]);
    };
    let read = yaml::typed(spec).map_err(|flaw| vec![inside(flaw, "spec")])?;
    Ok((read, spec))
}

fn config(kind: ObjectKind, node: &Node, entry: serviceentry::Entry) -> Made {
    let spec: serde_json::Value = match node.get("spec") {
        Some(spec) => yaml::typed(spec).map_err(|flaw| vec![inside(flaw, "spec")])?,
        None => serde_json::Value::Null,
    };
    let key = ConfigKey { kind: kind.into(), namespace: entry.namespace, name: entry.name };
    let serviceentry::Entry { labels, annotations, origins, .. } = entry;
    let body = Body::Document(Arc::new(spec));
    let config = Config { key, labels, annotations, body, origins };
    Ok((vec![Value::Config(Arc::new(config))], Vec::new()))
}

fn flaws(problems: &Problems, spec: &Node) -> Vec<Flaw> {
    let flaws = Flaw::of_problems(problems, spec);
    flaws.into_iter().map(|flaw| inside(flaw, "spec")).collect()
}

fn inside(mut flaw: Flaw, field: &str) -> Flaw {
    let own = mainstem_registry::Step::Field(field.into());
    flaw.field = std::iter::once(own).chain(flaw.field.steps().iter().cloned()).collect();
    flaw
}
