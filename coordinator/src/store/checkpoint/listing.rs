//! The checkpoints of a job that there are, for those who choose among them.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::manifest::MANIFEST;
use super::{Manifest, StoreError, list, size, step_folder};
use crate::state::UnixMillis;

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its properties.
    pub manifest: Manifest,
    /// Size in bytes of all its files.
    pub bytes: u64,
    /// When it was written.
    pub written_at: UnixMillis,
}

/// The whole checkpoints of a job, newest first. Those that are damaged, or are removed meanwhile, are left out.
///
/// # Errors
/// If the disk fails.
pub fn listed(job_folder: &Path) -> Result<Vec<Listed>, StoreError> {
    let mut found = Vec::new();
    for outer_step in list(job_folder)? {
        match examine(job_folder, outer_step) {
            Ok(checkpoint) => found.push(checkpoint),
            Err(StoreError::Io { path, source }) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path, source });
            }
            Err(_) => {}
        }
    }
    Ok(found)
}

fn examine(job_folder: &Path, outer_step: u64) -> Result<Listed, StoreError> {
    let folder = step_folder(job_folder, outer_step);
    let manifest = Manifest::read(&folder, outer_step)?;
    let bytes = size(job_folder, outer_step).map_err(StoreError::io(&folder))?;
    let path = folder.join(MANIFEST);
    let written = path.metadata().and_then(|metadata| metadata.modified()).map_err(StoreError::io(&path))?;
    // A clock before 1970 is none.
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Listed { manifest, bytes, written_at: UnixMillis(written.as_millis() as u64) })
}
