//! Where control state is kept: what a store can do, and the one that is a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::entry::EntryName;
use crate::last_good::write_atomically;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// The most that the file may have, in bytes.
const MOST: u64 = 1 << 30;
const VERSION: u32 = 1;

/// What a call of a store comes to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place that keeps control state, entry by entry. Several replicas may share it.
///
/// Each entry has a revision of the store's own (a `resourceVersion`, a
/// `ModifyIndex`, a hash), so that writes compare and swap.
pub trait ControlStore: Send + Sync + 'static {
    /// Where it is, for people.
    fn place(&self) -> Arc<str>;

    /// The most that an entry's text may have, in bytes.
    fn most(&self) -> usize {
        usize::MAX
    }

    /// Everything that stands there now.
    fn load(&self) -> Answer<'_, Stored>;

    /// Waits until something else than `known` may stand there. May return early;
    /// safe to cancel.
    fn changed<'a>(&'a self, known: &'a Stored) -> Answer<'a, ()>;

    /// Writes entries in their order, each only if it stands there as expected.
    /// What is written before a conflict may stay.
    ///
    /// Fails with [`StoreError::Conflict`] when one did not stand as expected.
    fn write(&self, writes: Vec<Write>) -> Answer<'_, ()>;
}

/// What stood in a store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The entries by name.
    pub entries: BTreeMap<EntryName, StoredEntry>,
}

/// An entry as it stands in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its text.
    pub text: Arc<str>,
    /// The store's mark of its version.
    pub revision: Arc<str>,
}

/// One entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub name: EntryName,
    /// Its new text; `None` removes it.
    pub text: Option<String>,
    /// The revision that it was read at; `None` if it was not there.
    pub expected: Option<Arc<str>>,
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first.
    #[error("entry {0} was changed by somebody else")]
    Conflict(EntryName),
    /// The store cannot be reached.
    #[error("{attempt} control state in {place}")]
    Unreachable {
        /// What was attempted: reading, writing.
        attempt: &'static str,
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store takes too long.
    #[error("using control state in {place}: it does not answer")]
    Slow {
        /// Where.
        place: String,
    },
    /// What stands there is no control state.
    #[error("{place} is not used: it {problem}; move it away to begin anew")]
    Foreign {
        /// Where.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// A local file: for one replica, or several on one machine.
///
/// Written beside, synced and renamed under a lock, with mode 0600; a file that
/// is not this program's is refused and left alone.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    mainstem: String,
    version: u32,
    entries: BTreeMap<EntryName, serde_json::Value>,
}

impl FileStore {
    /// The file below a directory of state.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("control.json") }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Stored, StoreError> {
        let bytes = match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MOST => {
                return Err(self.foreign(format!("has more than {MOST} bytes")));
            }
            Ok(_) => fs::read(&self.path).map_err(|error| self.unreachable("reading", error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(error) => return Err(self.unreachable("reading", error)),
        };
        let content: Content = serde_json::from_slice(&bytes)
            .map_err(|error| self.foreign(format!("cannot be read: {error}")))?;
        if (content.mainstem.as_str(), content.version) != ("control state", VERSION) {
            let (what, version) = (content.mainstem, content.version);
            return Err(self.foreign(format!("holds {what:?} of version {version}")));
        }
        let entries = content.entries.into_iter().map(|(name, entry)| {
            let text: Arc<str> = entry.to_string().into();
            let revision = format!("{:032x}", xxh3_128(text.as_bytes())).into();
            (name, StoredEntry { text, revision })
        });
        Ok(Stored { entries: entries.collect() })
    }

    fn write_all(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let _lock = self.lock().map_err(|error| self.unreachable("writing", error))?;
        let mut entries = self.read()?.entries;
        for write in &writes {
            let there = entries.get(&write.name).map(|entry| &entry.revision);
            if there != write.expected.as_ref() {
                return Err(StoreError::Conflict(write.name.clone()));
            }
        }
        let parse = |text: &str| {
            serde_json::from_str(text).map_err(|error| self.unreachable("writing", error.into()))
        };
        let mut content = Content {
            mainstem: "control state".to_owned(),
            version: VERSION,
            entries: BTreeMap::new(),
        };
        for write in writes {
            entries.remove(&write.name);
            if let Some(text) = write.text {
                content.entries.insert(write.name, parse(&text)?);
            }
        }
        for (name, entry) in entries {
            content.entries.insert(name, parse(&entry.text)?);
        }
        let text = serde_json::to_vec(&content)
            .map_err(|error| self.unreachable("writing", error.into()))?;
        write_atomically(&self.path, &text, None)
            .map_err(|error| self.unreachable("writing", error))
    }

    /// Keeps other processes from writing, until it is dropped.
    fn lock(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let path = self.path.with_extension("lock");
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    }

    fn unreachable(&self, attempt: &'static str, error: io::Error) -> StoreError {
        let place = self.path.display().to_string();
        StoreError::Unreachable { attempt, place, source: error.into() }
    }

    fn foreign(&self, problem: String) -> StoreError {
        StoreError::Foreign { place: self.path.display().to_string(), problem }
    }

    /// What tells one version of the file from another without reading it.
    fn stamp(&self) -> Option<(u64, u64, std::time::SystemTime)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.modified().ok()?))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(self.unreachable("using", io::Error::other(error))))
    }
}

impl ControlStore for FileStore {
    fn place(&self) -> Arc<str> {
        self.path.display().to_string().into()
    }

    fn load(&self) -> Answer<'_, Stored> {
        Box::pin(self.blocking(Self::read))
    }

    fn changed<'a>(&'a self, known: &'a Stored) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut seen = None;
            loop {
                let stamp = self.stamp();
                if seen != Some(stamp) {
                    if self.load().await? != *known {
                        return Ok(());
                    }
                    seen = Some(stamp);
                }
                tokio::time::sleep(POLL).await;
            }
        })
    }

    fn write(&self, writes: Vec<Write>) -> Answer<'_, ()> {
        Box::pin(self.blocking(move |store| store.write_all(writes)))
    }
}
