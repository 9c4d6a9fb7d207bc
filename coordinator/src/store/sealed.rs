//! JSON that verifies itself: a manifest verifies other files, and only its seal verifies it.

use lookbehind_common::digest::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A manifest as it is stored in its file.
#[derive(Serialize, Deserialize)]
struct Sealed<M> {
    #[serde(flatten)]
    manifest: M,
    /// Digest of the manifest as compact JSON.
    seal: Digest,
}

/// The part of a manifest that is the same in all formats.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Why a manifest is not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// It is not JSON, or has other fields.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It was changed after it was sealed.
    #[error("its content does not match its seal")]
    Broken,
}

fn seal_of(manifest: &impl Serialize) -> serde_json::Result<Digest> {
    serde_json::to_vec(manifest).map(|text| Digest::of(&text))
}

/// The text of a manifest with its seal.
///
/// # Errors
/// If JSON cannot express it.
pub(crate) fn seal(manifest: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    seal_of(manifest).and_then(|seal| serde_json::to_vec_pretty(&Sealed { manifest, seal }))
}

/// The format of a manifest, whatever else it holds.
///
/// # Errors
/// If it names none.
pub(crate) fn format(text: &[u8]) -> serde_json::Result<u32> {
    serde_json::from_slice(text).map(|Version { format }| format)
}

/// The manifest that was sealed.
///
/// # Errors
/// If it is not whole.
pub(crate) fn open<M: Serialize + DeserializeOwned>(text: &[u8]) -> Result<M, SealError> {
    let Sealed { manifest, seal } = serde_json::from_slice(text)?;
    if seal_of(&manifest)? == seal { Ok(manifest) } else { Err(SealError::Broken) }
}
