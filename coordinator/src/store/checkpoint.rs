//! Checkpoints: `checkpoints/step-N/` with `model.safetensors`, `optimizer.safetensors` and `manifest.json`. The
//! folder gets its final name last, when everything in it is durable: a crash leaves a whole checkpoint or none.

mod initial;
mod listing;
mod manifest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fail::fail_point;
use lookbehind_common::BUILD_VERSION;
use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::job::JobDescription;
use lookbehind_common::layout::Layout;
use lookbehind_common::model_file;
use lookbehind_common::optimizer::OptimizerState;
use lookbehind_common::selection::Selection;

pub use initial::{adopt, read_initial, read_initial_weights};
pub use listing::{Listed, listed};
pub use manifest::Manifest;

use super::{StoreError, durable};
use crate::training::Snapshot;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
/// The files of a checkpoint.
pub(crate) const FILES: [&str; 3] = [MODEL, OPTIMIZER, manifest::MANIFEST];

/// A checkpoint that was read and verified.
#[derive(Debug)]
pub struct Loaded {
    /// Its manifest.
    pub manifest: Manifest,
    /// Slow weights, running statistics and the base optimizer's state.
    pub state: OptimizerState,
}

fn folder(job_folder: &Path) -> PathBuf {
    job_folder.join("checkpoints")
}

/// The folder of a checkpoint.
pub(crate) fn step_folder(job_folder: &Path, outer_step: u64) -> PathBuf {
    folder(job_folder).join(step_name(outer_step))
}

fn step_name(outer_step: u64) -> String {
    format!("step-{outer_step}")
}

/// Outer steps of all completely written checkpoints, newest first; empty if there are none.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(job_folder: &Path) -> Result<Vec<u64>, StoreError> {
    let folder = folder(job_folder);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(&folder)(error)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io(&folder))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
        // Only names that `write` produces: otherwise `step-07` would count as a second checkpoint of step 7.
        steps.extend(step.filter(|step| name == step_name(*step).as_str()));
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// Size in bytes of all files of a checkpoint.
///
/// # Errors
/// If it does not exist or its files cannot be examined.
pub(crate) fn size(job_folder: &Path, outer_step: u64) -> std::io::Result<u64> {
    let files = std::fs::read_dir(step_folder(job_folder, outer_step))?;
    files.map(|file| Ok(file?.metadata()?.len())).sum()
}

/// Writes a checkpoint durably, then removes the oldest ones beyond the number to keep. Returns the digest of the
/// weights.
///
/// # Errors
/// If it cannot be made durable. Earlier checkpoints are unchanged then.
pub fn write(job_folder: &Path, snapshot: &Snapshot) -> Result<Digest, StoreError> {
    let outer_step = snapshot.position.outer_step;
    let target = step_folder(job_folder, outer_step);
    let state = &snapshot.state;
    let digest = weights_digest(&snapshot.description.layout, &state.weights);
    if is_whole(&target, snapshot, digest) {
        return Ok(digest);
    }
    let temporary = folder(job_folder).join(format!(".step-{outer_step}.tmp"));
    if let Err(error) = write_as(&temporary, &target, snapshot, digest).and_then(|()| sync(job_folder)) {
        // The disk may be full: partial files must not take space from the next attempt.
        let _ = remove_folder(&temporary);
        return Err(error);
    }
    fail_point!("checkpoint::durable");
    let best = snapshot.selection.best().map(|best| best.outer_step);
    if let Err(error) = prune(job_folder, snapshot.keep as usize, best) {
        // Not an error: the new checkpoint is durable.
        tracing::warn!(job = %snapshot.job, %error, "an old checkpoint could not be removed");
    }
    Ok(digest)
}

/// Writes everything under a temporary name, then renames it.
fn write_as(temporary: &Path, target: &Path, snapshot: &Snapshot, digest: Digest) -> Result<(), StoreError> {
    remove_folder(temporary)?;
    std::fs::create_dir_all(temporary).map_err(StoreError::io(temporary))?;
    fail_point!("checkpoint::begun");
    write_tensors(temporary, snapshot, digest)?;
    fail_point!("checkpoint::tensors");
    write_manifest(temporary, snapshot, digest)?;
    fail_point!("checkpoint::manifest");
    remove_folder(target)?;
    std::fs::rename(temporary, target).map_err(StoreError::io(target))?;
    fail_point!("checkpoint::named");
    Ok(())
}

/// Makes the names of a job's checkpoints durable, and those of the folders above, which may be new.
fn sync(job_folder: &Path) -> Result<(), StoreError> {
    durable::sync_folder(&folder(job_folder))?;
    durable::sync_folder(job_folder)?;
    job_folder.parent().map_or(Ok(()), durable::sync_folder)
}

/// Whether a folder holds an undamaged checkpoint of these weights, for the same model, data and class. A job that resumed
/// from an earlier checkpoint produces its later ones again; they need no second write.
fn is_whole(step_folder: &Path, snapshot: &Snapshot, digest: Digest) -> bool {
    let Ok(manifest) = Manifest::read(step_folder, snapshot.position.outer_step) else { return false };
    let matches = |(name, expected): (&String, &Digest)| {
        file_digest(&step_folder.join(name)).is_ok_and(|found| found == *expected)
    };
    manifest.digest == digest
        && manifest.layout == tensors(&snapshot.description.layout)
        && manifest.data_fingerprint == snapshot.description.data_fingerprint
        && manifest.class == snapshot.class.as_ref().map(|class| class.probe)
        && manifest.files.iter().all(matches)
}

fn write_tensors(temporary: &Path, snapshot: &Snapshot, digest: Digest) -> Result<(), StoreError> {
    let state = &snapshot.state;
    // No identity of the job: equal jobs must write equal files.
    let mut metadata = BTreeMap::from([
        ("format", "pt".to_owned()),
        ("outer_step", snapshot.position.outer_step.to_string()),
        ("digest", digest.to_string()),
    ]);
    let lists = [
        (model_file::CLASSES, &snapshot.description.class_names),
        (model_file::DATA, &snapshot.description.data_report),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        metadata.insert(key, model_file::list_text(list));
    }
    let model = temporary.join(MODEL);
    let layout = &snapshot.description.layout;
    model_file::write(&model, layout, &state.weights, &metadata)
        .map_err(|error| StoreError::of_model_file(&model, error))?;
    durable::sync_file(&model)?;
    fail_point!("checkpoint::model");
    let optimizer = temporary.join(OPTIMIZER);
    let buffers: Vec<_> =
        state.buffers.iter().map(|(name, flat_buffer)| (name.as_str(), flat_buffer.as_ref())).collect();
    model_file::write_flat(&optimizer, &buffers)
        .map_err(|error| StoreError::of_model_file(&optimizer, error))?;
    durable::sync_file(&optimizer)
}

fn write_manifest(temporary: &Path, snapshot: &Snapshot, digest: Digest) -> Result<(), StoreError> {
    let mut files = BTreeMap::new();
    for name in [MODEL, OPTIMIZER] {
        files.insert(name.to_owned(), file_digest(&temporary.join(name))?);
    }
    let manifest = Manifest {
        format: manifest::FORMAT,
        position: snapshot.position,
        optimizer_steps: snapshot.state.steps,
        class: snapshot.class.as_ref().map(|class| class.probe),
        digest,
        data_fingerprint: snapshot.description.data_fingerprint,
        selection: (snapshot.selection != Selection::default()).then_some(snapshot.selection),
        layout: tensors(&snapshot.description.layout),
        files,
        job: snapshot.job.clone(),
        build: BUILD_VERSION.to_owned(),
        class_description: snapshot.class.as_ref().map(|class| class.description.clone()),
    };
    manifest.write(temporary)
}

fn tensors(layout: &Layout) -> Vec<(String, Vec<usize>)> {
    layout.entries().iter().map(|entry| (entry.spec.name.clone(), entry.spec.shape.clone())).collect()
}

fn file_digest(path: &Path) -> Result<Digest, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path).map_err(StoreError::io(path))?;
    hasher.update_reader(file).map_err(StoreError::io(path))?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(path)(error)),
        _ => Ok(()),
    }
}

/// Removes all but the newest `keep` checkpoints and that of `best`.
fn prune(job_folder: &Path, keep: usize, best: Option<u64>) -> Result<(), StoreError> {
    for outer_step in list(job_folder)?.into_iter().skip(keep).filter(|step| Some(*step) != best) {
        fail_point!("checkpoint::prune");
        remove_folder(&step_folder(job_folder, outer_step))?;
    }
    Ok(())
}

/// The newest usable checkpoint of a job, and the reasons why newer ones were skipped. Damaged ones are renamed.
///
/// # Errors
/// If there is none.
pub fn newest(job_folder: &Path, description: &JobDescription) -> Result<(Loaded, Vec<String>), StoreError> {
    let mut skipped = Vec::new();
    for outer_step in list(job_folder)? {
        match read(&step_folder(job_folder, outer_step), outer_step, description) {
            Ok(loaded) => return Ok((loaded, skipped)),
            Err(error) => {
                skipped.push(error.to_string());
                if error.is_damage() {
                    set_aside(job_folder, outer_step);
                }
            }
        }
    }
    let reason = format!("no complete checkpoint; skipped: {}", skipped.join("; "));
    Err(StoreError::damaged(&folder(job_folder), reason))
}

/// Renames a damaged checkpoint, so that it is not offered for download and does not count among those to keep.
fn set_aside(job_folder: &Path, outer_step: u64) {
    let aside = folder(job_folder).join(format!("damaged-{outer_step}"));
    let renamed = remove_folder(&aside).and_then(|()| {
        std::fs::rename(step_folder(job_folder, outer_step), &aside).map_err(StoreError::io(&aside))
    });
    if let Err(error) = renamed {
        tracing::warn!(%error, "a damaged checkpoint could not be set aside");
    }
}

fn read(step_folder: &Path, outer_step: u64, description: &JobDescription) -> Result<Loaded, StoreError> {
    // Layout and data before the large files: a checkpoint for something else must not be reported as damaged.
    let manifest = Manifest::read(step_folder, outer_step)?;
    if manifest.layout != tensors(&description.layout) {
        return Err(StoreError::unfit(step_folder, "it was written for a model of another layout"));
    }
    if manifest.data_fingerprint != description.data_fingerprint {
        return Err(StoreError::unfit(step_folder, "it was written for other data"));
    }
    let model = read_file(step_folder, MODEL, &manifest)?;
    let weights = model_file::read(&model, &description.layout)
        .map_err(|error| StoreError::damaged(&step_folder.join(MODEL), error))?;
    let optimizer = read_file(step_folder, OPTIMIZER, &manifest)?;
    let buffers = model_file::read_flat(&optimizer)
        .map_err(|error| StoreError::damaged(&step_folder.join(OPTIMIZER), error))?;
    let state = OptimizerState {
        weights: weights.map(Arc::new),
        buffers: buffers.into_iter().map(|(name, flat_buffer)| (name, Arc::new(flat_buffer))).collect(),
        steps: manifest.optimizer_steps,
    };
    Ok(Loaded { manifest, state })
}

fn read_file(step_folder: &Path, name: &str, manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    let path = step_folder.join(name);
    let bytes = std::fs::read(&path).map_err(StoreError::io(&path))?;
    if manifest.files.get(name) != Some(&Digest::of(&bytes)) {
        return Err(StoreError::damaged(&path, "its content does not match the manifest"));
    }
    Ok(bytes)
}

/// Manifest and path of the model file of the newest checkpoint, or of the one at `outer_step`; `None` if there is no
/// such checkpoint.
///
/// # Errors
/// If the folder or the manifest cannot be read, or the manifest is damaged.
pub fn model_file_of(
    job_folder: &Path,
    outer_step: Option<u64>,
) -> Result<Option<(Manifest, PathBuf)>, StoreError> {
    let steps = list(job_folder)?;
    let wanted = steps.into_iter().find(|step| outer_step.is_none_or(|wanted| wanted == *step));
    let Some(step) = wanted else { return Ok(None) };
    let folder = step_folder(job_folder, step);
    let manifest = Manifest::read(&folder, step)?;
    Ok(Some((manifest, folder.join(MODEL))))
}
