//! The digest of weights: BLAKE3 over name, dtype, shape and bytes of every tensor, in the order of the names. It
//! identifies the weights, not a file: two files with the same weights may differ in padding and metadata.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flat_buffer::FlatBuffer;
use crate::layout::Layout;
use crate::model_state::ModelState;

/// A BLAKE3 hash, shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Parses 64 lower-case hex digits; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let lower =
            text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        lower.then(|| blake3::Hash::from_hex(text).ok()).flatten().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?}: expected 64 lower-case hex digits"))
    }
}

/// Tensors of at least this many bytes are hashed on several threads; for smaller ones, starting them costs more than
/// it saves.
const PARALLEL: usize = 1 << 20;

/// The digest of a model's parameters and running statistics, whose lengths must be those of the layout.
///
/// Names and dtypes are hashed with their lengths and shapes with their number of dimensions, so that different lists
/// of tensors never give the same bytes.
pub fn weights_digest<T: Borrow<FlatBuffer>>(layout: &Layout, weights: &ModelState<T>) -> Digest {
    let mut entries: Vec<_> = layout.entries().iter().collect();
    entries.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    let mut hasher = blake3::Hasher::new();
    for entry in entries {
        hash_text(&mut hasher, &entry.spec.name);
        hash_text(&mut hasher, "F32");
        hasher.update(&(entry.spec.shape.len() as u64).to_le_bytes());
        for &extent in &entry.spec.shape {
            hasher.update(&(extent as u64).to_le_bytes());
        }
        let size = std::mem::size_of::<f32>();
        let bytes =
            &weights[entry.spec.kind].borrow().as_bytes()[entry.range.start * size..entry.range.end * size];
        if bytes.len() < PARALLEL {
            hasher.update(bytes)
        } else {
            hasher.update_rayon(bytes)
        };
    }
    Digest(*hasher.finalize().as_bytes())
}

fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests;
