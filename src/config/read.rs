//! Reading a configuration.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mainstem_model::MeshSettings;
use serde::de::DeserializeOwned;

use super::decode::decode;
use super::registry::absolute;
use super::report::{ConfigError, Document, Problem};
use super::tree::{Node, Place, Tree};
use super::{Config, environment, policies, registry, schema, shards, xds};

/// The most that a configuration file may have, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The configuration file, if there is one, and its text.
    pub document: Document,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Where relative paths begin that the environment names.
    pub working_directory: PathBuf,
}

/// A configuration, and what its reader should hear besides.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd, though not wrong.
    pub warnings: Vec<String>,
}

impl Input {
    /// Reads the file, if one is named, and takes the process's environment.
    ///
    /// # Errors
    /// A [`ConfigError`] when the file cannot be read.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut document = Document { path: path.map(Path::to_owned), text: "".into() };
        if let Some(path) = path {
            document.text = read(path)
                .map_err(|problem| ConfigError::new(vec![document.clone()], vec![problem]))?;
        }
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Self {
            document,
            environment: environment.collect(),
            working_directory: std::env::current_dir().unwrap_or_default(),
        })
    }

    /// Reads and checks the whole configuration.
    ///
    /// # Errors
    /// A [`ConfigError`] with every problem found.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut reading = Reading {
            documents: vec![self.document.clone()],
            problems: Vec::new(),
            files: Vec::new(),
        };
        match reading.whole(self) {
            Some(loaded) if reading.problems.is_empty() => Ok(loaded),
            _ => Err(ConfigError::new(reading.documents, reading.problems)),
        }
    }
}

/// Where paths begin.
pub(super) struct Surroundings<'a> {
    /// The configuration file's directory.
    file: PathBuf,
    input: &'a Input,
}

impl<'a> Surroundings<'a> {
    fn of(input: &'a Input) -> Self {
        let file = input.document.path.as_deref().and_then(Path::parent);
        Self { file: input.working_directory.join(file.unwrap_or(Path::new(""))), input }
    }

    /// Makes a setting of a mapping an absolute path; a dot leads into a mapping.
    pub(super) fn absolute(&self, node: &mut Node, name: &str) {
        let (name, rest) = name.split_once('.').unwrap_or((name, ""));
        let Some(value) = node.get_mut(name) else { return };
        if !rest.is_empty() {
            self.absolute(value, rest);
        } else if let Tree::Text(text) = &mut value.tree {
            *text = self.path(text, &value.place).display().to_string();
        }
    }

    /// A path written at `place`, made absolute.
    fn path(&self, text: &str, place: &Place) -> PathBuf {
        let base = match place {
            Place::File { .. } => &self.file,
            _ => &self.input.working_directory,
        };
        absolute(text, base, self.input.environment.get("HOME").map(Path::new))
    }
}

struct Reading {
    documents: Vec<Document>,
    problems: Vec<Problem>,
    files: Vec<PathBuf>,
}

impl Reading {
    fn whole(&mut self, input: &Input) -> Option<Loaded> {
        let around = Surroundings::of(input);
        let mut root = self.parse(0)?;
        if !matches!(root.tree, Tree::Map(_) | Tree::Null) {
            let message = format!("{} where the configuration belongs", root.kind());
            self.problems.push(
                Problem::new(&root.place, message)
                    .advise("begin with `cluster:` and `registries:`"),
            );
            return None;
        }
        let unknown =
            environment::apply(&mut root, &input.environment, &schema(), &mut self.problems);
        let mesh = self.mesh(root.take("mesh"), &around).unwrap_or_default();
        // Read for itself below: an error in it is reported once.
        let home = root.get("cluster").and_then(Node::text).unwrap_or_default().to_owned();
        let inherited = registry::Inherited { mesh: &mesh, home: &home };
        let registries = self.registries(root.take("registries"), &inherited, &around);
        let registries_read = self.problems.is_empty();
        let policies = policies::read(root.take("policies"), &mut self.problems);
        // Whoever is misread would be missed here, too.
        if registries_read {
            let known = registries.iter().map(|registry| registry.id.clone()).collect();
            policies::check(&policies, &known, &mut self.problems);
        }
        let cluster = self.cluster(&mut root);
        let xds_node = root.get("xds").cloned();
        let xds = xds::read(&mut root, &around, &mut self.problems);
        if let Some(admin) = root.get_mut("admin") {
            ["tokenFile", "auditFile"].iter().for_each(|name| around.absolute(admin, name));
        }
        let admin = self.section(&mut root, "admin");
        let publish = self.section(&mut root, "publish");
        if let Some(state) = root.get_mut("state") {
            around.absolute(state, "directory");
        }
        let state = self.section(&mut root, "state");
        if let Some(control) = root.get_mut("control") {
            CONTROL_PATHS.iter().for_each(|name| around.absolute(control, name));
        }
        let control = self.section(&mut root, "control");
        let servers = ["policyObjects", "conflictEvents"]
            .map(|name| (name, root.get(name).map(|node| node.place.clone()).unwrap_or_default()));
        let policy_objects = self.section(&mut root, "policyObjects");
        let conflict_events = self.section(&mut root, "conflictEvents");
        self.nothing_left(&root);
        let mut config = Config {
            cluster: cluster?,
            xds: xds?,
            admin: admin?,
            publish: publish?,
            state: state?,
            control: control?,
            mesh,
            registries,
            policies: policies.into_iter().map(|(policy, _)| policy).collect(),
            policy_objects: policy_objects?,
            conflict_events: conflict_events?,
            files: Vec::new(),
        };
        self.check(&config);
        if registries_read {
            registry::check_servers(&config, &servers, &mut self.problems);
        }
        xds::check_beside(&config, xds_node.as_ref(), &mut self.problems);
        config.files = std::mem::take(&mut self.files);
        let warnings = warnings(&config, unknown);
        Some(Loaded { config, warnings })
    }

    /// The tree of a document.
    fn parse(&mut self, document: usize) -> Option<Node> {
        let text = &self.documents[document].text;
        if text.trim().is_empty() {
            return Some(Node::empty_map(Place::Unknown));
        }
        let options = super::yaml_options();
        let place = |place: &Place| match place {
            Place::File { line, column, .. } => {
                Place::File { document, line: *line, column: *column }
            }
            other => other.clone(),
        };
        match serde_saphyr::from_str_with_options::<Node>(text, options) {
            Ok(mut node) => {
                node.relocate(&place);
                Some(node)
            }
            Err(error) => {
                let at = error.location().map(Place::from).unwrap_or_default();
                let message = without_location(&error.to_string());
                self.problems.push(Problem::new(&place(&at), message));
                None
            }
        }
    }

    fn section<T: DeserializeOwned + Default>(&mut self, root: &mut Node, name: &str) -> Option<T> {
        let Some(node) = root.take(name) else { return Some(T::default()) };
        match decode(&node) {
            Ok(section) => Some(section),
            Err(fault) => {
                self.problems.push(fault.into());
                None
            }
        }
    }

    fn cluster(&mut self, root: &mut Node) -> Option<mainstem_model::ClusterId> {
        let Some(node) = root.take("cluster") else {
            let problem = Problem::new(&Place::Unknown, "`cluster` is missing");
            self.problems.push(problem.advise(
                "add `cluster: NAME`, the ClusterID of this control plane's own cluster, \
                 or set MAINSTEM_CLUSTER",
            ));
            return None;
        };
        match decode::<String>(&node) {
            Ok(name) if !name.trim().is_empty() => Some(name.into()),
            Ok(_) => {
                self.problems.push(Problem::new(&node.place, "`cluster` is empty"));
                None
            }
            Err(fault) => {
                self.problems.push(fault.into());
                None
            }
        }
    }

    /// Mesh settings: those of the file that is named, with what stands beside it on top.
    fn mesh(&mut self, node: Option<Node>, around: &Surroundings<'_>) -> Option<MeshSettings> {
        let mut node = node?;
        if let Some(file) = node.take("file") {
            let mut base = self.mesh_file(&file, around)?;
            base.overlay(node);
            node = base;
        }
        match decode(&node) {
            Ok(mesh) => Some(mesh),
            Err(fault) => {
                self.problems.push(fault.into());
                None
            }
        }
    }

    fn mesh_file(&mut self, file: &Node, around: &Surroundings<'_>) -> Option<Node> {
        let Some(text) = file.text() else {
            let message = format!("{} where a path belongs", file.kind());
            self.problems.push(Problem::new(&file.place, message));
            return None;
        };
        let path = around.path(text, &file.place);
        self.files.push(path.clone());
        match read(&path) {
            Ok(text) => self.documents.push(Document { path: Some(path), text }),
            Err(problem) => {
                self.problems.push(Problem { place: file.place.clone(), ..problem });
                return None;
            }
        }
        self.parse(self.documents.len() - 1)
    }

    fn registries(
        &mut self,
        node: Option<Node>,
        inherited: &registry::Inherited<'_>,
        around: &Surroundings<'_>,
    ) -> Vec<registry::RegistryConfig> {
        let items = match node {
            None => Vec::new(),
            Some(Node { tree: Tree::Null, .. }) => Vec::new(),
            Some(Node { tree: Tree::List(items), .. }) => items,
            Some(node) => {
                let message = format!("{} where a list of registries belongs", node.kind());
                let problem = Problem::new(&node.place, message);
                self.problems.push(problem.advise("begin each registry with `- type: …`"));
                Vec::new()
            }
        };
        let mut read = Vec::new();
        let problems = &mut self.problems;
        let entries = items.into_iter().flat_map(|item| shards::expand(item, problems));
        let entries: Vec<Node> = entries.collect();
        for item in entries {
            let place = item.get("cluster").map_or(&item.place, |node| &node.place).clone();
            if let Some(registry) = registry::read(item, inherited, around, &mut self.problems) {
                read.push((registry, place));
            }
        }
        registry::duplicates(&read, &mut self.problems);
        read.into_iter().map(|(registry, _)| registry).collect()
    }

    fn nothing_left(&mut self, root: &Node) {
        let Tree::Map(entries) = &root.tree else { return };
        for (key, _) in entries {
            let problem = Problem::new(&key.place, format!("unknown setting `{}`", key.name));
            self.problems.push(problem.advise(format!("known are {}", SETTINGS.join(", "))));
        }
    }

    fn check(&mut self, config: &Config) {
        let (xds, admin) = (config.xds.address, config.admin.address);
        if config.xds.plaintext && xds.collides(admin) {
            let message = format!("`xds.address` {xds} and `admin.address` {admin} collide");
            let problem = Problem::new(&Place::Unknown, message);
            self.problems.push(problem.advise("give one of them another port"));
        }
        if let Some(problem) = config.control.problem() {
            self.problems.push(Problem::new(&Place::Unknown, problem));
        }
        if config.publish.longest < config.publish.quiet {
            let message = "`publish.longest` is shorter than `publish.quiet`";
            self.problems.push(Problem::new(&Place::Unknown, message));
        }
    }
}

/// The settings at the top of a configuration.
const SETTINGS: [&str; 11] = [
    "cluster",
    "xds",
    "admin",
    "publish",
    "state",
    "control",
    "mesh",
    "registries",
    "policies",
    "policyObjects",
    "conflictEvents",
];

/// Settings of `control` that are paths.
const CONTROL_PATHS: [&str; 5] = [
    "kubernetes.kubeconfig",
    "consul.tokenFile",
    "consul.tls.ca",
    "consul.tls.cert",
    "consul.tls.key",
];

/// Whether a text is a configuration, rather than documents of a file registry:
/// some setting stands at its top, also where it cannot be parsed.
pub fn looks_like_config(text: &str) -> bool {
    match serde_saphyr::from_str_with_options::<Node>(text, super::yaml_options()) {
        Ok(node) => SETTINGS.iter().any(|name| node.get(name).is_some()),
        Err(_) => SETTINGS.iter().any(|name| {
            text.lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
        }),
    }
}

fn warnings(config: &Config, unknown: Vec<String>) -> Vec<String> {
    let mut warnings: Vec<String> = unknown
        .into_iter()
        .map(|name| format!("environment variable {name} names no setting and is ignored"))
        .collect();
    if config.registries.is_empty() {
        warnings.push("no registry is configured: nothing will be served".to_owned());
    }
    warnings.extend(xds::warnings(&config.xds));
    warnings.extend(xds::authority_warnings(config));
    warnings
}

/// The text of a file that is not too large.
fn read(path: &Path) -> Result<std::sync::Arc<str>, Problem> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "is the path right?",
            io::ErrorKind::PermissionDenied => "may this user read it?",
            _ => "is it a text file?",
        };
        Problem::new(&Place::Unknown, format!("reading {shown}: {error}")).advise(advice)
    })?;
    if text.len() > MAX_BYTES {
        let message = format!("{shown} has {} bytes, more than {MAX_BYTES}", text.len());
        return Err(Problem::new(&Place::Unknown, message));
    }
    Ok(text.into())
}

/// The parser's message without the place at its end, which is shown apart.
fn without_location(message: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].trim_end_matches([':', ',']).to_owned()
}
