//! Encodes the messages of a transfer as bytes of a gRPC call, around data that are shared and not copied.
//!
//! The messages of all transfers have the same structure: a oneof of header = 1, chunk = 2, trailer = 3. The bytes are
//! those that any protobuf encoder writes.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::Piece;
use crate::v1;

/// Bytes before each message: one for the compression (0 for none), and four for the length, big-endian.
pub(super) const PREFIX: usize = 5;
pub(super) const HEADER: u8 = 0x0a; // field 1, length-delimited
pub(super) const CHUNK: u8 = 0x12; // field 2, length-delimited
pub(super) const TRAILER: u8 = 0x1a; // field 3, length-delimited
pub(super) const OFFSET: u8 = 0x08; // field 1 of a chunk, varint
pub(super) const DATA: u8 = 0x12; // field 2 of a chunk, length-delimited

/// The bytes of a call's body, as an iterator over runs of them.
#[derive(Debug)]
pub struct Frames<P> {
    ready: VecDeque<Bytes>,
    pieces: P,
    /// Whether `pieces` has ended.
    exhausted: bool,
}

impl Frames<std::iter::Empty<Piece>> {
    /// The body of a call that consists of one small message.
    pub fn message(message: &impl Message) -> Self {
        let length = message.encoded_len();
        let mut bytes = prefixed(length, length);
        // Encoding fails only without room, and the buffer grows.
        let _ = message.encode(&mut bytes);
        Self { ready: VecDeque::from([bytes.freeze()]), pieces: std::iter::empty(), exhausted: true }
    }
}

impl<P: Iterator<Item = Piece>> Frames<P> {
    /// The body of a transfer: the header, then `pieces`, the last of which must be the trailer.
    pub fn transfer(header: &impl Message, pieces: P) -> Self {
        Self { ready: VecDeque::from([self::header(header)]), pieces, exhausted: false }
    }

    /// Whether all bytes have been returned.
    pub fn is_ended(&self) -> bool {
        self.ready.is_empty() && self.exhausted
    }
}

impl<P: Iterator<Item = Piece>> Iterator for Frames<P> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(bytes);
        }
        let next = self.pieces.next()?;
        self.exhausted = matches!(next, Piece::Trailer(_));
        let (first, second) = piece(next);
        self.ready.extend(second);
        Some(first)
    }
}

/// The bytes of a transfer's header.
pub(super) fn header(header: &impl Message) -> Bytes {
    part(HEADER, header)
}

/// The bytes of a piece, in one run or two.
pub(super) fn piece(piece: Piece) -> (Bytes, Option<Bytes>) {
    match piece {
        Piece::Chunk(chunk) => (chunk_head(&chunk), Some(chunk.data)),
        Piece::Trailer(trailer) => (part(TRAILER, &trailer), None),
    }
}

/// A chunk without data. It says that a sender is alive that has to wait before it goes on.
pub fn empty_chunk() -> Bytes {
    chunk_head(&v1::Chunk::default())
}

/// A message with `content` in a field; `field` is the field's tag.
#[expect(clippy::expect_used, reason = "the buffer grows, so encoding never lacks room")]
fn part(field: u8, content: &impl Message) -> Bytes {
    let inner = content.encoded_len();
    let length = 1 + encoded_len_varint(inner as u64) + inner;
    let mut bytes = prefixed(length, length);
    bytes.put_u8(field);
    encode_varint(inner as u64, &mut bytes);
    content.encode(&mut bytes).expect("a buffer that grows has room");
    bytes.freeze()
}

/// The bytes of a chunk's message before its data.
fn chunk_head(chunk: &v1::Chunk) -> Bytes {
    let data = chunk.data.len();
    let offset = if chunk.offset == 0 { 0 } else { 1 + encoded_len_varint(chunk.offset) };
    let inner = offset + 1 + encoded_len_varint(data as u64) + data;
    let length = 1 + encoded_len_varint(inner as u64) + inner;
    let mut bytes = prefixed(length, length - data);
    bytes.put_u8(CHUNK);
    encode_varint(inner as u64, &mut bytes);
    if chunk.offset != 0 {
        bytes.put_u8(OFFSET);
        encode_varint(chunk.offset, &mut bytes);
    }
    bytes.put_u8(DATA);
    encode_varint(data as u64, &mut bytes);
    bytes.freeze()
}

/// The prefix of a message of `length` bytes, in a buffer with room for `room` bytes of the message. The data of a
/// chunk need no room, since they follow in a buffer of their own.
fn prefixed(length: usize, room: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(PREFIX + room);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    bytes
}

#[cfg(test)]
mod tests;
