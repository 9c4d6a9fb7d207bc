//! Reads the messages of a transfer from the bytes of a gRPC call, in whatever pieces they arrive.
//!
//! If the message of a chunk is encoded as protobuf encoders usually do, its data are returned as they arrive, without
//! waiting for the rest and without a copy. Any other valid encoding is also accepted, but the message is then read as
//! a whole, and may have 64 KiB.

use std::ops::ControlFlow;

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::decode_varint;

use super::frames::{CHUNK, DATA, OFFSET, PREFIX};
use super::{MAX_MESSAGE_BYTES, MAX_WHOLE_BYTES, TransferError};
use crate::v1;

/// An event while a transfer is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The header, still encoded, because its type depends on the transfer.
    Header(Bytes),
    /// A chunk begins. Its data follow as [`Event::Data`].
    Chunk {
        /// Byte offset within the transfer.
        offset: u64,
        /// Length of its data in bytes.
        length: usize,
    },
    /// The next bytes of the chunk's data.
    Data(Bytes),
    /// The trailer.
    Trailer(v1::Trailer),
}

/// The message of any transfer.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(bytes = "bytes", optional, tag = "1")]
    header: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    chunk: Option<v1::Chunk>,
    #[prost(message, optional, tag = "3")]
    trailer: Option<v1::Trailer>,
}

#[derive(Debug)]
enum State {
    /// Between messages, or within the part of a message that precedes a chunk's data.
    Head,
    /// Within a message that is read as a whole.
    Whole,
    /// Within a chunk's data; the number of bytes that are missing.
    Data(usize),
}

/// Incremental parser of a transfer: [`Parser::feed`] adds bytes, [`Parser::next_event`] returns what they contain.
#[derive(Debug)]
pub struct Parser {
    input: Bytes,
    /// The bytes of the current message that have been read, without a chunk's data.
    message: Vec<u8>,
    state: State,
}

impl Default for Parser {
    fn default() -> Self {
        Self { input: Bytes::new(), message: Vec::new(), state: State::Head }
    }
}

impl Parser {
    /// Adds bytes. Must be called only after [`Parser::next_event`] has returned `None`, when all earlier bytes are
    /// read.
    pub fn feed(&mut self, bytes: Bytes) {
        debug_assert!(self.input.is_empty());
        self.input = bytes;
    }

    /// Whether the bytes so far end with a complete message.
    pub fn is_between_messages(&self) -> bool {
        self.input.is_empty() && self.message.is_empty() && matches!(self.state, State::Head)
    }

    /// The next event; `None` if more bytes are needed.
    ///
    /// # Errors
    /// If a message is too large, is compressed, or does not belong to a transfer.
    pub fn next_event(&mut self) -> Result<Option<Event>, TransferError> {
        loop {
            let step = match self.state {
                State::Head => self.head()?,
                State::Whole => self.whole()?,
                State::Data(left) => self.data(left),
            };
            if let ControlFlow::Break(event) = step {
                return Ok(event);
            }
        }
    }

    /// Reads the part before a chunk's data byte by byte: it is short, and its length is known only after it is read.
    fn head(&mut self) -> Result<ControlFlow<Option<Event>>, TransferError> {
        if self.input.is_empty() {
            return Ok(ControlFlow::Break(None));
        }
        self.message.push(self.input.get_u8());
        let Some(length) = self.length()? else { return Ok(ControlFlow::Continue(())) };
        let body = &self.message[PREFIX..]; // The prefix has been read, since the length comes from it.
        match chunk_head(body, length) {
            Ok((offset, data)) => {
                self.message.clear();
                self.state = State::Data(data);
                return Ok(ControlFlow::Break(Some(Event::Chunk { offset, length: data })));
            }
            Err(NoChunk::Unfinished) if body.len() < length => {}
            Err(_) if length > MAX_WHOLE_BYTES => {
                return Err(TransferError::MessageSize { found: length, most: MAX_WHOLE_BYTES });
            }
            Err(_) => self.state = State::Whole,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The length of the current message in bytes; `None` before its prefix has been read.
    fn length(&self) -> Result<Option<usize>, TransferError> {
        let Some((prefix, _)) = self.message.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(TransferError::Malformed { reason: "it is compressed".into() });
        }
        let found = u32::from_be_bytes(length) as usize;
        if found > MAX_MESSAGE_BYTES {
            return Err(TransferError::MessageSize { found, most: MAX_MESSAGE_BYTES });
        }
        Ok(Some(found))
    }

    /// Reads a message to its end and decodes it. The data of a chunk are put back into the input, so that
    /// [`Parser::data`] returns them as usual.
    #[expect(clippy::expect_used, reason = "`head` comes here only after it has read the prefix")]
    fn whole(&mut self) -> Result<ControlFlow<Option<Event>>, TransferError> {
        let length = self.length()?.expect("the prefix is read before the rest of a message");
        let missing = (PREFIX + length).saturating_sub(self.message.len());
        let taken = self.input.split_to(missing.min(self.input.len()));
        self.message.extend_from_slice(&taken);
        if taken.len() < missing {
            return Ok(ControlFlow::Break(None));
        }
        let message = Bytes::from(std::mem::take(&mut self.message)).split_off(PREFIX);
        let part = Part::decode(message);
        let part = part.map_err(|error| TransferError::Malformed { reason: error.to_string() })?;
        self.state = State::Head;
        Ok(ControlFlow::Break(Some(match part {
            Part { header: Some(header), chunk: None, trailer: None } => Event::Header(header),
            Part { header: None, chunk: Some(chunk), trailer: None } => {
                let event = Event::Chunk { offset: chunk.offset, length: chunk.data.len() };
                self.state = State::Data(chunk.data.len());
                self.input = join(chunk.data, std::mem::take(&mut self.input));
                event
            }
            Part { header: None, chunk: None, trailer: Some(trailer) } => Event::Trailer(trailer),
            _ => {
                let expected = "one of header, chunk and trailer in a message";
                return Err(TransferError::Protocol { expected, found: "none or several" });
            }
        })))
    }

    /// Returns the bytes of a chunk's data that have arrived.
    fn data(&mut self, left: usize) -> ControlFlow<Option<Event>> {
        if left == 0 {
            self.state = State::Head;
            return ControlFlow::Continue(());
        }
        if self.input.is_empty() {
            return ControlFlow::Break(None);
        }
        let data = self.input.split_to(left.min(self.input.len()));
        self.state = State::Data(left - data.len());
        ControlFlow::Break(Some(Event::Data(data)))
    }
}

/// Why the first bytes of a message are not the part before a chunk's data.
enum NoChunk {
    /// They may be, but more bytes are needed.
    Unfinished,
    /// They are something else.
    Other,
}

/// Reads the first `bytes` of a message of `length` bytes as the part before a chunk's data. Returns the offset of the
/// chunk and the length of its data, which must be all that follows.
fn chunk_head(bytes: &[u8], length: usize) -> Result<(u64, usize), NoChunk> {
    let mut rest = bytes;
    let all_that_follows = |value: u64, rest: &[u8]| {
        let left = length.saturating_sub(bytes.len() - rest.len());
        if value == left as u64 { Ok(left) } else { Err(NoChunk::Other) }
    };
    let inner = field(&mut rest, CHUNK)?;
    all_that_follows(inner, rest)?;
    let offset = if rest.first() == Some(&OFFSET) { field(&mut rest, OFFSET)? } else { 0 };
    let data = field(&mut rest, DATA)?;
    Ok((offset, all_that_follows(data, rest)?))
}

/// Reads a field's tag and the varint after it.
fn field(bytes: &mut &[u8], tag: u8) -> Result<u64, NoChunk> {
    const LONGEST: usize = 10;
    let (first, mut rest) = bytes.split_first().ok_or(NoChunk::Unfinished)?;
    if *first != tag {
        return Err(NoChunk::Other);
    }
    let is_whole = rest.iter().any(|byte| byte & 0x80 == 0) || rest.len() >= LONGEST;
    let value = is_whole.then(|| decode_varint(&mut rest)).ok_or(NoChunk::Unfinished)?;
    *bytes = rest;
    value.map_err(|_| NoChunk::Other)
}

/// Joins two runs of bytes.
fn join(first: Bytes, second: Bytes) -> Bytes {
    if second.is_empty() {
        return first;
    }
    [first, second].concat().into()
}

#[cfg(test)]
mod tests;
