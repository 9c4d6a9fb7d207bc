//! The manifest of a backup: what it holds and the digest of each file, sealed with a digest of its own.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use lookbehind_common::BUILD_VERSION;
use serde::{Deserialize, Serialize};

use super::copied::Copied;
use super::{BackupError, Contents};
use crate::state::UnixMillis;
use crate::store::{StoreError, durable, sealed};

/// Version of the format; a newer one is refused.
const FORMAT: u32 = 1;
/// Name of the manifest in the folder of a backup.
pub(super) const MANIFEST: &str = "backup.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the format.
    format: u32,
    /// Version of the build that wrote it.
    build: String,
    /// When the database was copied.
    taken_at: UnixMillis,
    /// Number of jobs.
    jobs: usize,
    /// Number of checkpoints.
    checkpoints: usize,
    /// All files by their path in the folder, which is that in the state folder.
    pub(super) files: BTreeMap<String, Copied>,
}

impl Manifest {
    /// A manifest without files.
    pub(super) fn new(taken_at: UnixMillis) -> Self {
        let build = BUILD_VERSION.to_owned();
        Self { format: FORMAT, build, taken_at, jobs: 0, checkpoints: 0, files: BTreeMap::new() }
    }

    /// Notes what the files are of.
    pub(super) fn count(&mut self, jobs: usize, checkpoints: usize) {
        (self.jobs, self.checkpoints) = (jobs, checkpoints);
    }

    /// What the backup holds, in numbers.
    pub(super) fn contents(&self) -> Contents {
        let bytes = self.files.values().map(|file| file.bytes).sum();
        Contents { jobs: self.jobs, checkpoints: self.checkpoints, files: self.files.len(), bytes }
    }

    /// Writes the manifest into the folder of the backup, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let text = sealed::seal(self).map_err(|error| damaged(folder, error))?;
        Ok(durable::write_file(folder, MANIFEST, &text)?)
    }

    /// Reads and checks the manifest of a backup.
    ///
    /// # Errors
    /// If there is none, it has a newer format, or it is damaged.
    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(
                    folder,
                    "not found: this is not a backup, or one that was not completed",
                ));
            }
            text => text.map_err(StoreError::io(&path))?,
        };
        let format = sealed::format(&text).map_err(|error| damaged(folder, error))?;
        if format > FORMAT {
            return Err(BackupError::Newer { path, found: format, known: FORMAT });
        }
        let manifest: Self = sealed::open(&text).map_err(|error| damaged(folder, error))?;
        match manifest.files.keys().find(|path| !is_below(path)) {
            Some(path) => Err(damaged(folder, format!("expected paths within the folder, found {path:?}"))),
            None => Ok(manifest),
        }
    }
}

/// Whether a path stays below the folder that it is joined to.
fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn damaged(folder: &Path, reason: impl ToString) -> BackupError {
    BackupError::Damaged { path: folder.join(MANIFEST), reason: reason.to_string() }
}
