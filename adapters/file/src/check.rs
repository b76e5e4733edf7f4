//! Looking at files without following them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use mainstem_model::{RegistryId, RegistryUpdate, Rejected, Value};
use serde::Serialize;

use crate::convert;
use crate::directory::{Look, LookError};
use crate::holdings::Holdings;
use crate::{FileConfig, PROVIDER};

/// What a file or directory holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many files there are.
    pub files: usize,
    /// How many services they declare.
    pub services: usize,
    /// How many endpoints these have, one for each service port.
    pub endpoints: usize,
    /// How many workloads there are.
    pub workloads: usize,
    /// How many traffic and security objects there are.
    pub configs: usize,
    /// How many namespaces there are.
    pub namespaces: usize,
    /// Everything that is not understood; each reason begins with
    /// `file:line:column:`.
    pub rejected: Vec<Rejected>,
}

/// Reads a registry file, or all of a directory, as a registry would.
///
/// # Errors
///
/// If `path` cannot be looked at. What is wrong within files is in the report.
pub fn check(path: impl AsRef<Path>) -> Result<Report, LookError> {
    check_registry(&FileConfig::new("check", path.as_ref()))
}

/// The same with a registry's own settings.
///
/// # Errors
///
/// If its path cannot be looked at.
pub fn check_registry(config: &FileConfig) -> Result<Report, LookError> {
    let (files, values, rejected) = read(config)?;
    let mut report = Report { files, rejected, ..Report::default() };
    for value in values {
        match value {
            Value::Service(_) => report.services += 1,
            Value::Endpoints(set) => report.endpoints += set.len(),
            Value::Workload(_) => report.workloads += 1,
            Value::Config(_) => report.configs += 1,
            Value::Namespace(_) => report.namespaces += 1,
            Value::Gateway(_) | Value::Unloaded(_) => {}
        }
    }
    Ok(report)
}

/// How many files there are, all values, and all that is wrong.
fn read(config: &FileConfig) -> Result<(usize, Vec<Value>, Vec<Rejected>), LookError> {
    let registry = RegistryId::new(PROVIDER, config.cluster.as_str());
    let look = Look {
        config: Arc::new(config.clone()),
        around: Arc::new(convert::around(config, &registry)),
        known: Arc::default(),
        writing: BTreeSet::new(),
        at_once: true,
    };
    let seen = look.look()?;
    let read: BTreeMap<_, _> =
        seen.read.into_iter().map(|(name, (_, parsed))| (name, parsed)).collect();
    let mut holdings = Holdings::default();
    holdings.take(read, &BTreeSet::new());
    match holdings.whole() {
        RegistryUpdate::Replace { values, rejected } => Ok((seen.files.len(), values, rejected)),
        _ => unreachable!("the whole is a replacement"),
    }
}
