//! Which settings there are: a JSON Schema of the whole configuration, and the
//! environment variable of every setting in it.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use super::PROVIDERS;

/// What every variable of a setting begins with.
pub const PREFIX: &str = "MAINSTEM_";

/// One step from a mapping or list into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// The item at an index.
    Item(usize),
}

/// A setting that a variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The way to it from the root.
    pub path: Vec<Step>,
    /// Whether it is text, which is taken as it stands.
    pub text: bool,
}

/// The JSON Schema of the configuration file.
pub fn schema() -> Value {
    let mut defs = Map::new();
    let mut root = inlined::<super::Config>(&mut defs);
    let file = json!({
        "type": "string",
        "description": "A file with mesh settings, watched; settings beside this one win over the file's.",
    });
    let mut mesh = inlined::<mainstem_model::MeshSettings>(&mut defs);
    mesh["properties"]["file"] = file;
    root["properties"]["mesh"] = mesh;
    let registries: Vec<Value> = PROVIDERS.iter().map(|p| registry(p, &mut defs)).collect();
    root["properties"]["registries"] = json!({
        "type": "array",
        "description": "The registries, in order of precedence after the Kubernetes ones.",
        "items": {"oneOf": registries},
    });
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Mainstem configuration".into();
    root["required"] = json!(["cluster"]);
    root["additionalProperties"] = false.into();
    root["$defs"] = Value::Object(defs);
    root
}

/// What any registry may say, and what this provider's adapter understands.
fn registry(provider: &super::Provider, defs: &mut Map<String, Value>) -> Value {
    let mut own = (provider.schema)().to_value();
    move_defs(&mut own, defs);
    let common = inlined::<super::Common>(defs);
    for (name, schema) in common["properties"].as_object().into_iter().flatten() {
        own["properties"][name] = schema.clone();
    }
    if provider.name == mainstem_consul::PROVIDER {
        let settings = own["properties"].clone();
        own["properties"]["shards"] = json!({
            "type": "array",
            "description": "Parts of this Consul, each a registry of its own with these settings laid over the entry's.",
            "items": { "type": "object", "properties": settings, "additionalProperties": false },
        });
    }
    own["properties"]["type"] = json!({"const": provider.name});
    own["title"] = provider.name.into();
    if let Some(required) = own["required"].as_array_mut() {
        required.push("type".into());
    }
    own
}

fn inlined<T: JsonSchema>(defs: &mut Map<String, Value>) -> Value {
    let mut schema = schema_for!(T).to_value();
    move_defs(&mut schema, defs);
    schema
}

fn move_defs(schema: &mut Value, defs: &mut Map<String, Value>) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("$schema");
    if let Some(Value::Object(own)) = schema.remove("$defs") {
        defs.extend(own);
    }
}

/// The setting that a variable names, if there is one.
pub fn setting_of(variable: &str, schema: &Value) -> Option<Setting> {
    let mut path = Vec::new();
    let text = find(variable.strip_prefix(PREFIX)?, schema, schema, &mut path)?;
    Some(Setting { path, text })
}

/// The variables of all settings outside lists, in order; those of registries
/// are `MAINSTEM_REGISTRIES_<index>_<setting>`.
pub fn variables(schema: &Value) -> Vec<String> {
    let mut all = Vec::new();
    collect(&PREFIX[..PREFIX.len() - 1], schema, schema, &mut all);
    all.sort();
    all
}

fn collect(prefix: &str, schema: &Value, root: &Value, all: &mut Vec<String>) {
    let properties = properties(schema, root);
    if properties.is_empty() {
        all.push(prefix.to_owned());
    }
    for (name, schema) in properties {
        collect(&format!("{prefix}_{}", screaming(name)), schema, root, all);
    }
}

/// Follows `name` down from `schema`; whether what it leads to is text.
fn find(name: &str, schema: &Value, root: &Value, path: &mut Vec<Step>) -> Option<bool> {
    let depth = path.len();
    for (property, schema) in properties(schema, root) {
        let Some(rest) = name.strip_prefix(screaming(property).as_str()) else { continue };
        path.push(Step::Key(property.clone()));
        let found = match rest.strip_prefix('_') {
            None if rest.is_empty() => leaf(schema, root),
            Some(rest) => find(rest, schema, root, path).or_else(|| item(rest, schema, root, path)),
            None => None,
        };
        if found.is_some() {
            return found;
        }
        path.truncate(depth);
    }
    None
}

fn item(name: &str, schema: &Value, root: &Value, path: &mut Vec<Step>) -> Option<bool> {
    let items = resolve(schema, root).get("items")?;
    let (index, rest) = name.split_once('_').unwrap_or((name, ""));
    let depth = path.len();
    path.push(Step::Item(index.parse().ok().filter(|index| *index < 1000)?));
    let found = if rest.is_empty() { leaf(items, root) } else { find(rest, items, root, path) };
    if found.is_none() {
        path.truncate(depth);
    }
    found
}

/// A setting that can be given whole: anything but a mapping of settings.
fn leaf(schema: &Value, root: &Value) -> Option<bool> {
    properties(schema, root).is_empty().then(|| is_text(resolve(schema, root), root))
}

fn is_text(schema: &Value, root: &Value) -> bool {
    let named = |name: &Value| name == "string";
    match &schema["type"] {
        Value::Array(types) => types.iter().any(named),
        Value::Null => {
            let variants = schema["oneOf"].as_array();
            variants.is_some_and(|all| all.iter().all(|one| is_text(resolve(one, root), root)))
                || schema["const"].is_string()
        }
        name => named(name),
    }
}

/// The properties of a schema and of its alternatives, each name once.
fn properties<'a>(schema: &'a Value, root: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let schema = resolve(schema, root);
    let own = schema["properties"].as_object().into_iter().flatten();
    let mut all: Vec<_> = own.collect();
    for alternative in schema["oneOf"].as_array().into_iter().flatten() {
        all.extend(properties(alternative, root));
    }
    all.sort_by_key(|(name, _)| *name);
    all.dedup_by_key(|(name, _)| *name);
    // The longest name first, since one setting's may be the beginning of another's.
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    all
}

/// The schema behind references and "this or nothing".
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        return resolve(&root["$defs"][name], root);
    }
    for list in ["anyOf", "allOf"] {
        let some = |one: &&Value| one["type"] != "null";
        if let Some(only) = schema[list].as_array().and_then(|all| all.iter().find(some)) {
            return resolve(only, root);
        }
    }
    schema
}

/// `camelCase` as `CAMEL_CASE`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}
