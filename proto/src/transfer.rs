//! Chunked transfers. The header with the lengths comes first, so that the receiver can refuse a transfer before any of
//! its bytes. The checksum comes last, because the sender computes it while it sends. A message is not much larger than
//! a chunk, whatever the size of the model, so receive limits bound memory.
//!
//! The sender turns shared buffers into [`Piece`]s without copying. The receiver checks order, lengths and checksum,
//! and writes into memory whose size its caller has chosen by what it expects, never by what the sender says.
//!
//! Tensors do not go through the gRPC library's codec, which copies each byte twice: [`frames`] writes the same bytes
//! as the codec, around shared data; [`parser`] reads what any client may send; [`body`] makes bodies of calls from
//! both. Within a process, tensors are handed over together with a call ([`in_process`]).

pub mod blocks;
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

/// Most bytes of data in a chunk.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Size of HTTP/2 frames, in bytes. A frame holds a whole chunk, because fewer, larger frames halve the cost of an
/// exchange.
pub const FRAME_BYTES: u32 = 2 << 20;
/// HTTP/2 flow-control window in bytes: a few chunks can be in flight.
pub const WINDOW_BYTES: u32 = 4 << 20;
/// Most bytes in a message that carries a chunk. This is the receive limit for models of any size.
pub const MAX_MESSAGE_BYTES: usize = CHUNK_BYTES + 64 * 1024;

/// Most bytes in a message of a transfer that does not begin as chunks do, such as a header. Only these are gathered
/// before they are decoded.
pub const MAX_WHOLE_BYTES: usize = 64 * 1024;

/// Why a transfer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A chunk is missing, repeated or out of order.
    #[error("chunk at byte {found}, expected the one at byte {expected}")]
    OutOfOrder {
        /// Offset of the next byte of the transfer.
        expected: u64,
        /// Offset of the chunk.
        found: u64,
    },
    /// A chunk goes beyond the declared length.
    #[error("chunk ends at byte {end}, beyond the declared length of {length} bytes")]
    TooLong {
        /// Offset of the end of the chunk.
        end: u64,
        /// Declared length in bytes.
        length: u64,
    },
    /// A chunk is empty or larger than [`CHUNK_BYTES`].
    #[error("chunk of {found} bytes, expected 1 to {CHUNK_BYTES}")]
    ChunkSize {
        /// Size of the chunk in bytes.
        found: usize,
    },
    /// The trailer came before all declared bytes.
    #[error("transfer ended after {found} of {length} bytes")]
    TooShort {
        /// Bytes received.
        found: u64,
        /// Declared length in bytes.
        length: u64,
    },
    /// A message is larger than [`MAX_MESSAGE_BYTES`], or not a chunk and larger than [`MAX_WHOLE_BYTES`].
    #[error("message of {found} bytes, expected at most {most}")]
    MessageSize {
        /// Size of the message in bytes.
        found: usize,
        /// Most bytes that it may have.
        most: usize,
    },
    /// A message is compressed or cannot be decoded.
    #[error("message cannot be read: {reason}")]
    Malformed {
        /// Human-readable reason.
        reason: String,
    },
    /// The checksum of the trailer does not match the bytes received.
    #[error("checksum of the transfer does not match its bytes")]
    Checksum,
    /// A part that is not allowed here: not the header first, anything after the trailer, or not exactly one part in a
    /// message.
    #[error("expected {expected}, found {found}")]
    Protocol {
        /// The part that was expected.
        expected: &'static str,
        /// What was received.
        found: &'static str,
    },
}

/// A part of a transfer after its header.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Next bytes of the content.
    Chunk(v1::Chunk),
    /// Checksum; the last part.
    Trailer(v1::Trailer),
}

/// XXH3-128 checksum of a transfer; big-endian on the wire.
pub type Checksum = u128;

/// The bytes that the checksum of a partial covers for its sums: loss, correct samples and samples, and of visits the
/// last loss and the norm, little-endian.
pub fn sums_bytes(sums: &Sums) -> Vec<u8> {
    let mut values = vec![sums.loss.to_bits(), sums.correct, sums.samples];
    if let Some(visits) = sums.visits {
        values.extend([visits.last_loss, visits.gradient_norm].map(f64::to_bits));
    }
    values.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests;
