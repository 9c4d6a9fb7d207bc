//! Slices of blocks, with proofs that they belong to a block of a known digest.
//!
//! BLAKE3 hashes the chunks of its input along a binary tree. So a few hashes beside the path from a slice to the root
//! prove that the slice belongs to the block with a digest, and nobody needs the rest of the block.

use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt, Mode};
use blake3::hazmat::{left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use super::BlockDigest;

/// Bytes of a slice: 16 KiB, except for the last one of a block. A power of two of BLAKE3's chunks, so that each slice is a
/// subtree.
pub const SLICE_BYTES: usize = 1 << 14;

/// Hashes that prove that a slice belongs to a block, from the block's root down; at most 6.
pub type Proof = Vec<[u8; 32]>;

/// Number of slices of a block of `bytes` bytes.
pub fn slices(bytes: usize) -> u32 {
    bytes.div_ceil(SLICE_BYTES) as u32
}

/// Where a slice lies in a block of `bytes` bytes; empty if the block has no such slice.
pub fn place(bytes: usize, slice: u32) -> Range<usize> {
    let start = (slice as usize).saturating_mul(SLICE_BYTES).min(bytes);
    start..(start + SLICE_BYTES).min(bytes)
}

/// A part of a block beside the path to a slice.
enum Sibling {
    Before(Range<usize>),
    After(Range<usize>),
}

/// The siblings of the path to a slice, from the root down.
fn siblings(bytes: usize, slice: u32) -> Vec<Sibling> {
    let target = place(bytes, slice).start;
    let (mut start, mut end) = (0, bytes);
    let mut siblings = Vec::new();
    while end - start > SLICE_BYTES {
        let middle = start + left_subtree_len((end - start) as u64) as usize;
        if target < middle {
            siblings.push(Sibling::After(middle..end));
            end = middle;
        } else {
            siblings.push(Sibling::Before(start..middle));
            start = middle;
        }
    }
    siblings
}

/// The hash of a part of a block that begins at `offset`.
fn subtree(part: &[u8], offset: usize) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset as u64).update(part);
    hasher.finalize_non_root()
}

/// The proof that a slice belongs to a block.
pub fn prove(block: &[u8], slice: u32) -> Proof {
    let hash = |sibling| {
        let (Sibling::Before(range) | Sibling::After(range)) = sibling;
        subtree(&block[range.clone()], range.start)
    };
    siblings(block.len(), slice).into_iter().map(hash).collect()
}

/// The digest of a block of `bytes` bytes to which a slice belongs by its proof. `None` if the slice or the proof do not
/// have the lengths that they must have.
pub fn digest(bytes: usize, slice: u32, values: &[u8], proof: &[[u8; 32]]) -> Option<BlockDigest> {
    let (place, siblings) = (place(bytes, slice), siblings(bytes, slice));
    if values.len() != place.len() || values.is_empty() || siblings.len() != proof.len() {
        return None;
    }
    let mut below = siblings.iter().zip(proof).rev().peekable();
    if below.peek().is_none() {
        return Some(BlockDigest::of(values));
    }
    let mut hash = subtree(values, place.start);
    while let Some((sibling, beside)) = below.next() {
        let (left, right) = match sibling {
            Sibling::Before(_) => (beside, &hash),
            Sibling::After(_) => (&hash, beside),
        };
        if below.peek().is_none() {
            return Some(BlockDigest::first_bytes(merge_subtrees_root(left, right, Mode::Hash)));
        }
        hash = merge_subtrees_non_root(left, right, Mode::Hash);
    }
    None
}

#[cfg(test)]
mod tests;
