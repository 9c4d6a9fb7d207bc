//! Backups of a state folder, also while a coordinator uses it, and their way back.
//!
//! A backup is a folder: a copy of the database of one moment, the checkpoints, journals and uploads that belong to it,
//! and a manifest with the digest of each file, written last. Only the database cannot be copied by another process while
//! it is in use: the running coordinator hands out a copy on a socket in its state folder (`socket.rs`), where whoever may
//! read the state may ask, and nobody else. All other files never change once they have their name, or only grow. So a
//! backup needs no credentials, no network and no pause, and a state that is not in use is backed up in the same way.

mod collect;
mod copied;
mod manifest;
mod restore;
pub(crate) mod socket;

use std::path::{Path, PathBuf};

use lookbehind_common::digest::Digest;

pub use collect::back_up;
pub use restore::restore;

use crate::store::StoreError;

/// Why a state is not backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or the database cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder to write to holds something.
    #[error("{path}: expected a folder that is empty or does not exist, found {found:?} in it")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// Name of an entry.
        found: String,
    },
    /// The state is in use, and its coordinator cannot be asked for the database.
    #[error(
        "{path}: {source}; the state is in use, and its coordinator does not answer there, as one of an earlier version \
         does not"
    )]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The coordinator could not copy the database.
    #[error("the coordinator could not copy its database: {0}")]
    Refused(String),
    /// A folder is not a backup that is complete and undamaged.
    #[error("{path}: {reason}")]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A backup has a format that this build does not know.
    #[error("{path}: has format {found}, this build knows format {known}; use a newer build")]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The format that it states.
        found: u32,
        /// The format of this build.
        known: u32,
    },
    /// A file of a backup is not what was backed up.
    #[error(
        "{path}: expected content with the digest {expected}, found {found}; it was changed or is damaged"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Digest by the manifest.
        expected: Digest,
        /// Digest of what is there.
        found: Digest,
    },
}

/// What a backup holds, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Number of jobs, including those that have ended.
    pub jobs: usize,
    /// Number of checkpoints.
    pub checkpoints: usize,
    /// Number of files.
    pub files: usize,
    /// Size of all files in bytes.
    pub bytes: u64,
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { jobs, checkpoints, files, bytes } = self;
        write!(f, "jobs: {jobs}, checkpoints: {checkpoints}, files: {files}, bytes: {bytes}")
    }
}

/// Checks that a folder can be filled: it is empty, or does not exist and is created for its owner only.
fn claim(folder: &Path) -> Result<(), BackupError> {
    crate::store::private::make_folder(folder)?;
    let mut entries = std::fs::read_dir(folder).map_err(StoreError::io(folder))?;
    match entries.next().transpose().map_err(StoreError::io(folder))? {
        // What the file system puts into the root of an empty volume.
        Some(entry) if entry.file_name() != "lost+found" => {
            let found = entry.file_name().to_string_lossy().into_owned();
            Err(BackupError::NotEmpty { path: folder.to_owned(), found })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
