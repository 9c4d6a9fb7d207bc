//! Uploaded model files for jobs to start from, stored under the digest of their content.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;

use super::{StoreError, durable};

/// A file that is being received. If it is dropped before [`Upload::finish`], nothing of it is kept.
#[derive(Debug)]
pub struct Upload {
    folder: PathBuf,
    temporary: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Upload {
    /// Creates a temporary file. `number` must be different for each upload under way.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(folder: &Path, number: u64) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let temporary = folder.join(format!(".{number}.tmp"));
        let file = File::create(&temporary).map_err(StoreError::io(&temporary))?;
        Ok(Self { folder: folder.to_owned(), temporary, file, hasher: blake3::Hasher::new() })
    }

    /// Appends some bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(StoreError::io(&self.temporary))
    }

    /// Makes the file durable under the digest of its content, and returns the digest. An equal file is replaced.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn finish(self) -> Result<Digest, StoreError> {
        self.file.sync_all().map_err(StoreError::io(&self.temporary))?;
        let digest = Digest(*self.hasher.finalize().as_bytes());
        let path = path(&self.folder, &digest);
        std::fs::rename(&self.temporary, &path).map_err(StoreError::io(&path))?;
        durable::sync_folder(&self.folder)?;
        Ok(digest)
    }
}

impl Drop for Upload {
    /// Removes the temporary file of an unfinished upload; a finished one was renamed and has none.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
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

fn path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{digest}.safetensors"))
}
