//! The way back: a state folder from a backup, each file verified while it is copied.

use std::collections::BTreeSet;
use std::path::Path;

use super::copied::{self, Copied};
use super::manifest::Manifest;
use super::{BackupError, Contents, claim};
use crate::store::DATABASE;

/// Makes a state folder from a backup. The folder must be empty or absent. If a file is damaged or cannot be copied, the
/// folder is empty again afterwards.
///
/// # Errors
/// If the backup is incomplete, damaged or newer, or the folder holds something or cannot be written.
pub fn restore(backup: &Path, state: &Path) -> Result<Contents, BackupError> {
    let manifest = Manifest::read(backup)?;
    claim(state)?;
    let copied = copy_all(&manifest, backup, state);
    if copied.is_err() {
        remove_all(&manifest, state);
    }
    copied?;
    Ok(manifest.contents())
}

/// Removes what was copied into a folder that was empty. What cannot be removed either is named by the next attempt,
/// which finds the folder in use.
fn remove_all(manifest: &Manifest, state: &Path) {
    let first = |path: &String| Path::new(path).iter().next().map(|name| state.join(name));
    for path in manifest.files.keys().filter_map(first).collect::<BTreeSet<_>>() {
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

fn copy_all(manifest: &Manifest, backup: &Path, state: &Path) -> Result<(), BackupError> {
    let (last, first): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|(path, _)| *path == DATABASE);
    // The database last: without it no coordinator takes the folder for a state.
    for (path, expected) in first {
        copy_verified(&backup.join(path), &state.join(path), expected)?;
    }
    copied::sync_names(state)?;
    for (path, expected) in last {
        copy_verified(&backup.join(path), &state.join(path), expected)?;
    }
    Ok(copied::sync_names(state)?)
}

fn copy_verified(source: &Path, target: &Path, expected: &Copied) -> Result<(), BackupError> {
    let found = copied::copy(source, target)?;
    if found == *expected {
        return Ok(());
    }
    let (expected, found) = (expected.digest, found.digest);
    Err(BackupError::Changed { path: source.to_owned(), expected, found })
}
