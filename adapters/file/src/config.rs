//! What configures a file registry.

use std::path::PathBuf;

use mainstem_model::{ClusterId, NamespaceName, NetworkId, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileConfig {
    /// The cluster that its endpoints and workloads belong to, and its own name
    /// among the file registries.
    pub cluster: ClusterId,
    /// A file, or a directory of which every `.yaml`, `.yml` and `.json` file
    /// counts, subdirectories included; names that begin with a dot do not.
    pub path: PathBuf,
    /// The network of endpoints and workloads that name none. Default: none.
    #[serde(default)]
    pub network: NetworkId,
    /// The namespace of objects that name none and whose host name has not the
    /// shape `NAME.NAMESPACE.svc.SUFFIX`. Default: `default`.
    #[serde(default = "default_namespace")]
    pub namespace: NamespaceName,
    /// The locality, `region/zone/subzone`, of endpoints and workloads that name
    /// none. Default: none.
    #[serde(default)]
    pub locality: String,
    /// The trust domain of service accounts. Default: `cluster.local`.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// How often the files are looked at even if the system reports no change,
    /// as network file systems do not. Default: `5s`.
    #[serde(default = "default_rescan")]
    pub rescan: TimeSpan,
    /// The largest file that is read, in bytes. Default: 16 MiB.
    #[serde(default = "default_max_file_bytes")]
    pub max_file_bytes: u64,
    /// The most files in a directory. Default: 100000.
    #[serde(default = "default_max_files")]
    pub max_files: usize,
    /// The most documents in a file. Default: 10000.
    #[serde(default = "default_max_documents")]
    pub max_documents: usize,
}

fn default_namespace() -> NamespaceName {
    "default".into()
}

fn default_trust_domain() -> String {
    "cluster.local".to_owned()
}

fn default_rescan() -> TimeSpan {
    TimeSpan::from_secs(5)
}

fn default_max_file_bytes() -> u64 {
    16 << 20
}

fn default_max_files() -> usize {
    100_000
}

fn default_max_documents() -> usize {
    10_000
}

impl FileConfig {
    /// The files at `path`, as `cluster`, with every default.
    pub fn new(cluster: impl Into<ClusterId>, path: impl Into<PathBuf>) -> Self {
        Self {
            cluster: cluster.into(),
            path: path.into(),
            network: NetworkId::default(),
            namespace: default_namespace(),
            locality: String::new(),
            trust_domain: default_trust_domain(),
            rescan: default_rescan(),
            max_file_bytes: default_max_file_bytes(),
            max_files: default_max_files(),
            max_documents: default_max_documents(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let read: FileConfig =
            serde_json::from_str(r#"{"cluster": "static", "path": "services"}"#).unwrap();
        assert_eq!(read, FileConfig::new("static", "services"));
    }
}
