//! Chunked transfers: layout and length first, chunks in order, the checksum last (design, section 5).
//!
//! The sender turns shared buffers into [`Piece`]s without copying; the receiver checks order, lengths and
//! checksum and writes into memory that its caller has sized by what it expects, never by what the sender says.

use std::collections::VecDeque;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::arena::Arena;
use crate::contribution::Sums;
use crate::proto::v1;

/// Most bytes in a chunk.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Largest message that carries a chunk; receive limits stay here, whatever the model's size.
pub const MAX_MESSAGE_BYTES: usize = CHUNK_BYTES + 64 * 1024;

/// What is wrong with a transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A chunk is missing, twice or out of order.
    #[error("chunk at byte {found}, expected the one at byte {expected}")]
    OutOfOrder {
        /// Where the transfer stands.
        expected: u64,
        /// Where the chunk begins.
        found: u64,
    },
    /// More bytes than declared.
    #[error("chunk ends at byte {end}, beyond the declared length of {length} bytes")]
    TooLong {
        /// End of the chunk.
        end: u64,
        /// Declared length.
        length: u64,
    },
    /// An empty or oversized chunk.
    #[error("chunk of {found} bytes, expected 1 to {CHUNK_BYTES}")]
    ChunkSize {
        /// Its size.
        found: usize,
    },
    /// The trailer came too early.
    #[error("transfer ended after {found} of {length} bytes")]
    TooShort {
        /// Bytes that came.
        found: u64,
        /// Declared length.
        length: u64,
    },
    /// The checksum does not match.
    #[error("checksum of the transfer does not match its bytes")]
    Checksum,
    /// Parts in the wrong order: no header first, something after the trailer, an empty message.
    #[error("expected {expected}, found {found}")]
    Protocol {
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
}

/// A part of a transfer after its header.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Some bytes.
    Chunk(v1::Chunk),
    /// The end.
    Trailer(v1::Trailer),
}

/// XXH3-128 checksum of a transfer.
pub type Checksum = u128;

/// Sums as they enter a partial's checksum.
pub fn sums_bytes(sums: &Sums) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0..8].copy_from_slice(&sums.loss.to_bits().to_le_bytes());
    bytes[8..16].copy_from_slice(&sums.correct.to_le_bytes());
    bytes[16..24].copy_from_slice(&sums.samples.to_le_bytes());
    bytes
}

/// Cuts buffers into chunks, sums them up on the way and ends with the trailer.
pub struct Sender {
    parts: VecDeque<Bytes>,
    covered: Vec<u8>,
    offset: u64,
    hasher: Option<Box<Xxh3>>,
}

impl Sender {
    /// A transfer of `parts`, one after the other; the checksum also covers the bytes of `covered`.
    pub fn new(parts: impl IntoIterator<Item = Bytes>, covered: &[u8]) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { parts, covered: covered.to_vec(), offset: 0, hasher: Some(Box::new(Xxh3::new())) }
    }
}

impl Iterator for Sender {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Some(part) = self.parts.front_mut() else {
            let mut hasher = self.hasher.take()?;
            hasher.update(&self.covered);
            let checksum = Bytes::copy_from_slice(&hasher.digest128().to_be_bytes());
            return Some(Piece::Trailer(v1::Trailer { checksum }));
        };
        let data = part.split_to(part.len().min(CHUNK_BYTES));
        if part.is_empty() {
            self.parts.pop_front();
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&data);
        }
        let offset = self.offset;
        self.offset += data.len() as u64;
        Some(Piece::Chunk(v1::Chunk { offset, data }))
    }
}

/// Checks the pieces of one incoming transfer.
pub struct Receiver {
    length: u64,
    offset: u64,
    hasher: Box<Xxh3>,
}

impl Receiver {
    /// Expects `length` bytes.
    pub fn new(length: u64) -> Self {
        Self { length, offset: 0, hasher: Box::new(Xxh3::new()) }
    }

    /// Checks the next chunk and returns where its bytes belong.
    ///
    /// # Errors
    /// When it is not the next one, has an impossible size, or leads beyond the declared length.
    pub fn accept(&mut self, chunk: &v1::Chunk) -> Result<std::ops::Range<u64>, TransferError> {
        if chunk.data.is_empty() || chunk.data.len() > CHUNK_BYTES {
            return Err(TransferError::ChunkSize { found: chunk.data.len() });
        }
        if chunk.offset != self.offset {
            return Err(TransferError::OutOfOrder { expected: self.offset, found: chunk.offset });
        }
        let end = self.offset + chunk.data.len() as u64;
        if end > self.length {
            return Err(TransferError::TooLong { end, length: self.length });
        }
        self.hasher.update(&chunk.data);
        let range = self.offset..end;
        self.offset = end;
        Ok(range)
    }

    /// Checks the end; `covered` are further bytes that the checksum covers. Returns the checksum.
    ///
    /// # Errors
    /// When bytes are missing or the checksum differs.
    pub fn finish(mut self, trailer: &v1::Trailer, covered: &[u8]) -> Result<Checksum, TransferError> {
        if self.offset < self.length {
            return Err(TransferError::TooShort { found: self.offset, length: self.length });
        }
        self.hasher.update(covered);
        let checksum = self.hasher.digest128();
        if trailer.checksum.as_ref() != checksum.to_be_bytes() {
            return Err(TransferError::Checksum);
        }
        Ok(checksum)
    }
}

/// Receives two arenas that are sent one after the other: parameters and statistics, or a gradient and its
/// statistics.
pub struct ArenaReceiver {
    receiver: Receiver,
    first: Arena,
    second: Arena,
}

impl ArenaReceiver {
    /// Expects arenas of these lengths, which the caller has checked against the layout.
    pub fn new(first: usize, second: usize) -> Self {
        let bytes = (first + second) * size_of::<f32>();
        Self { receiver: Receiver::new(bytes as u64), first: Arena::zeros(first), second: Arena::zeros(second) }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// As [`Receiver::accept`].
    pub fn push(&mut self, chunk: &v1::Chunk) -> Result<(), TransferError> {
        let start = self.receiver.accept(chunk)?.start as usize;
        let boundary = self.first.as_bytes().len();
        let data = chunk.data.as_ref();
        let (left, right) = data.split_at(boundary.saturating_sub(start).min(data.len()));
        if !left.is_empty() {
            self.first.as_bytes_mut()[start..start + left.len()].copy_from_slice(left);
        }
        if !right.is_empty() {
            let start = start.max(boundary) - boundary;
            self.second.as_bytes_mut()[start..start + right.len()].copy_from_slice(right);
        }
        Ok(())
    }

    /// Checks the end and returns the arenas with their checksum.
    ///
    /// # Errors
    /// As [`Receiver::finish`].
    pub fn finish(self, trailer: &v1::Trailer, covered: &[u8]) -> Result<(Arena, Arena, Checksum), TransferError> {
        let checksum = self.receiver.finish(trailer, covered)?;
        Ok((self.first, self.second, checksum))
    }
}

#[cfg(test)]
#[path = "transfer_test.rs"]
mod tests;
