//! UTF-16 as UTF-8, a piece at a time.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Reads UTF-16 without its mark, and gives UTF-8.
pub(super) struct Utf16<R> {
    inner: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a character of two units.
    high: Option<u16>,
    /// A character in UTF-8, and how much of it was given.
    character: [u8; 4],
    filled: usize,
    given: usize,
    /// Whether the byte order mark was passed.
    begun: bool,
}

impl<R: BufRead> Utf16<R> {
    pub(super) fn new(inner: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self { inner, unit, high: None, character: [0; 4], filled: 0, given: 0, begun: false }
    }

    /// Reads the next character; `false` at the end.
    fn next(&mut self) -> Result<bool> {
        loop {
            let Some(unit) = self.next_unit()? else {
                return if self.high.is_none() { Ok(false) } else { Err(invalid()) };
            };
            if !std::mem::replace(&mut self.begun, true) && unit == 0xfeff {
                continue;
            }
            let units = match self.high.take() {
                Some(high) => [high, unit],
                None if (0xd800..0xdc00).contains(&unit) => {
                    self.high = Some(unit);
                    continue;
                }
                None => [unit, 0],
            };
            let length = if (0xd800..0xdc00).contains(&units[0]) { 2 } else { 1 };
            let decoded = char::decode_utf16(units.into_iter().take(length)).next();
            let character = decoded.and_then(std::result::Result::ok).ok_or_else(invalid)?;
            (self.filled, self.given) = (character.encode_utf8(&mut self.character).len(), 0);
            return Ok(true);
        }
    }

    fn next_unit(&mut self) -> Result<Option<u16>> {
        let mut pair = [0; 2];
        match self.inner.read(&mut pair[..1])? {
            0 => return Ok(None),
            _ => self.inner.read_exact(&mut pair[1..])?,
        }
        Ok(Some((self.unit)(pair)))
    }
}

fn invalid() -> Error {
    Error::new(ErrorKind::InvalidData, "its beginning says UTF-16, and it is none")
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut written = 0;
        while written < buffer.len() {
            if self.given == self.filled && !self.next()? {
                break;
            }
            let piece = (self.filled - self.given).min(buffer.len() - written);
            buffer[written..written + piece].copy_from_slice(&self.character[self.given..self.given + piece]);
            self.given += piece;
            written += piece;
        }
        Ok(written)
    }
}
