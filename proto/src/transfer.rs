//! Chunked transfers: layout and length first, so that the receiver can refuse them before any byte; chunks in order; the
//! checksum last, since the sender makes it on the way. Messages stay near the size of a chunk however large the model
//! is, so receive limits bound memory.
//!
//! The sender turns shared buffers into [`Piece`]s without copying; the receiver checks order, lengths and
//! checksum and writes into memory that its caller has sized by what it expects, never by what the sender says.
//!
//! Tensors bypass the gRPC library's codec, which copies each byte twice: [`frames`] writes the very bytes that it
//! would write around shared data, [`parser`] reads what any client may send, and [`body`] carries both. Within a
//! process tensors are handed over beside a call ([`in_process`]).

pub mod body;
pub mod frames;
pub mod in_process;
pub mod parser;
mod receiver;
mod sender;

pub use receiver::{FlatBufferReceiver, Receiver};
pub use sender::{RunningChecksum, Sender};

use lookbehind_common::partial::Sums;

use crate::v1;

/// Most bytes in a chunk.
pub const CHUNK_BYTES: usize = 1 << 20;
/// HTTP/2 frames that hold a whole chunk: fewer, larger frames halve the cost of an exchange.
pub const FRAME_BYTES: u32 = 2 << 20;
/// HTTP/2 flow-control window: a few chunks in flight.
pub const WINDOW_BYTES: u32 = 4 << 20;
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
    /// A message is too large to be read.
    #[error("message of {found} bytes, expected at most {MAX_MESSAGE_BYTES}")]
    MessageSize {
        /// Its size.
        found: usize,
    },
    /// A message is compressed, or not of the transfer's kind.
    #[error("message cannot be read: {reason}")]
    Malformed {
        /// Why.
        reason: String,
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

#[cfg(test)]
mod tests;
