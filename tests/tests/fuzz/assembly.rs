//! The assembly of chunks: the result is the chunks one after the other, neither more nor less than was declared.
//!
//! An input is a sequence of events: two bytes for the lengths of the flat buffers, then the actions of a sender.

use bytes::Bytes;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_proto::transfer::{CHUNK_BYTES, FlatBufferReceiver, Piece, Sender};
use lookbehind_proto::v1;

use crate::memory;
use crate::tape::Tape;

/// A transfer that is complete at its end is accepted.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let mut tape = Tape(bytes);
    let (Some(first), Some(second)) = (tape.byte(), tape.byte()) else { return false };
    let (first, second) = (usize::from(first), usize::from(second));
    let limit = (1 << 16) + 8 * (first + second + bytes.len()) + 2 * CHUNK_BYTES;
    memory::within(limit, || {
        let mut transfer = Transfer::new(first, second);
        while let Some(kind) = tape.byte() {
            if let Some(accepted) = transfer.step(kind, &mut tape) {
                return accepted;
            }
        }
        false
    })
}

/// A transfer, and the result that is expected of it.
struct Transfer {
    receiver: Option<FlatBufferReceiver>,
    /// Elements in the first flat buffer.
    first: usize,
    /// Bytes in both flat buffers.
    length: usize,
    arrived: Vec<u8>,
}

impl Transfer {
    fn new(first: usize, second: usize) -> Self {
        let flat_buffers = [first, second].map(FlatBuffer::zeros);
        let receiver = Some(FlatBufferReceiver::into_flat_buffers(flat_buffers, ExchangeFormat::F32));
        Self { receiver, first, length: 4 * (first + second), arrived: Vec::new() }
    }

    /// Carries out the next action; at the end returns whether the transfer was accepted.
    fn step(&mut self, kind: u8, tape: &mut Tape<'_>) -> Option<bool> {
        match kind % 6 {
            0 => {
                let length = tape.number()?;
                let data = tape.take(length).to_vec();
                self.push(self.arrived.len() as u64, data);
            }
            1 => {
                let offset = (tape.number()? as u64) << (tape.byte()? % 64);
                let length = tape.number()?;
                let data = tape.take(length).to_vec();
                self.push(offset, data);
            }
            // Sizes around the limit of a chunk; the input does not contain their bytes.
            2 => {
                let length = CHUNK_BYTES - 2 + tape.number()? % 4;
                self.push(self.arrived.len() as u64, vec![7; length]);
            }
            3 => return self.trickle(tape),
            4 => return Some(self.finish(tape, true)),
            _ => return Some(self.finish(tape, false)),
        }
        None
    }

    fn receiver(&mut self) -> &mut FlatBufferReceiver {
        self.receiver.as_mut().expect("a transfer that goes on")
    }

    fn fits(&self, offset: u64, length: usize) -> bool {
        (1..=CHUNK_BYTES).contains(&length)
            && offset == self.arrived.len() as u64
            && self.arrived.len() + length <= self.length
    }

    /// Sends a complete chunk; a refused one changes nothing.
    fn push(&mut self, offset: u64, data: Vec<u8>) {
        let fits = self.fits(offset, data.len());
        let begun = self.receiver().begin(offset, data.len());
        assert_eq!(begun.is_ok(), fits, "{begun:?} at byte {offset} of {}", self.length);
        if fits {
            self.receiver().fill(&data).expect("the bytes that were announced");
            self.arrived.extend_from_slice(&data);
        }
    }

    /// Sends a chunk in pieces, which may be more or less than it announced; that ends a transfer.
    fn trickle(&mut self, tape: &mut Tape<'_>) -> Option<bool> {
        let announced = tape.number()?;
        let offset = self.arrived.len() as u64;
        let fits = self.fits(offset, announced);
        assert_eq!(self.receiver().begin(offset, announced).is_ok(), fits);
        if !fits {
            return None;
        }
        let end = self.arrived.len() + announced;
        for _ in 0..tape.byte()? % 8 {
            let length = tape.number()?;
            let piece = tape.take(length);
            let filled = self.receiver().fill(piece);
            assert_eq!(filled.is_ok(), self.arrived.len() + piece.len() <= end, "{filled:?}");
            if filled.is_err() {
                return Some(false);
            }
            self.arrived.extend_from_slice(piece);
        }
        if self.arrived.len() < end {
            // No other chunk may begin within a chunk.
            let next = self.arrived.len() as u64;
            assert!(self.receiver().begin(next, 1).is_err());
            return Some(self.finish(tape, true));
        }
        None
    }

    fn finish(&mut self, tape: &mut Tape<'_>, right: bool) -> bool {
        let covered = tape.take(24);
        let mut trailer = trailer(&self.arrived, covered);
        if !right {
            let change = tape.byte().unwrap_or(1).max(1);
            let mut checksum = trailer.checksum.to_vec();
            checksum[usize::from(change) % 16] ^= change;
            trailer.checksum = checksum.into();
        }
        let whole = self.arrived.len() == self.length;
        let receiver = self.receiver.take().expect("a transfer that goes on");
        match receiver.finish(&trailer, covered) {
            Ok(([first, second], checksum)) => {
                assert!(
                    whole && right,
                    "{} of {} bytes, checksum right: {right}",
                    self.arrived.len(),
                    self.length
                );
                assert_eq!(checksum.to_be_bytes(), trailer.checksum.as_ref());
                assert_eq!(first.len(), self.first);
                assert_eq!([first.as_bytes(), second.as_bytes()].concat(), self.arrived);
                true
            }
            Err(error) => {
                assert!(!(whole && right), "{error}");
                false
            }
        }
    }
}

/// The trailer that a sender of these bytes writes.
fn trailer(bytes: &[u8], covered: &[u8]) -> v1::Trailer {
    let sent = Sender::new([Bytes::copy_from_slice(bytes)], covered).last();
    match sent {
        Some(Piece::Trailer(trailer)) => trailer,
        other => panic!("expected a trailer, found {other:?}"),
    }
}
