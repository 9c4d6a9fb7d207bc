//! Copying files with their digests.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lookbehind_common::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::store::{StoreError, durable};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Permissions of a copy.
const OWNER_ONLY: u32 = 0o600;

/// Size and content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// Size in bytes.
    pub(super) bytes: u64,
    /// Digest of the content.
    pub(super) digest: Digest,
}

/// Copies what a reader gives into a new file, durably, and creates the folders above it. `source` is named in errors.
///
/// # Errors
/// If it cannot be read or written, or the file exists.
pub(super) fn write(reader: &mut impl Read, source: &Path, target: &Path) -> Result<Copied, StoreError> {
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(target)
        .map_err(StoreError::io(target))?;
    let (mut hasher, mut bytes, mut chunk) = (blake3::Hasher::new(), 0, vec![0; CHUNK]);
    loop {
        let length = reader.read(&mut chunk).map_err(StoreError::io(source))?;
        let Some(read) = chunk.get(..length).filter(|read| !read.is_empty()) else { break };
        hasher.update(read);
        file.write_all(read).map_err(StoreError::io(target))?;
        bytes += length as u64;
    }
    file.sync_all().map_err(StoreError::io(target))?;
    Ok(Copied { bytes, digest: Digest(*hasher.finalize().as_bytes()) })
}

/// Copies a file.
///
/// # Errors
/// As [`write`].
pub(super) fn copy(source: &Path, target: &Path) -> Result<Copied, StoreError> {
    let mut file = File::open(source).map_err(StoreError::io(source))?;
    write(&mut file, source, target)
}

/// Size and digest of a file.
///
/// # Errors
/// If it cannot be read.
pub(super) fn of(path: &Path) -> Result<Copied, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(StoreError::io(path))?;
    hasher.update_reader(file).map_err(StoreError::io(path))?;
    Ok(Copied { bytes: hasher.count(), digest: Digest(*hasher.finalize().as_bytes()) })
}

/// Makes the names of all files below a folder durable.
///
/// # Errors
/// If a folder cannot be read or synced.
pub(super) fn sync_names(folder: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(folder).map_err(StoreError::io(folder))? {
        let entry = entry.map_err(StoreError::io(folder))?;
        if entry.file_type().map_err(StoreError::io(folder))?.is_dir() {
            sync_names(&entry.path())?;
        }
    }
    durable::sync_folder(folder)
}
