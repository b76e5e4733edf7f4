//! One file's text to objects, each on its own: what is wrong with one is told
//! of that one.

mod object;

use std::collections::BTreeMap;

use mainstem_model::{ObjectKind, ObjectRef, Origins, Rejected, Sourced, Value};
use mainstem_registry::serviceentry::Declared;

use crate::convert::{self, Around};
use crate::yaml::{self, Content, Flaw, Node, Place, Source};
use mainstem_registry::own::{Defaults, OwnDocument};

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    /// Objects that are understood, in the order written.
    pub objects: Vec<Object>,
    /// Everything else.
    pub refused: Vec<Refused>,
}

/// An object that is understood.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Its kind, and `file#namespace/name`.
    pub id: ObjectRef,
    /// Where it stands.
    pub place: Place,
    /// A hash of its content and of the defaults around it.
    pub revision: u64,
    /// What it brings whatever else there is; workloads among it.
    pub values: Vec<Value>,
    /// Services whose endpoints also depend on workloads.
    pub selecting: Vec<Declared>,
}

/// Something that is not understood.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// What, and why.
    pub rejected: Rejected,
    /// Whether it can be told which object it is. What cannot be told may be any
    /// object that the file held before.
    pub identified: bool,
}

/// Reads a file.
pub(crate) fn parse(around: &Around, source: Source<'_>, max_documents: usize) -> Parsed {
    let mut reader = Reader { source, parsed: Parsed::default(), lines: BTreeMap::new() };
    for (index, document) in yaml::documents(source.text).enumerate() {
        if index == max_documents {
            let place = Place { line: document.line, column: 1 };
            let problem = format!("more than {max_documents} documents; split the file");
            reader.refuse(reader.unnamed("File", None), false, &[Flaw::at(place, problem)]);
            break;
        }
        match Node::parse(document) {
            Ok(node) => reader.document(around, &node, index + 1),
            Err(flaw) => reader.refuse(reader.unnamed("Document", Some(index + 1)), false, &[flaw]),
        }
    }
    reader.parsed
}

struct Reader<'a> {
    source: Source<'a>,
    parsed: Parsed,
    /// Where each object so far stands.
    lines: BTreeMap<ObjectRef, u32>,
}

/// What was made of an object, or why not.
type Made = Result<(Vec<Value>, Vec<Declared>), Vec<Flaw>>;

impl Reader<'_> {
    /// The reference of something that has no name of its own.
    fn unnamed(&self, kind: ObjectKind, document: Option<usize>) -> ObjectRef {
        let file = self.source.name;
        let name = document.map_or_else(|| file.to_owned(), |number| format!("{file}#{number}"));
        ObjectRef { kind, name: name.into() }
    }

    fn named(&self, kind: ObjectKind, name: &str) -> ObjectRef {
        ObjectRef { kind, name: format!("{}#{name}", self.source.name).into() }
    }

    fn refuse(&mut self, object: ObjectRef, identified: bool, flaws: &[Flaw]) {
        let reason = self.source.show_all(flaws);
        self.parsed.refused.push(Refused { rejected: Rejected { object, reason }, identified });
    }

    /// Reads one object: `make` is given its origin.
    fn object(
        &mut self,
        around: &Around,
        id: ObjectRef,
        node: &Node,
        make: impl FnOnce(&Origins) -> Made,
    ) {
        if let Some(first) = self.lines.get(&id) {
            let problem =
                format!("{} stands in this file twice; the one at line {first} counts", id.name);
            let again = format!("{} at line {}", id.name, node.place.line);
            let object = ObjectRef { kind: id.kind, name: again.into() };
            return self.refuse(object, true, &[Flaw::at(node.place, problem)]);
        }
        self.lines.insert(id.clone(), node.place.line);
        let revision = node.digest(&format!("{around:?}"));
        let registry = &around.entries.registry;
        let origins = Sourced::only(registry, id.kind, &id.name, &format!("{revision:016x}"));
        match make(&origins) {
            Ok((values, selecting)) => {
                let place = node.place;
                self.parsed.objects.push(Object { id, place, revision, values, selecting });
            }
            Err(flaws) => self.refuse(id, true, &flaws),
        }
    }

    fn document(&mut self, around: &Around, node: &Node, number: usize) {
        if node.content == Content::Null {
            return;
        }
        if node.get("kind").is_some() || node.get("apiVersion").is_some() {
            return self.kubernetes(around, node, &number.to_string());
        }
        match own_frame(node) {
            Ok((defaults, unknown)) => {
                if let Some(flaw) = unknown {
                    self.refuse(self.unnamed("Document", Some(number)), false, &[flaw]);
                }
                let around = around.within(&defaults);
                self.items(node, "services", number, |reader, node, place| {
                    reader.service(&around, node, place);
                });
                self.items(node, "workloads", number, |reader, node, place| {
                    reader.workload(&around, node, place);
                });
            }
            Err(flaw) => self.refuse(self.unnamed("Document", Some(number)), false, &[flaw]),
        }
    }

    /// Reads each item of the list called `field`, with a name for it that
    /// stands in for one of its own.
    fn items(
        &mut self,
        node: &Node,
        field: &str,
        number: usize,
        mut item: impl FnMut(&mut Self, &Node, &str),
    ) {
        let Some(list) = node.get(field) else { return };
        if let Content::List(items) = &list.content {
            for (index, node) in items.iter().enumerate() {
                item(self, node, &format!("{number}/{field}[{index}]"));
            }
        }
    }

    fn service(&mut self, around: &Around, node: &Node, place: &str) {
        let Some(hostname) = node.get("hostname").and_then(Node::text) else {
            return self.nameless(
                "Service",
                place,
                node,
                yaml::typed::<mainstem_registry::own::ServiceSpec>,
            );
        };
        let namespace = node.get("namespace").and_then(Node::text).unwrap_or_default();
        let key = convert::service_key(around, hostname, namespace);
        let id = self.named("Service", &key.to_string());
        self.object(around, id, node, |origins| {
            let spec = yaml::typed(node).map_err(|flaw| vec![flaw])?;
            let declared = convert::service(around, &spec, origins)
                .map_err(|problems| Flaw::of_problems(&problems, node))?;
            Ok(split([declared]))
        });
    }

    fn workload(&mut self, around: &Around, node: &Node, place: &str) {
        let Some(name) = node.get("name").and_then(Node::text) else {
            return self.nameless(
                "Workload",
                place,
                node,
                yaml::typed::<mainstem_registry::own::WorkloadSpec>,
            );
        };
        let namespace = node.get("namespace").and_then(Node::text).unwrap_or_default();
        let id = self.named("Workload", &format!("{}/{name}", around.namespace_or(namespace)));
        self.object(around, id, node, |origins| {
            let spec = yaml::typed(node).map_err(|flaw| vec![flaw])?;
            let workload = convert::workload(around, &spec, origins)
                .map_err(|problems| Flaw::of_problems(&problems, node))?;
            Ok((vec![Value::Workload(workload)], Vec::new()))
        });
    }

    /// Refuses an item that does not say which object it is, with what its type
    /// has to say of it.
    fn nameless<T>(
        &mut self,
        kind: ObjectKind,
        place: &str,
        node: &Node,
        read: impl FnOnce(&Node) -> Result<T, Flaw>,
    ) {
        let flaw = read(node).err().unwrap_or_else(|| Flaw::at(node.place, "has no name"));
        self.refuse(self.named(kind, place), false, &[flaw]);
    }
}

/// What frames an own document: its defaults, and a field that nobody knows.
fn own_frame(node: &Node) -> Result<(Defaults, Option<Flaw>), Flaw> {
    if !matches!(node.content, Content::Map(_)) {
        let problem = format!(
            "expected services, workloads or a Kubernetes object, found {}",
            node.describe()
        );
        return Err(Flaw::at(node.place, problem));
    }
    for field in ["services", "workloads"] {
        let Some(list) = node.get(field) else { continue };
        if !matches!(list.content, Content::List(_) | Content::Null) {
            let problem = format!("{field}: expected a list, found {}", list.describe());
            return Err(Flaw::at(list.place, problem));
        }
    }
    let defaults = match node.get("defaults") {
        Some(node) if node.content != Content::Null => yaml::typed(node)?,
        _ => Defaults::default(),
    };
    let fields = OwnDocument::FIELDS;
    let unknown = node.entries().iter().find(|(key, ..)| !fields.contains(&key.as_str()));
    let flaw = |(key, place, _): &(String, Place, Node)| {
        Flaw::at(*place, yaml::unknown_field(key, &fields))
    };
    Ok((defaults, unknown.map(flaw)))
}

/// The values that hold whatever workloads there are, and the services that
/// depend on them.
fn split(declared: impl IntoIterator<Item = Declared>) -> (Vec<Value>, Vec<Declared>) {
    let (mut values, mut selecting) = (Vec::new(), Vec::new());
    for declared in declared {
        values.push(Value::Service(declared.service.clone()));
        if declared.service.alias_of.is_some() {
            continue;
        }
        if declared.service.selector.is_empty() {
            values.push(Value::Endpoints(declared.endpoint_set([]).into()));
        } else {
            selecting.push(declared);
        }
    }
    (values, selecting)
}

#[cfg(test)]
mod tests;
