//! Directories for logs and data, gone when the test is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;

use tempfile::TempDir;

/// A directory that lives as long as this value; those of a process that was
/// killed are removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// An empty directory whose name begins with `name`.
    pub fn new(name: &str) -> Self {
        let parent = root().join(process::id().to_string());
        fs::create_dir_all(&parent)
            .unwrap_or_else(|error| panic!("creating {}: {error}", parent.display()));
        let dir = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .unwrap_or_else(|error| {
                panic!("creating a directory in {}: {error}", parent.display())
            });
        Self { dir }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content)
            .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        path
    }
}

/// The directory of all test processes on this machine.
pub(crate) fn root() -> PathBuf {
    static SWEEP: Once = Once::new();
    let root = std::env::temp_dir().join("mainstem-tests");
    SWEEP.call_once(|| {
        fs::create_dir_all(&root)
            .unwrap_or_else(|error| panic!("creating {}: {error}", root.display()));
        sweep(&root);
    });
    root
}

/// Removes the directories of processes that are no more: values in statics are
/// never dropped, and neither are those of a killed process.
fn sweep(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_pid = name.parse::<u32>().is_ok();
        if is_pid && !Path::new("/proc").join(&name).exists() {
            // Another process may be sweeping too; one of both succeeds.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_value() {
        let scratch = Scratch::new("lesson");
        let file = scratch.write("note", "text");
        assert_eq!(fs::read_to_string(&file).expect("read"), "text");

        drop(scratch);

        assert!(!file.exists());
    }

    #[test]
    fn directories_of_ended_processes_are_swept() {
        let dir = tempfile::tempdir().expect("tempdir");
        // Above the kernel's largest process id.
        let dead = dir.path().join("4194305");
        let alive = dir.path().join(process::id().to_string());
        let foreign = dir.path().join("port-17000.lock");
        for path in [&dead, &alive, &foreign] {
            fs::create_dir(path).expect("create");
        }

        sweep(dir.path());

        let left = [&dead, &alive, &foreign].map(|path| path.exists());
        assert_eq!(left, [false, true, true]);
    }
}
