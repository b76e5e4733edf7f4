//! What stands in a file: Mainstem's own documents, and Kubernetes objects.

mod kubernetes;

pub(crate) use kubernetes::{CONFIG_KINDS, Metadata};

use mainstem_registry::own::OwnDocument;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};

/// One document of a file.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands for the schema")]
enum AnyDocument {
    /// Services and workloads in Mainstem's own form.
    Own(OwnDocument),
    /// A Kubernetes object.
    Object(kubernetes::AnyObject),
}

/// The JSON Schema of one document of a registry file.
pub fn schema() -> serde_json::Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<AnyDocument>();
    schema.insert("title".to_owned(), "A document of a Mainstem registry file".into());
    schema.to_value()
}
