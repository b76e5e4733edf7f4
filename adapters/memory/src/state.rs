//! The file that keeps registrations across restarts.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::book::Kept;

/// The version of the file's form; others are refused.
const VERSION: u32 = 1;

/// Why there is nothing to go on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It is no state file.
    #[error("it is no state file of a memory registry: {0}")]
    Foreign(serde_json::Error),
    /// It is of another version.
    #[error("it has version {0}, and only version {VERSION} is known")]
    Version(u32),
}

/// What the file says first.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    registrations: Vec<Saved>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    owner: String,
    registered: SystemTime,
    body: Box<RawValue>,
}

/// What the file keeps, the oldest first; nothing where there is no file.
pub(crate) fn read(path: &Path) -> Result<Vec<Kept>, StateError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(StateError::Unreadable)?,
    };
    let Head { version } = serde_json::from_str(&text).map_err(StateError::Foreign)?;
    if version != VERSION {
        return Err(StateError::Version(version));
    }
    let file: File = serde_json::from_str(&text).map_err(StateError::Foreign)?;
    let kept = |saved: Saved| Kept {
        owner: saved.owner.into(),
        registered: saved.registered,
        body: saved.body.get().into(),
    };
    Ok(file.registrations.into_iter().map(kept).collect())
}

/// Replaces the file as a whole, mode 0600: written beside, synced, renamed.
pub(crate) fn write(path: &Path, kept: &[Kept]) -> io::Result<()> {
    let saved = |kept: &Kept| {
        let body = RawValue::from_string(kept.body.to_string())?;
        Ok(Saved { owner: kept.owner.to_string(), registered: kept.registered, body })
    };
    let registrations = kept.iter().map(saved).collect::<Result<_, serde_json::Error>>()?;
    let text = serde_json::to_vec(&File { version: VERSION, registrations })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    fn kept(body: &str) -> Kept {
        Kept { owner: "vms".into(), registered: SystemTime::UNIX_EPOCH, body: body.into() }
    }

    #[test]
    fn what_is_written_is_read_again_and_open_to_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/registrations.json");
        let all = [kept(r#"{"id": "b"}"#), kept(r#"{"id":  "a"}"#)];
        write(&path, &all).unwrap();
        assert_eq!(read(&path).unwrap(), all);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_there_keeps_nothing() {
        assert_eq!(read(Path::new("/nowhere/registrations.json")).unwrap(), []);
    }

    #[rstest::rstest]
    #[case(
        "{\"version\": 1, \"registrations\": [{",
        "it is no state file of a memory registry: EOF"
    )]
    #[case("services: []", "it is no state file of a memory registry: expected value")]
    #[case("{\"version\": 7, \"people\": []}", "it has version 7, and only version 1 is known")]
    fn a_file_that_is_torn_foreign_or_newer_is_refused(#[case] text: &str, #[case] why: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registrations.json");
        fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}
