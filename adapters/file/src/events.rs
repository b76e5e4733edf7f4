//! What the system says of changes below a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_model::RegistryId;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::directory::{Identity, SETTLED};

/// A file that is open and has not been written to for so long counts as written.
const WRITER_FORGOTTEN: Duration = Duration::from_secs(2);

/// At most so many open files are kept in mind.
const MAX_WRITERS: usize = 10_000;

/// How many times quiet is waited for before a look is due all the same.
const RESTLESS: usize = 10;

/// Change events of one path. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    root: Arc<PathBuf>,
    registry: RegistryId,
    shared: Arc<Shared>,
    attached: Arc<Mutex<Attached>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Files that are being written, and when they last were.
    writing: Mutex<BTreeMap<PathBuf, Instant>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Attached {
    watcher: Option<RecommendedWatcher>,
    /// The directory that is watched: another one under the same name has to be
    /// watched anew.
    to: Option<Identity>,
    warned: bool,
}

impl Events {
    /// Events of `root`, an absolute path; nothing is watched yet.
    pub(crate) fn of(root: PathBuf, registry: RegistryId) -> Self {
        Self { root: Arc::new(root), registry, shared: Arc::default(), attached: Arc::default() }
    }

    /// Watches what the path leads to now, unless that is watched already.
    /// Where the system cannot watch, looking again from time to time remains.
    pub(crate) fn attach(&self) {
        let metadata = fs::metadata(&*self.root);
        let now = metadata.as_ref().map(Identity::of).ok();
        let mut attached = self.attached.lock();
        if attached.watcher.is_some() && attached.to == now {
            return;
        }
        let is_directory = metadata.is_ok_and(|metadata| metadata.is_dir());
        match self.watch(is_directory) {
            Ok(watcher) => {
                *attached = Attached { watcher: Some(watcher), to: now, warned: false };
            }
            Err(error) => {
                if !std::mem::replace(&mut attached.warned, true) {
                    let path = self.root.display();
                    warn!(registry = %self.registry, %path, %error, "cannot watch; looking at times");
                }
            }
        }
    }

    /// Watches nothing, until attached again.
    pub(crate) fn detach(&self) {
        let mut attached = self.attached.lock();
        (attached.watcher, attached.to) = (None, None);
    }

    fn watch(&self, is_directory: bool) -> notify::Result<RecommendedWatcher> {
        let (root, shared) = (self.root.clone(), self.shared.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| shared.take(&root, &event)) {
                shared.changed.notify_one();
            }
        })?;
        if is_directory {
            watcher.watch(&self.root, RecursiveMode::Recursive)?;
        }
        // The path itself may be replaced: by a rename, or by a link that is
        // turned to another directory.
        if let Some(parent) = self.root.parent() {
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    /// Files that are open and being written to.
    pub(crate) fn writing(&self) -> BTreeSet<PathBuf> {
        let mut writing = self.shared.writing.lock();
        writing.retain(|_, last| last.elapsed() < WRITER_FORGOTTEN);
        writing.keys().cloned().collect()
    }

    /// Returns when something changed and it has been quiet for a moment since,
    /// or after `most`.
    pub(crate) async fn changed(&self, most: Duration) {
        if timeout(most, self.shared.changed.notified()).await.is_err() {
            return;
        }
        for _ in 0..RESTLESS {
            // Changes that are made together are to be seen together.
            sleep(SETTLED).await;
            if timeout(Duration::ZERO, self.shared.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    /// Notes who is writing; whether anything may look different now.
    fn take(&self, root: &Path, event: &Event) -> bool {
        let mut writing = self.writing.lock();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    if writing.len() < MAX_WRITERS || writing.contains_key(path) {
                        writing.insert(path.clone(), Instant::now());
                    }
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                for path in &event.paths {
                    writing.remove(path);
                }
            }
            // Reading, also our own, changes nothing.
            EventKind::Access(_) => return false,
            _ => {}
        }
        event.paths.is_empty() || event.paths.iter().any(|path| concerns(root, path))
    }
}

/// Whether `path`, at or beside or below `root`, may decide what `root` shows. A
/// mounted ConfigMap turns a link that begins with two dots.
fn concerns(root: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.starts_with(root) || root.starts_with(path) || name.starts_with("..")
}
