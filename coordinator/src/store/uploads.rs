//! Uploaded model files for jobs to start from, stored under the digest of their content.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;
use lookbehind_common::model_file::{Check, ModelFileError};

use super::{StoreError, durable};

/// Name of the folder of uploads in the state folder.
pub(crate) const FOLDER: &str = "uploads";
/// End of the names of stored files, after the digest.
const STORED: &str = ".safetensors";
/// End of the names of files that are being received, after the ticket.
const RECEIVED: &str = ".tmp";

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is not a model file.
    #[error(transparent)]
    Invalid(#[from] ModelFileError),
    /// It cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A file that is being received, checked while it arrives. If it is dropped before [`Upload::finish`], nothing of it is
/// kept.
#[derive(Debug)]
pub struct Upload {
    temporary: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    check: Check,
    finished: bool,
}

impl Upload {
    /// Creates a temporary file for `length` bytes. The ticket must be different for each upload under way.
    ///
    /// # Errors
    /// If it cannot be created, or no model file has this length.
    pub fn begin(folder: &Path, ticket: u64, length: u64) -> Result<Self, UploadError> {
        let check = Check::new(length)?;
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let temporary = received(folder, ticket);
        let file = File::create(&temporary).map_err(StoreError::io(&temporary))?;
        Ok(Self { temporary, file, hasher: blake3::Hasher::new(), check, finished: false })
    }

    /// Appends some bytes.
    ///
    /// # Errors
    /// If no model file continues with them, or they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.check.take(bytes)?;
        self.hasher.update(bytes);
        Ok(self.file.write_all(bytes).map_err(StoreError::io(&self.temporary))?)
    }

    /// Makes the content durable and returns its digest. The file waits for [`give_name`], or for the next start, which
    /// removes it.
    ///
    /// # Errors
    /// If the file is not complete, or cannot be made durable.
    pub fn finish(mut self) -> Result<Digest, UploadError> {
        self.check.finish()?;
        self.file.sync_all().map_err(StoreError::io(&self.temporary))?;
        self.finished = true;
        Ok(Digest(*self.hasher.finalize().as_bytes()))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Gives a finished file the name of its content, durably. An equal file is replaced.
///
/// # Errors
/// If it cannot be renamed.
pub fn give_name(folder: &Path, ticket: u64, digest: &Digest) -> Result<(), StoreError> {
    let (from, to) = (received(folder, ticket), path(folder, digest));
    match std::fs::rename(&from, &to) {
        // It was done before, when a later step failed, or somebody has removed the file. To try it again would not help.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        renamed => renamed.map_err(StoreError::io(&to))?,
    }
    durable::sync_folder(folder)
}

/// Removes a stored file, if it is there. One that cannot be removed is found again by the next start.
pub fn remove(folder: &Path, digest: &Digest) {
    match std::fs::remove_file(path(folder, digest)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%digest, %error, "an uploaded file could not be removed");
        }
        _ => {}
    }
}

/// Removes files that were not received completely, and returns the stored ones with their sizes in bytes. Files of
/// other names are left alone.
///
/// # Errors
/// If the folder cannot be read.
pub fn clean(folder: &Path) -> Result<HashMap<Digest, u64>, StoreError> {
    look(folder, |path| std::fs::remove_file(path).map_err(StoreError::io(folder)))
}

/// The stored files with their sizes in bytes.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn list(folder: &Path) -> Result<HashMap<Digest, u64>, StoreError> {
    look(folder, |_| Ok(()))
}

/// The stored files with their sizes in bytes; those that were not received completely go to `incomplete`.
fn look(
    folder: &Path,
    incomplete: impl Fn(&Path) -> Result<(), StoreError>,
) -> Result<HashMap<Digest, u64>, StoreError> {
    let mut stored = HashMap::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(stored),
        entries => entries.map_err(StoreError::io(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io(folder))?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if let Some(digest) = name.strip_suffix(STORED).and_then(Digest::parse) {
            match entry.metadata() {
                Ok(metadata) => {
                    stored.insert(digest, metadata.len());
                }
                // Removed just now, by the coordinator whose state is being backed up.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io(folder)(error)),
            }
        } else if name.starts_with('.') && name.ends_with(RECEIVED) {
            incomplete(&entry.path())?;
        }
    }
    Ok(stored)
}

/// Reads an uploaded file of at most `most` bytes.
///
/// # Errors
/// If there is no file with this digest, if it is longer, or if its content does not match the digest.
pub fn read(folder: &Path, digest: &Digest, most: u64) -> Result<Vec<u8>, StoreError> {
    let path = path(folder, digest);
    let length = std::fs::metadata(&path).map_err(StoreError::io(&path))?.len();
    if length > most {
        return Err(StoreError::damaged(&path, format!("expected at most {most} bytes, found {length}")));
    }
    let bytes = std::fs::read(&path).map_err(StoreError::io(&path))?;
    if Digest::of(&bytes) != *digest {
        return Err(StoreError::damaged(&path, "its content does not match its digest"));
    }
    Ok(bytes)
}

/// Path of a stored file.
pub(crate) fn path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{digest}{STORED}"))
}

fn received(folder: &Path, ticket: u64) -> PathBuf {
    folder.join(format!(".{ticket}{RECEIVED}"))
}
