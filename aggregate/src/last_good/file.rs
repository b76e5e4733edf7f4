//! The file around a registry's values.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use mainstem_model::RegistryId;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8; 8] = b"mainstem";
/// Of the layout and of the stream together.
const VERSION: u32 = 1;
/// Magic, version, length of what follows the header, its checksum.
const HEADER: usize = 8 + 4 + 8 + 16;

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("is no last good state of a mainstem")]
    Foreign,
    #[error("was written by a newer mainstem (version {0}; this one knows {VERSION})")]
    Newer(u32),
    #[error("has {there} bytes of content where {announced} belong: it was cut off or torn")]
    Truncated { announced: u64, there: u64 },
    #[error("is damaged: its checksum does not fit its content")]
    Damaged,
    #[error("is of {0:?}, another registry")]
    Other(String),
}

/// A registry's values with all that guards them.
pub(super) fn seal(registry: &RegistryId, values: &[u8]) -> Vec<u8> {
    let name = registry.as_str().as_bytes();
    let mut content = Vec::with_capacity(4 + name.len() + values.len());
    let length = u32::try_from(name.len()).expect("a registry's name is short");
    content.extend_from_slice(&length.to_le_bytes());
    content.extend_from_slice(name);
    content.extend_from_slice(values);
    let mut all = Vec::with_capacity(HEADER + content.len());
    all.extend_from_slice(MAGIC);
    all.extend_from_slice(&VERSION.to_le_bytes());
    all.extend_from_slice(&(content.len() as u64).to_le_bytes());
    all.extend_from_slice(&xxh3_128(&content).to_le_bytes());
    all.extend_from_slice(&content);
    all
}

/// The values of a registry's file.
pub(super) fn open<'a>(bytes: &'a [u8], registry: &RegistryId) -> Result<&'a [u8], Unusable> {
    let (magic, rest) = take::<8>(bytes).ok_or(Unusable::Foreign)?;
    if magic != MAGIC {
        return Err(Unusable::Foreign);
    }
    let short = || Unusable::Truncated { announced: HEADER as u64, there: bytes.len() as u64 };
    let (version, rest) = take::<4>(rest).ok_or_else(short)?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(Unusable::Newer(version));
    }
    let (announced, rest) = take::<8>(rest).ok_or_else(short)?;
    let (checksum, content) = take::<16>(rest).ok_or_else(short)?;
    let (announced, there) = (u64::from_le_bytes(*announced), content.len() as u64);
    if announced != there {
        return Err(Unusable::Truncated { announced, there });
    }
    if xxh3_128(content) != u128::from_le_bytes(*checksum) {
        return Err(Unusable::Damaged);
    }
    let (length, rest) = take::<4>(content).ok_or(Unusable::Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Unusable::Damaged)?;
    let (name, values) = rest.split_at_checked(length).ok_or(Unusable::Damaged)?;
    if name != registry.as_str().as_bytes() {
        return Err(Unusable::Other(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(values)
}

fn take<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8])> {
    bytes.split_first_chunk()
}

/// A file's content, at most `most` bytes of it, and when it was modified.
pub(super) fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, SystemTime)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > most {
        let message = format!("{} bytes are more than {most}", metadata.len());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.modified()?))
}

/// Replaces a file as a whole, with mode 0600, in a directory that is made if
/// need be: a reader sees what was there before or all of this, also after a crash.
///
/// # Errors
///
/// When it cannot be written; then it is as it was.
pub fn write_atomically(
    path: &Path,
    content: &[u8],
    modified: Option<SystemTime>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(content)?;
    if let Some(modified) = modified {
        file.as_file().set_modified(modified)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()
}
