//! Looking at the files: which there are, and what those that changed say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_model::{ObjectRef, Rejected};

use crate::FileConfig;
use crate::convert::Around;
use crate::parse::{Parsed, Refused, parse};
use crate::yaml::{Flaw, Place, Source};

/// A file that changed more recently may still be changing.
pub(crate) const SETTLED: Duration = Duration::from_millis(50);

/// How deep directories are followed.
const MAX_DEPTH: usize = 32;

/// The files could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The configured path is not there or not readable.
    #[error("looking at {path}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory below it is not readable, so its files cannot be told to be gone.
    #[error("listing the directory {path}")]
    List {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are more files than allowed.
    #[error("{path} has more than {most} files; raise maxFiles or split it")]
    TooMany {
        /// The configured path.
        path: String,
        /// The limit.
        most: usize,
    },
    /// The directory is another one than before, and empty.
    #[error("{path} is another directory than before, and empty; is its volume mounted?")]
    Emptied {
        /// The configured path.
        path: String,
    },
}

/// What tells a version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    identity: Identity,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which file or directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: Identity::of(metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known of the files, and how to look again.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The registry's settings, its path absolute.
    pub config: Arc<FileConfig>,
    /// What holds for its objects.
    pub around: Arc<Around>,
    /// The files as they were last read; no version where that failed.
    pub known: Arc<BTreeMap<Arc<str>, Option<Fingerprint>>>,
    /// Files that somebody is writing now.
    pub writing: BTreeSet<PathBuf>,
    /// Whether files that may still be changing are read all the same.
    pub at_once: bool,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Which file or directory the configured path leads to.
    pub root: Identity,
    /// All files, by their name in the registry.
    pub files: BTreeSet<Arc<str>>,
    /// Those that changed, and what they say.
    pub read: BTreeMap<Arc<str>, (Option<Fingerprint>, Parsed)>,
    /// Whether some were left for later, because they may still be changing.
    pub postponed: bool,
}

impl Look {
    /// Looks at all files and reads those that changed. Blocks.
    ///
    /// # Errors
    ///
    /// If the files that there are cannot be told. A single file that cannot be
    /// read is not an error; what it holds is refused.
    pub(crate) fn look(&self) -> Result<Seen, LookError> {
        let (root, files) = self.list()?;
        let mut seen =
            Seen { root, files: BTreeSet::new(), read: BTreeMap::new(), postponed: false };
        for (name, (path, metadata)) in files {
            let print = Fingerprint::of(&metadata);
            if self.known.get(&name) == Some(&Some(print)) {
                seen.files.insert(name);
            } else if self.writing.contains(&path) || (!self.at_once && !is_settled(&metadata)) {
                seen.postponed = true;
                seen.files.insert(name);
            } else {
                self.read_into(&mut seen, name, &path);
            }
        }
        Ok(seen)
    }

    fn read_into(&self, seen: &mut Seen, name: Arc<str>, path: &Path) {
        match self.read(&name, path) {
            Ok(Some((print, parsed))) => {
                drop(seen.read.insert(name.clone(), (Some(print), parsed)))
            }
            Ok(None) => seen.postponed = true,
            // Gone since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let flaw = Flaw::at(Place::START, format!("cannot be read: {error}"));
                drop(seen.read.insert(name.clone(), (None, refused(&name, "", &flaw))));
            }
        }
        seen.files.insert(name);
    }

    /// What the file says; nothing if it changed meanwhile.
    fn read(&self, name: &str, path: &Path) -> io::Result<Option<(Fingerprint, Parsed)>> {
        let mut file = File::open(path)?;
        let print = Fingerprint::of(&file.metadata()?);
        let most = self.config.max_file_bytes;
        let mut bytes = Vec::new();
        file.by_ref().take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if Fingerprint::of(&file.metadata()?) != print && !self.at_once {
            return Ok(None);
        }
        if bytes.len() as u64 > most {
            let flaw = Flaw::at(
                Place::START,
                format!("is larger than {most} bytes; split it or raise maxFileBytes"),
            );
            return Ok(Some((print, refused(name, "", &flaw))));
        }
        let parsed = match str::from_utf8(&bytes) {
            Ok(text) => parse(&self.around, Source { name, text }, self.config.max_documents),
            Err(error) => refused_bytes(name, &bytes, error.valid_up_to()),
        };
        Ok(Some((print, parsed)))
    }

    fn list(&self) -> Result<(Identity, Files), LookError> {
        let root = &self.config.path;
        let shown = || root.display().to_string();
        let metadata =
            fs::metadata(root).map_err(|source| LookError::Path { path: shown(), source })?;
        let identity = Identity::of(&metadata);
        let mut files = Files::new();
        if metadata.is_dir() {
            let mut directories = BTreeSet::new();
            self.list_directory(root, "", MAX_DEPTH, &mut directories, &mut files)?;
        } else {
            let name = root.file_name().unwrap_or_default().to_string_lossy();
            files.insert(name.into(), (root.clone(), metadata));
        }
        Ok((identity, files))
    }

    fn list_directory(
        &self,
        directory: &Path,
        prefix: &str,
        depth: usize,
        directories: &mut BTreeSet<(u64, u64)>,
        files: &mut Files,
    ) -> Result<(), LookError> {
        let path = || directory.display().to_string();
        let list = |source| LookError::List { path: path(), source };
        let entries = match fs::read_dir(directory) {
            // A directory below that went meanwhile; the path itself must be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => {
                return Ok(());
            }
            other => other.map_err(list)?,
        };
        for entry in entries {
            let entry = entry.map_err(list)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Also leaves out the `..data` of mounted ConfigMaps, whose files
            // stand beside it under their own names.
            if name.starts_with('.') {
                continue;
            }
            // A link that leads nowhere is no file.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            let name = format!("{prefix}{name}");
            if metadata.is_dir() {
                // A link may lead back up.
                if depth > 0 && directories.insert((metadata.dev(), metadata.ino())) {
                    let prefix = format!("{name}/");
                    self.list_directory(&entry.path(), &prefix, depth - 1, directories, files)?;
                }
            } else if metadata.is_file() && is_registry_file(&name) {
                files.insert(name.into(), (entry.path(), metadata));
                if files.len() > self.config.max_files {
                    let most = self.config.max_files;
                    let path = self.config.path.display().to_string();
                    return Err(LookError::TooMany { path, most });
                }
            }
        }
        Ok(())
    }
}

type Files = BTreeMap<Arc<str>, (PathBuf, Metadata)>;

fn is_registry_file(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

fn is_settled(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    // A time in the future says nothing.
    age.is_none_or(|age| age >= SETTLED)
}

/// A file of which nothing can be told.
fn refused(name: &str, text: &str, flaw: &Flaw) -> Parsed {
    let object = ObjectRef { kind: "File", name: name.into() };
    let reason = Source { name, text }.show(flaw);
    let refused = Refused { rejected: Rejected { object, reason }, identified: false };
    Parsed { objects: Vec::new(), refused: vec![refused] }
}

fn refused_bytes(name: &str, bytes: &[u8], valid: usize) -> Parsed {
    let text = String::from_utf8_lossy(&bytes[..valid]);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let line = count(text.matches('\n').count() + 1);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let place = Place { line, column: count(last.chars().count() + 1) };
    refused(name, &text, &Flaw::at(place, "is not UTF-8 text; save it as UTF-8"))
}
