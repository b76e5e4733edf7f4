//! The definition of the kind, made of the policy's own type.

use mainstem_aggregate::MergePolicy;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::KIND;

/// The CustomResourceDefinition, to be applied to a cluster.
pub fn crd() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut spec = settings.into_generator().into_root_schema_for::<MergePolicy>().to_value();
    if let Some(fields) = spec.as_object_mut() {
        ["$schema", "title", "components"].iter().for_each(|field| drop(fields.remove(*field)));
    }
    if let Some(properties) = spec["properties"].as_object_mut() {
        // The object has a name of its own.
        properties.remove("name");
    }
    spec["required"] = json!(["hosts"]);
    structural(&mut spec);
    let mut schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": { "spec": spec, "status": status() },
    });
    schema["description"] = json!("Who serves host names that several registries share.");
    let accepted = |field: &str| format!(".status.conditions[?(@.type==\"Accepted\")].{field}");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", KIND.plural, KIND.group) },
        "spec": {
            "group": KIND.group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND.kind, "listKind": format!("{}List", KIND.kind),
                "plural": KIND.plural, "singular": KIND.kind.to_lowercase(),
                "shortNames": ["fedpol"],
            },
            "versions": [{
                "name": KIND.version, "served": true, "storage": true,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": schema },
                "additionalPrinterColumns": [
                    { "name": "Hosts", "type": "string", "jsonPath": ".spec.hosts" },
                    { "name": "Accepted", "type": "string", "jsonPath": accepted("status") },
                    { "name": "Reason", "type": "string", "jsonPath": accepted("reason") },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
            }],
        },
    })
}

/// Makes a schema structural, as definitions have to be: what is one of several forms has
/// no type there, and is checked by whoever reads it.
fn structural(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let forms = ["oneOf", "anyOf"].iter().any(|name| fields.contains_key(*name));
    if forms {
        let description = fields.remove("description").unwrap_or_default();
        *schema = json!({
            "description": description, "x-kubernetes-preserve-unknown-fields": true,
        });
        return;
    }
    // What is not known is pruned or refused by the API server anyhow.
    fields.remove("additionalProperties").map(|mut values| {
        structural(&mut values);
        (values.is_object()).then(|| fields.insert("additionalProperties".to_owned(), values))
    });
    fields.remove("default");
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(structural);
    }
    if let Some(items) = fields.get_mut("items") {
        structural(items);
    }
}

fn status() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "format": "int64" });
    json!({
        "type": "object",
        "properties": {
            "observedGeneration": number,
            "conditions": { "type": "array", "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    "type": text, "status": text, "reason": text, "message": text,
                    "observedGeneration": number,
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                },
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_definition_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/federationpolicy.crd.yaml");
        let kept = std::fs::read_to_string(path).unwrap();
        let made = serde_saphyr::to_string(&crd()).unwrap();
        assert_eq!(kept, made, "write it anew: mainstem schema --crd > {path}");
    }
}
