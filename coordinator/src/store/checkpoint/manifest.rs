//! The manifest of a checkpoint: its properties and the digests of the other files, sealed with a digest of its own.

use std::collections::BTreeMap;
use std::path::Path;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::sampling::Position;
use lookbehind_common::selection::Selection;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::store::{durable, sealed};

/// Version of the checkpoint format; any other one is refused.
pub(super) const FORMAT: u32 = 2;
/// Name of the manifest in the folder of a checkpoint.
pub(super) const MANIFEST: &str = "manifest.json";

/// The properties of a checkpoint. Equal jobs write equal manifests up to the field `job`: the fields from there on
/// depend on the run, so that a reader who compares manifests can ignore them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the checkpoint format.
    pub format: u32,
    /// Position after the last finished outer step; training resumes there.
    pub position: Position,
    /// Number of steps that the base optimizer has taken.
    pub optimizer_steps: u64,
    /// Probe digest of the compute class that the job is bound to; `None` if it is bound to none.
    pub class: Option<Digest>,
    /// Digest of slow weights and running statistics.
    pub digest: Digest,
    /// Digest of the data set; a job resumes only with equal data.
    pub data_fingerprint: Digest,
    /// What is known of the job's evaluations, if there is a choice between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Name and shape of every tensor, in the order of the layout.
    pub layout: Vec<(String, Vec<usize>)>,
    /// Digest of the content of each other file, by its name.
    pub files: BTreeMap<String, Digest>,
    /// Identity of the job that wrote the checkpoint.
    pub job: JobId,
    /// Version of the coordinator's build that wrote it.
    pub build: String,
    /// Description of the compute class: processor, libraries and build of the worker that bound the job.
    pub class_description: Option<String>,
}

impl Manifest {
    /// Writes the manifest into a checkpoint's folder.
    pub(super) fn write(&self, step_folder: &Path) -> Result<(), StoreError> {
        let sealed = sealed::seal(self);
        let text = sealed.map_err(|error| StoreError::damaged(&step_folder.join(MANIFEST), error))?;
        durable::write_file(step_folder, MANIFEST, &text)
    }

    /// Reads and checks the manifest of the checkpoint of `outer_step`.
    pub(crate) fn read(step_folder: &Path, outer_step: u64) -> Result<Self, StoreError> {
        let path = step_folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(StoreError::io(&path))?;
        let format = sealed::format(&text).map_err(|error| StoreError::damaged(&path, error))?;
        if format != FORMAT {
            let reason = format!("expected format {FORMAT}, found {format}");
            return Err(StoreError::unfit(&path, reason));
        }
        let manifest: Self = sealed::open(&text).map_err(|error| StoreError::damaged(&path, error))?;
        let found = manifest.position.outer_step;
        if found != outer_step {
            let reason = format!("is of outer step {found}, expected {outer_step} by the folder's name");
            return Err(StoreError::damaged(&path, reason));
        }
        Ok(manifest)
    }
}
