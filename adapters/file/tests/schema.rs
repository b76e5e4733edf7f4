//! The checked-in JSON Schema and examples are those of the types.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use mainstem_file::{Report, check, schema};
use mainstem_test_support::workspace_root;
use pretty_assertions::assert_eq;

fn checked_in() -> PathBuf {
    workspace_root().join("docs/registries/file.schema.json")
}

#[test]
fn the_checked_in_schema_is_current() {
    let current = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(checked_in(), &current).unwrap();
    }
    let held = fs::read_to_string(checked_in()).unwrap_or_default();
    assert!(
        held == current,
        "{} is not current; write it anew with UPDATE_SCHEMA=1 cargo test -p mainstem-file --test schema",
        checked_in().display()
    );
}

#[test]
fn the_examples_are_valid() {
    let report = check(workspace_root().join("examples/file-registry")).unwrap();
    let expected = Report {
        files: 3,
        services: 6,
        endpoints: 8,
        workloads: 3,
        configs: 1,
        namespaces: 0,
        rejected: Vec::new(),
    };
    assert_eq!(report, expected);
}

#[test]
fn a_check_names_every_flaw_and_counts_the_rest() {
    let scratch = mainstem_test_support::Scratch::new("check");
    let path = scratch.write(
        "services.yaml",
        "services:\n- hostname: good.example.com\n- hostname: bad.example.com\n  ports: [{ number: 0 }]\n",
    );
    let report = check(path).unwrap();
    assert_eq!((report.files, report.services, report.rejected.len()), (1, 1, 1));
    assert_eq!(
        report.rejected[0].reason,
        "services.yaml:4:21: ports[0].number: 0 is no port; ports are 1 to 65535\n\
         \x20 |\n\
         4 |   ports: [{ number: 0 }]\n\
         \x20 |                     ^"
    );
    let error = check(scratch.path().join("nothing")).unwrap_err();
    assert!(error.to_string().ends_with("/nothing"), "{error}");
}
