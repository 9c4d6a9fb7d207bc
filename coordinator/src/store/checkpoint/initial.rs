//! The checkpoint of another job that a job starts from. It is kept among the job's own files from the job's creation
//! on, as links to the same files: the other job may be deleted, or remove the checkpoint in favour of newer ones.

use std::path::{Path, PathBuf};

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobDescription;
use lookbehind_common::model_file;
use lookbehind_common::model_state::ModelState;

use super::{Loaded, MODEL, Manifest, StoreError, read, read_file, remove_folder, step_folder, tensors};
use crate::store::durable;

const INITIAL: &str = "initial";

/// Keeps a checkpoint of the job in `source` among the files of the job in `target`. Does nothing if that is done already.
///
/// # Errors
/// If there is no such checkpoint, or it cannot be linked or copied.
pub fn adopt(source: &Path, outer_step: u64, target: &Path) -> Result<(), StoreError> {
    let (from, to) = (step_folder(source, outer_step), target.join(INITIAL));
    if to.exists() {
        return Ok(());
    }
    let temporary = target.join(format!(".{INITIAL}.tmp"));
    let adopted = link_all(&from, &temporary).and_then(|()| {
        std::fs::rename(&temporary, &to).map_err(StoreError::io(&to))?;
        durable::sync_folder(target)?;
        target.parent().map_or(Ok(()), durable::sync_folder)
    });
    if adopted.is_err() {
        // The disk may be full: partial files must not take space.
        let _ = remove_folder(&temporary);
    }
    adopted
}

fn link_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    remove_folder(to)?;
    std::fs::create_dir_all(to).map_err(StoreError::io(to))?;
    for entry in std::fs::read_dir(from).map_err(StoreError::io(from))? {
        let entry = entry.map_err(StoreError::io(from))?;
        link(&entry.path(), &to.join(entry.file_name()))?;
    }
    durable::sync_folder(to)
}

/// Gives a file a second name, or copies it where the file system has no links. The files of a checkpoint never change.
fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to).map_err(StoreError::io(from))?;
    durable::sync_file(to)
}

/// Where the checkpoint lies that a job starts from: among its own files, or still among those of the other job only.
fn initial_folder(source: &Path, outer_step: u64, target: &Path) -> PathBuf {
    let own = target.join(INITIAL);
    if own.exists() { own } else { step_folder(source, outer_step) }
}

/// Weights and optimizer state of the checkpoint that the job in `target` goes on from.
///
/// # Errors
/// If it is gone or damaged, or is of another model or other data.
pub fn read_initial(
    source: &Path,
    outer_step: u64,
    target: &Path,
    description: &JobDescription,
) -> Result<Loaded, StoreError> {
    read(&initial_folder(source, outer_step, target), outer_step, description)
}

/// The weights alone of the checkpoint that the job in `target` starts from.
///
/// # Errors
/// If it is gone or damaged, or is of another model.
pub fn read_initial_weights(
    source: &Path,
    outer_step: u64,
    target: &Path,
    description: &JobDescription,
) -> Result<ModelState<FlatBuffer>, StoreError> {
    let folder = initial_folder(source, outer_step, target);
    let manifest = Manifest::read(&folder, outer_step)?;
    if manifest.layout != tensors(&description.layout) {
        return Err(StoreError::unfit(&folder, "it was written for a model of another layout"));
    }
    let model = read_file(&folder, MODEL, &manifest)?;
    model_file::read(&model, &description.layout)
        .map_err(|error| StoreError::damaged(&folder.join(MODEL), error))
}
