//! Last good states on disk: what a registry last said while it was followed, so
//! that a control plane that starts while the registry is down serves that.
//!
//! ```text
//! DIRECTORY/last-good/PROVIDER~CLUSTER   one file a registry, mode 0600
//!   magic, version, length, checksum │ registry, values (see `stored`)
//! ```
//!
//! Until when the registry was followed is the file's time of modification.
//!
//! Invariants:
//! - A file is replaced as a whole: written beside, synced, renamed.
//! - A file that is torn, truncated, foreign, damaged or newer is refused with a
//!   reason, and nothing else happens.
//! - No secret is in it: see `stored`.

mod file;
mod saver;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mainstem_model::{RegistryId, Value};

use crate::stored::{Encoder, decode};
pub use file::write_atomically;
pub(crate) use saver::{Order, Saved, Saver};

/// The most that one registry's state may take on disk, in bytes.
const MOST: u64 = 1 << 30;

/// The directory of last good states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    directory: PathBuf,
    most: u64,
}

/// A registry as it was.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Everything that it brought.
    pub values: Vec<Value>,
    /// Until when it was followed.
    pub live_at: SystemTime,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("reading {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no last good state of this registry.
    #[error(
        "{path} is not used: it {problem}; it is replaced once the registry answers, or delete it",
        path = path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Why a state was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is too large; the file before stays.
    #[error("keeping the last good state of {registry}: {bytes} bytes are more than {most}")]
    TooLarge {
        /// The registry.
        registry: RegistryId,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        most: u64,
    },
    /// The disk refused.
    #[error("writing the last good state to {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LastGood {
    /// Files below a directory, which is made when the first one is written.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.join("last-good"), most: MOST }
    }

    /// The same with another bound of a file's size, in bytes.
    #[must_use]
    pub fn with_most(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// The registry's file.
    pub fn path(&self, registry: &RegistryId) -> PathBuf {
        // Neither part has a tilde or a slash of its own.
        self.directory.join(format!("{}~{}", registry.provider(), registry.cluster()))
    }

    /// What is kept of a registry, if anything is.
    ///
    /// # Errors
    /// When there is a file that cannot be used, with the reason.
    pub fn read(&self, registry: &RegistryId) -> Result<Option<Restored>, Refused> {
        let path = self.path(registry);
        let (bytes, live_at) = match file::read(&path, self.most) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Refused::Read { path, source }),
        };
        let content = |problem: String| Refused::Content { path: path.clone(), problem };
        let body =
            file::open(&bytes, registry).map_err(|unusable| content(unusable.to_string()))?;
        let values =
            decode(body).map_err(|corrupt| content(format!("cannot be decoded: {corrupt}")))?;
        Ok(Some(Restored { values, live_at }))
    }

    /// Replaces what is kept of a registry; returns how many bytes that takes.
    ///
    /// # Errors
    /// When it was not replaced; what was kept before is then still there.
    pub fn write(
        &self,
        registry: &RegistryId,
        values: impl IntoIterator<Item = Value>,
        live_at: SystemTime,
    ) -> Result<u64, WriteError> {
        let mut encoder = Encoder::default();
        values.into_iter().for_each(|value| encoder.value(&value));
        let sealed = file::seal(registry, &encoder.finish());
        let bytes = sealed.len() as u64;
        if bytes > self.most {
            let (registry, most) = (registry.clone(), self.most);
            return Err(WriteError::TooLarge { registry, bytes, most });
        }
        let path = self.path(registry);
        write_atomically(&path, &sealed, Some(live_at))
            .map_err(|source| WriteError::Io { path, source })?;
        Ok(bytes)
    }

    /// Notes that what is kept was so until `live_at`.
    ///
    /// # Errors
    /// When the file cannot be changed.
    pub fn confirm(&self, registry: &RegistryId, live_at: SystemTime) -> Result<(), WriteError> {
        let path = self.path(registry);
        let file = fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_modified(live_at))
            .map_err(|source| WriteError::Io { path, source })
    }

    /// Forgets a registry: it is gone from the configuration.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn forget(&self, registry: &RegistryId) -> Result<(), WriteError> {
        let path = self.path(registry);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(WriteError::Io { path, source })
            }
            _ => Ok(()),
        }
    }
}
