//! Blocks that one worker fetches from another: each is verified by itself, so that it can be used and passed on before
//! the next one has arrived.

use bytes::Bytes;
use futures_util::Stream;
use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::{FlatBuffer, FlatBufferPool};
use tonic::Status;
use tonic::body::Body;

use super::body::{self, Incoming, IncomingError};
use super::parser::Event;
use super::{Piece, TransferError};
use crate::v1;

/// A block with its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its digest.
    pub digest: BlockDigest,
}

/// The answer to a call that fetches blocks. They are sent as `blocks` returns them.
pub fn response(blocks: impl Stream<Item = Result<Block, Status>> + Send + 'static) -> Body {
    body::streamed_response(&v1::FetchHeader {}, Pieces { blocks: Box::pin(blocks), offset: 0, digest: None })
}

/// Blocks as pieces of a transfer.
struct Pieces<S> {
    blocks: std::pin::Pin<Box<S>>,
    offset: u64,
    /// Digest of the block that was just sent.
    digest: Option<BlockDigest>,
}

impl<S: Stream<Item = Result<Block, Status>>> Stream for Pieces<S> {
    type Item = Result<Piece, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use std::task::Poll;
        if let Some(digest) = self.digest.take() {
            let checksum = Bytes::copy_from_slice(digest.as_bytes());
            return Poll::Ready(Some(Ok(Piece::Trailer(v1::Trailer { checksum }))));
        }
        Poll::Ready(std::task::ready!(self.blocks.as_mut().poll_next(context)).map(|block| {
            let Block { bytes, digest } = block?;
            let offset = self.offset;
            self.offset += bytes.len() as u64;
            self.digest = Some(digest);
            Ok(Piece::Chunk(v1::Chunk { offset, data: bytes }))
        }))
    }
}

/// Reads blocks from the answer to a call that fetches them.
pub struct BlockReader {
    incoming: Incoming,
    blocks: Blocks,
    range: BlockRange,
    next: u32,
    offset: u64,
    memory: FlatBufferPool,
}

impl BlockReader {
    /// Reads the blocks of `range` into memory of `memory`.
    pub fn new(body: Body, blocks: Blocks, range: BlockRange, memory: FlatBufferPool) -> Self {
        Self { incoming: Incoming::new(body), blocks, range, next: range.first, offset: 0, memory }
    }

    /// The next block, verified by the digest that was sent with it, and its number; `None` after the last one.
    ///
    /// # Errors
    /// If the call ends early or with an error, a block has another length or place than it should, or its digest
    /// differs.
    pub async fn next(&mut self) -> Result<Option<(u32, FlatBuffer, BlockDigest)>, IncomingError> {
        if self.next == self.range.end {
            return Ok(None);
        }
        let number = self.next;
        let (kind, elements) = self.blocks.place(number);
        let (format, mut block) = (self.blocks.format(kind), self.memory.lend(elements.len()));
        let length = block.len() * format.bytes();
        let (mut filled, mut begun) = (0, false);
        loop {
            match self.incoming.next().await? {
                Some(Event::Header(_)) if number == self.range.first && !begun => {}
                Some(Event::Chunk { offset, length: found }) if !begun => {
                    if offset != self.offset || found != length {
                        return Err(TransferError::OutOfOrder { expected: self.offset, found: offset }.into());
                    }
                    begun = true;
                }
                Some(Event::Data(data)) if begun => {
                    // The parser returns no more data than the chunk's length.
                    format.place(&mut block, filled, &data);
                    filled += data.len();
                }
                Some(Event::Trailer(trailer)) if begun && filled == length => {
                    let digest = self.blocks.digest(number, &block);
                    if trailer.checksum.as_ref() != digest.as_bytes() {
                        return Err(TransferError::Checksum.into());
                    }
                    self.next += 1;
                    self.offset += length as u64;
                    return Ok(Some((number, block, digest)));
                }
                Some(_) => {
                    let expected = "a block and its digest";
                    return Err(TransferError::Protocol { expected, found: "another part" }.into());
                }
                None => return Err(Status::unavailable("the answer ended before its last block").into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
