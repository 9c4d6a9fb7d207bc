//! Paths of data files: always inside the data folder, whatever a job or a link says.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use lookbehind_common::job::JobError;

use super::{DataEnvironment, DataError, FileProblem};

/// Most bytes of a path in a job.
const MAX_PATH: usize = 1024;

/// Finds the regular file that a job names by a path relative to the data folder `root`; `key` is the job's key, for
/// errors.
///
/// # Errors
/// When the path is empty, too long, absolute or has `..` or NUL in it (the job's fault), or when the file does not
/// exist, is not a regular file, or a link leads out of the folder (this worker's).
pub fn resolve(root: &Path, path: &str, key: &str) -> Result<PathBuf, DataError> {
    resolve_any(root, path, key, |found| found.is_file(), FileProblem::NotRegular)
}

/// As [`resolve`], in an environment that may allow absolute paths.
pub(super) fn resolve_in(environment: &DataEnvironment, path: &str, key: &str) -> Result<PathBuf, DataError> {
    resolve_any(root_of(environment, path), path, key, |found| found.is_file(), FileProblem::NotRegular)
}

/// Finds the folder that a job names by a path, with the same checks.
pub(super) fn resolve_folder(
    environment: &DataEnvironment,
    path: &str,
    key: &str,
) -> Result<PathBuf, DataError> {
    resolve_any(root_of(environment, path), path, key, |found| found.is_dir(), FileProblem::NotFolder)
}

/// The folder that a path must not lead out of: that of all files, for an absolute path where these are allowed.
fn root_of<'a>(environment: &'a DataEnvironment, path: &str) -> &'a Path {
    let is_anywhere = environment.absolute_paths && Path::new(path).is_absolute();
    if is_anywhere { Path::new("/") } else { &environment.root }
}

/// Checks the form of a path, without looking at the disk.
pub(super) fn check_in(environment: &DataEnvironment, path: &str, key: &str) -> Result<(), DataError> {
    let relative =
        if root_of(environment, path) == Path::new("/") { path.trim_start_matches('/') } else { path };
    check(relative).map_err(|problem| JobError::new(key, &problem).into())
}

fn resolve_any(
    root: &Path,
    path: &str,
    key: &str,
    is_wanted: impl FnOnce(&fs::Metadata) -> bool,
    unwanted: FileProblem,
) -> Result<PathBuf, DataError> {
    let relative = if root == Path::new("/") { path.trim_start_matches('/') } else { path };
    check(relative).map_err(|problem| JobError::new(key, &problem))?;
    let root = root.canonicalize().map_err(|source| DataError::Folder { folder: root.to_owned(), source })?;
    let in_file = |problem| DataError::File { file: path.to_owned(), problem };
    let found = root.join(path).canonicalize().map_err(|error| {
        in_file(match error.kind() {
            ErrorKind::NotFound => FileProblem::NotFound { folder: root.clone() },
            _ => FileProblem::Io(error),
        })
    })?;
    if !found.starts_with(&root) {
        return Err(in_file(FileProblem::LeavesFolder { folder: root }));
    }
    // Checked before opening: opening a pipe would block until something writes to it.
    let metadata = fs::metadata(&found).map_err(|error| in_file(FileProblem::Io(error)))?;
    if is_wanted(&metadata) { Ok(found) } else { Err(in_file(unwanted)) }
}

/// Checks a path without looking at the disk.
fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("expected a path, found nothing".to_owned());
    }
    if path.len() > MAX_PATH {
        return Err(format!("expected a path of at most {MAX_PATH} bytes, found {}", path.len()));
    }
    if path.contains('\0') {
        return Err(format!("expected a path without NUL, found {path:?}"));
    }
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(path).components().all(inside) {
        Ok(())
    } else {
        Err(format!("expected a path inside the data folder (relative, without \"..\"), found {path:?}"))
    }
}

#[cfg(test)]
mod tests;
