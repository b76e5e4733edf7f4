//! The table of rules in `docs/xds.md` names tests that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const RULES: std::ops::RangeInclusive<u32> = 1..=31;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names of all functions in the Rust files below a directory.
fn functions(dir: PathBuf, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let names = text.lines().filter_map(|line| line.trim_start().split_once("fn "));
            found.extend(names.filter_map(|(_, rest)| rest.split_once('(')).map(|(n, _)| n.into()));
        }
    }
}

#[test]
fn every_rule_has_its_row_and_every_test_of_it_exists() {
    let mut known = BTreeSet::new();
    for dir in ["xds/src", "xds/tests", "tests"] {
        functions(root().join(dir), &mut known);
    }
    let text = std::fs::read_to_string(root().join("docs/xds.md")).unwrap();
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let Some(Ok(rule)) = cells.next().map(str::parse::<u32>) else { continue };
        let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let names: Vec<&str> = names.filter(|name| name.starts_with("rule_")).collect();
        assert!(!names.is_empty(), "rule {rule} has a test");
        for name in names {
            assert!(known.contains(name), "rule {rule}: there is no test {name}");
        }
        rows.insert(rule);
    }
    assert_eq!(rows, RULES.collect());
    let missing: Vec<&String> = known
        .iter()
        .filter(|name| name.starts_with("rule_") && !text.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/xds.md: {missing:?}");
}
