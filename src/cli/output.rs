//! Printing.

use std::io::{self, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: everything that is known.
    Json,
    /// The same, easier to read.
    Yaml,
}

/// Prints to standard output, with one line feed at the end. A reader that has
/// seen enough is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    offer(text.trim_end_matches('\n')).map(drop)
}

/// Prints to standard output; whether anybody reads it.
pub fn offer(text: &str) -> anyhow::Result<bool> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("writing to standard output"),
    }
}

/// Prints a value as indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("writing JSON")?)
}

/// Prints a value as YAML.
pub fn yaml(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_saphyr::to_string(value).context("writing YAML")?)
}

/// JSON text as YAML.
pub fn as_yaml(text: &str) -> anyhow::Result<String> {
    let value: serde_json::Value = serde_json::from_str(text).context("reading the answer")?;
    serde_saphyr::to_string(&value).context("writing YAML")
}
