//! The sending end of a transfer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::{CHUNK_BYTES, Checksum, Piece};
use crate::v1;

/// The checksum of the bytes of a transfer that have been sent so far. Transfers of the same bytes share one (clones
/// do), so that each byte is hashed once for any number of receivers.
#[derive(Clone, Default)]
pub struct RunningChecksum(Arc<Mutex<Summed>>);

#[derive(Default)]
struct Summed {
    hasher: Xxh3,
    bytes: u64,
}

impl RunningChecksum {
    fn with<T>(&self, act: impl FnOnce(&mut Summed) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds the bytes from `offset` on, unless another transfer of the same bytes has added them before.
    pub fn cover(&self, offset: u64, data: &[u8]) {
        self.with(|summed| {
            if summed.bytes == offset {
                summed.hasher.update(data);
                summed.bytes += data.len() as u64;
            }
        });
    }

    /// The trailer of a transfer: the checksum of all bytes, followed by those of `covered`. Must be called after the
    /// last bytes have been added.
    pub fn trailer(&self, covered: &[u8]) -> v1::Trailer {
        let mut hasher = self.with(|summed| summed.hasher.clone());
        hasher.update(covered);
        let checksum: Checksum = hasher.digest128();
        v1::Trailer { checksum: Bytes::copy_from_slice(&checksum.to_be_bytes()) }
    }
}

impl std::fmt::Debug for RunningChecksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunningChecksum")
    }
}

/// Iterator over the pieces of a transfer: cuts buffers into chunks without copying, computes the checksum and ends
/// with the trailer.
#[derive(Debug)]
pub struct Sender {
    parts: VecDeque<Bytes>,
    covered: Vec<u8>,
    offset: u64,
    checksum: RunningChecksum,
    ended: bool,
}

impl Sender {
    /// A transfer of `parts`, one after the other; the checksum also covers the bytes of `covered`.
    pub fn new(parts: impl IntoIterator<Item = Bytes>, covered: &[u8]) -> Self {
        Self::sharing(RunningChecksum::default(), parts, covered)
    }

    /// As [`Sender::new`], for one of several transfers of the same `parts` that share their checksum.
    pub fn sharing(
        checksum: RunningChecksum,
        parts: impl IntoIterator<Item = Bytes>,
        covered: &[u8],
    ) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { parts, covered: covered.to_vec(), offset: 0, checksum, ended: false }
    }
}

impl Iterator for Sender {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Some(part) = self.parts.front_mut() else {
            if std::mem::replace(&mut self.ended, true) {
                return None;
            }
            return Some(Piece::Trailer(self.checksum.trailer(&self.covered)));
        };
        let data = part.split_to(part.len().min(CHUNK_BYTES));
        if part.is_empty() {
            self.parts.pop_front();
        }
        self.checksum.cover(self.offset, &data);
        let offset = self.offset;
        self.offset += data.len() as u64;
        Some(Piece::Chunk(v1::Chunk { offset, data }))
    }
}
