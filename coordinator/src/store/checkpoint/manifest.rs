//! A checkpoint's manifest: what it says of itself and of the other files, sealed with a digest of its own.

use std::collections::BTreeMap;
use std::path::Path;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::sampling::Position;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::store::durable;

/// Version of the format of checkpoints; another one is refused.
pub(super) const FORMAT: u32 = 2;
const MANIFEST: &str = "manifest.json";

/// What a checkpoint says of itself. Equal jobs leave equal manifests up to `job`: from there on stands what tells one
/// run from another, so that a reader who compares manifests can cut it off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Where the job stands.
    pub position: Position,
    /// Steps that the base optimizer has taken.
    pub optimizer_steps: u64,
    /// Probe of the compute class that the job is bound to.
    pub class: Option<Digest>,
    /// Digest of the weights.
    pub digest: Digest,
    /// Digest of the data.
    pub data_fingerprint: Digest,
    /// Every tensor's name and shape, in the model's order.
    pub layout: Vec<(String, Vec<usize>)>,
    /// Digest of each file's content.
    pub files: BTreeMap<String, Digest>,
    /// The job.
    pub job: JobId,
    /// Version of the build that wrote it.
    pub build: String,
    /// The compute class in words: processor, libraries and build of the worker that bound the job.
    pub class_description: Option<String>,
}

/// A manifest as its file holds it.
#[derive(Serialize, Deserialize)]
struct Sealed<M> {
    #[serde(flatten)]
    manifest: M,
    /// Digest of the manifest as JSON without spaces: nothing else vouches for it.
    seal: Digest,
}

/// What can be read of a manifest of any format.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    fn seal(&self) -> serde_json::Result<Digest> {
        serde_json::to_vec(self).map(|text| Digest::of(&text))
    }

    /// Writes the manifest into a checkpoint's folder.
    pub(super) fn write(&self, step_folder: &Path) -> Result<(), StoreError> {
        let sealed = self.seal().and_then(|seal| serde_json::to_vec_pretty(&Sealed { manifest: self, seal }));
        let text = sealed.map_err(|error| StoreError::damaged(&step_folder.join(MANIFEST), error))?;
        durable::write_file(step_folder, MANIFEST, &text)
    }

    /// Reads and checks the manifest of the checkpoint of `outer_step`.
    pub(super) fn read(step_folder: &Path, outer_step: u64) -> Result<Self, StoreError> {
        let path = step_folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(StoreError::io(&path))?;
        let damaged = |error| StoreError::damaged(&path, error);
        let Version { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format != FORMAT {
            let reason = format!("expected format {FORMAT}, found {format}");
            return Err(StoreError::unfit(&path, reason));
        }
        let Sealed::<Self> { manifest, seal } = serde_json::from_slice(&text).map_err(damaged)?;
        if manifest.seal().map_err(damaged)? != seal {
            return Err(StoreError::damaged(&path, "its content does not match its seal"));
        }
        let found = manifest.position.outer_step;
        if found != outer_step {
            let reason = format!("is of outer step {found}, expected {outer_step} by the folder's name");
            return Err(StoreError::damaged(&path, reason));
        }
        Ok(manifest)
    }
}
