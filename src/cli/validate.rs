//! `mainstem validate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::output;
use crate::config::{AdapterConfig, Config, Input, Loaded, looks_like_config};

/// What to check.
#[derive(Debug, Args)]
pub struct Validate {
    /// A configuration file, or a file or directory of a file registry
    file: PathBuf,
    /// What it is [default: what it looks like]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The control plane's configuration
    Config,
    /// Documents of a file registry
    Registry,
}

impl Validate {
    /// Prints what is wrong and fails, or what was found.
    ///
    /// # Errors
    /// When the file cannot be read, or is a configuration with anything wrong.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.kind.unwrap_or_else(|| kind_of(&self.file)) {
            Kind::Config => config(&self.file),
            Kind::Registry => registry(&self.file),
        }
    }
}

fn kind_of(file: &Path) -> Kind {
    let text = if file.is_dir() { None } else { std::fs::read_to_string(file).ok() };
    // A file that cannot be read is reported best as a configuration.
    match text {
        None if file.is_dir() => Kind::Registry,
        Some(text) if !looks_like_config(&text) => Kind::Registry,
        _ => Kind::Config,
    }
}

/// A configuration, and the documents of its file registries with it.
fn config(file: &Path) -> anyhow::Result<ExitCode> {
    let Loaded { config, warnings } = Input::read(Some(file))?.load()?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let rejected = rejected_by_files(&config);
    let names: Vec<_> = config.registries.iter().map(|r| r.id.as_str()).collect();
    let file = file.display();
    let names = if names.is_empty() { "no registry".to_owned() } else { names.join(", ") };
    output::print(&format!("{file}: a valid configuration with {names}"))?;
    Ok(if rejected { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints what the file registries would reject; whether there is anything.
fn rejected_by_files(config: &Config) -> bool {
    let mut found = false;
    for registry in &config.registries {
        let AdapterConfig::File(settings) = &registry.adapter else { continue };
        match mainstem_file::check_registry(settings) {
            Ok(report) => {
                for rejected in &report.rejected {
                    eprintln!("{}: {}", registry.id, rejected.reason);
                    found = true;
                }
            }
            // Not there yet is no mistake: the registry waits for it.
            Err(error) => {
                let error = anyhow::Error::new(error);
                eprintln!("warning: {}: {error:#}", registry.id);
            }
        }
    }
    found
}

fn registry(file: &Path) -> anyhow::Result<ExitCode> {
    let report =
        mainstem_file::check(file).with_context(|| format!("checking {}", file.display()))?;
    for rejected in &report.rejected {
        eprintln!("{}", rejected.reason);
    }
    let (services, endpoints, workloads) = (report.services, report.endpoints, report.workloads);
    let counts = format!("{services} services, {endpoints} endpoints, {workloads} workloads");
    let shown = file.display();
    if report.rejected.is_empty() {
        output::print(&format!("{shown}: valid registry documents with {counts}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&format!(
        "{shown}: {} objects are rejected; the rest has {counts}",
        report.rejected.len()
    ))?;
    Ok(ExitCode::FAILURE)
}
