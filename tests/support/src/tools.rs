//! Where the servers' binaries are.

use std::env;
use std::path::{Path, PathBuf};

/// The directory of the workspace's `Cargo.toml`.
pub fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Whether whole matrices of faults and versions are asked for
/// (`MAINSTEM_TEST_MATRIX=full`, as `make test-all` sets it), not pairs.
pub fn full_matrix() -> bool {
    env::var("MAINSTEM_TEST_MATRIX").is_ok_and(|matrix| matrix == "full")
}

/// The binary that `variable` names, else `default` under `.tools`.
pub(crate) fn binary(variable: &str, default: &str) -> PathBuf {
    let path = env::var_os(variable).map_or_else(|| in_tools(default), PathBuf::from);
    existing(path, variable)
}

/// A program of the directory that `KUBEBUILDER_ASSETS` names, else of `.tools`.
pub(crate) fn kubernetes_binary(program: &str) -> PathBuf {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map_or_else(|| in_tools("bin"), PathBuf::from);
    existing(assets.join(program), "KUBEBUILDER_ASSETS")
}

pub(crate) fn in_tools(path: &str) -> PathBuf {
    workspace_root().join(".tools").join(path)
}

pub(crate) fn existing(path: PathBuf, variable: &str) -> PathBuf {
    assert!(path.exists(), "no server at {}: run `make tools`, or set {variable}", path.display());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "run `make tools`, or set SOME_BIN")]
    fn a_missing_server_names_the_command_that_brings_it() {
        existing(in_tools("bin/nothing-of-this-name"), "SOME_BIN");
    }
}
