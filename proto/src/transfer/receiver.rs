//! The receiving end of a transfer.

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use xxhash_rust::xxh3::Xxh3;

use super::{CHUNK_BYTES, Checksum, TransferError};
use crate::v1;

/// Checks order, lengths and checksum of one transfer that is received.
pub struct Receiver {
    length: u64,
    offset: u64,
    /// Offset of the end of the current chunk.
    end: u64,
    hasher: Box<Xxh3>,
}

impl Receiver {
    /// A receiver of exactly `length` bytes.
    pub fn new(length: u64) -> Self {
        Self { length, offset: 0, end: 0, hasher: Box::new(Xxh3::new()) }
    }

    /// Checks the next chunk and returns the range of its bytes within the transfer.
    ///
    /// # Errors
    /// If it is not the next one, is empty or too large, or goes beyond the declared length.
    pub fn accept(&mut self, chunk: &v1::Chunk) -> Result<std::ops::Range<u64>, TransferError> {
        self.begin(chunk.offset, chunk.data.len())?;
        let start = self.offset;
        self.cover(&chunk.data)?;
        Ok(start..self.offset)
    }

    /// Checks the offset and the length of the next chunk.
    ///
    /// # Errors
    /// As [`Receiver::accept`].
    fn begin(&mut self, offset: u64, length: usize) -> Result<(), TransferError> {
        if length == 0 || length > CHUNK_BYTES {
            return Err(TransferError::ChunkSize { found: length });
        }
        if offset != self.offset || self.end != self.offset {
            return Err(TransferError::OutOfOrder { expected: self.end, found: offset });
        }
        let end = offset + length as u64;
        if end > self.length {
            return Err(TransferError::TooLong { end, length: self.length });
        }
        self.end = end;
        Ok(())
    }

    /// Adds the next bytes of the current chunk to the checksum.
    fn cover(&mut self, data: &[u8]) -> Result<(), TransferError> {
        let offset = self.offset + data.len() as u64;
        if offset > self.end {
            return Err(TransferError::TooLong { end: offset, length: self.end });
        }
        self.hasher.update(data);
        self.offset = offset;
        Ok(())
    }

    /// Checks length and checksum at the end of the transfer. The checksum also covers the bytes of `covered`. Returns
    /// it.
    ///
    /// # Errors
    /// If bytes are missing or the checksum differs.
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

/// Receives two flat buffers that are sent one after the other: parameters and running statistics, or a gradient and
/// its batch statistics.
pub struct FlatBufferReceiver {
    receiver: Receiver,
    first: FlatBuffer,
    second: FlatBuffer,
    /// Format of the first one's elements; the second one's are f32.
    format: ExchangeFormat,
}

/// Bytes that are added to the checksum and copied at a time, so that they stay in the processor's cache in between.
const BLOCK_BYTES: usize = 64 << 10;

impl FlatBufferReceiver {
    /// A receiver that overwrites two flat buffers. The caller has chosen their lengths by the layout. The elements of the
    /// first one arrive in `format`, those of the second one as f32.
    pub fn into_flat_buffers([first, second]: [FlatBuffer; 2], format: ExchangeFormat) -> Self {
        let bytes = first.len() * format.bytes() + second.as_bytes().len();
        Self { receiver: Receiver::new(bytes as u64), first, second, format }
    }

    /// Bytes of the whole transfer.
    pub fn length(&self) -> u64 {
        self.receiver.length
    }

    /// Takes the offset of the next chunk and its length in bytes. Its data follow with [`FlatBufferReceiver::fill`].
    ///
    /// # Errors
    /// As [`Receiver::accept`].
    pub fn begin(&mut self, offset: u64, length: usize) -> Result<(), TransferError> {
        self.receiver.begin(offset, length)
    }

    /// Takes the next bytes of the current chunk.
    ///
    /// # Errors
    /// If they go beyond the end of the chunk.
    pub fn fill(&mut self, data: &[u8]) -> Result<(), TransferError> {
        for block in data.chunks(BLOCK_BYTES) {
            let start = self.receiver.offset as usize;
            self.receiver.cover(block)?;
            self.place(start, block);
        }
        Ok(())
    }

    /// Writes bytes of the transfer from offset `start` into the flat buffers.
    fn place(&mut self, start: usize, data: &[u8]) {
        let boundary = self.first.len() * self.format.bytes();
        let (left, right) = data.split_at(boundary.saturating_sub(start).min(data.len()));
        if !left.is_empty() {
            self.format.place(&mut self.first, start, left);
        }
        if !right.is_empty() {
            let start = start.max(boundary) - boundary;
            self.second.as_bytes_mut()[start..start + right.len()].copy_from_slice(right);
        }
    }

    /// Checks length and checksum at the end of the transfer, and returns the flat buffers and the checksum.
    ///
    /// # Errors
    /// As [`Receiver::finish`].
    pub fn finish(
        self,
        trailer: &v1::Trailer,
        covered: &[u8],
    ) -> Result<([FlatBuffer; 2], Checksum), TransferError> {
        let checksum = self.receiver.finish(trailer, covered)?;
        Ok(([self.first, self.second], checksum))
    }
}
