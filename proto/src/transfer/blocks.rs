//! Blocks that one worker fetches from another: each is verified by itself, so that it can be used and passed on before
//! the next one has arrived.

use bytes::Bytes;
use futures_util::Stream;
use lookbehind_common::blocks::{BlockDigest, BlockRange};
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
    range: BlockRange,
    next: u32,
    offset: u64,
}

impl BlockReader {
    /// Reads the blocks of `range`.
    pub fn new(body: Body, range: BlockRange) -> Self {
        Self { incoming: Incoming::new(body), range, next: range.first, offset: 0 }
    }

    /// The number of the next block; `None` after the last one.
    pub fn next_number(&self) -> Option<u32> {
        (self.next < self.range.end).then_some(self.next)
    }

    /// Reads the next block into memory of its length, which is complete only if this succeeds. Returns its digest, which
    /// is that of the block and that which was sent with it.
    ///
    /// # Errors
    /// If the call ends early or with an error, a block has another length or place than it should, or its digest
    /// differs.
    pub async fn read(&mut self, block: &mut [u8]) -> Result<BlockDigest, IncomingError> {
        let (mut filled, mut begun) = (0, false);
        loop {
            match self.incoming.next().await? {
                Some(Event::Header(_)) if self.next == self.range.first && !begun => {}
                Some(Event::Chunk { offset, length }) if !begun => {
                    if offset != self.offset || length != block.len() {
                        return Err(TransferError::OutOfOrder { expected: self.offset, found: offset }.into());
                    }
                    begun = true;
                }
                Some(Event::Data(data)) if begun => {
                    // The parser returns no more data than the chunk's length.
                    block[filled..filled + data.len()].copy_from_slice(&data);
                    filled += data.len();
                }
                Some(Event::Trailer(trailer)) if begun && filled == block.len() => {
                    let digest = BlockDigest::of(block);
                    if trailer.checksum.as_ref() != digest.as_bytes() {
                        return Err(TransferError::Checksum.into());
                    }
                    self.next += 1;
                    self.offset += block.len() as u64;
                    return Ok(digest);
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
