//! Noticing that files changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How long a directory must be quiet before its files are read: editors and
/// ConfigMap mounts replace a file in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// How often the files are looked at without being told, since some filesystems
/// tell nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Watches files by their directories, so that a file that is replaced by a
/// rename or behind a symbolic link is noticed too.
pub struct ConfigWatch {
    seen: BTreeMap<PathBuf, Option<Vec<u8>>>,
    happened: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
}

impl ConfigWatch {
    /// Nothing of these files is seen yet: the first change is what they contain,
    /// so that nothing written since somebody read them can be missed.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watch = Self { seen: BTreeMap::new(), happened: Arc::default(), watcher: None };
        watch.follow(paths);
        watch
    }

    /// Watches these files instead; those watched already keep what was seen of them.
    pub fn follow(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut before = std::mem::take(&mut self.seen);
        let happened = self.happened.clone();
        let told = move |_| happened.notify_one();
        self.watcher = notify::recommended_watcher(told).ok();
        for path in paths {
            if let (Some(watcher), Some(directory)) = (&mut self.watcher, path.parent()) {
                // Where watching fails, looking from time to time remains.
                let _ = watcher.watch(directory_of(directory), RecursiveMode::NonRecursive);
            }
            let content = before.remove(&path).flatten();
            self.seen.insert(path, content);
        }
    }

    /// Resolves when some file's content differs from what was seen last. Safe to cancel.
    pub async fn changed(&mut self) {
        if self.seen.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            if self.look() {
                return;
            }
            if tokio::time::timeout(INTERVAL, self.happened.notified()).await.is_ok() {
                while tokio::time::timeout(QUIET, self.happened.notified()).await.is_ok() {}
            }
        }
    }

    fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.seen {
            let content = std::fs::read(path).ok();
            changed |= content != *seen;
            *seen = content;
        }
        changed
    }
}

fn directory_of(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn changed(watch: &mut ConfigWatch) {
        tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_removed_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
        std::fs::write(&file, "1").unwrap();
        let mut watch = ConfigWatch::new([file.clone()]);
        changed(&mut watch).await;
        std::fs::write(&file, "2").unwrap();
        changed(&mut watch).await;
        std::fs::write(&other, "3").unwrap();
        std::fs::rename(&other, &file).unwrap();
        changed(&mut watch).await;
        std::fs::remove_file(&file).unwrap();
        changed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_neighbour_or_an_equal_content_is_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        std::fs::write(&file, "1").unwrap();
        let mut watch = ConfigWatch::new([file.clone()]);
        assert!(watch.look());
        std::fs::write(directory.path().join("b.yaml"), "1").unwrap();
        std::fs::write(&file, "1").unwrap();
        assert!(!watch.look());
        std::fs::write(&file, "2").unwrap();
        changed(&mut watch).await;
    }
}
