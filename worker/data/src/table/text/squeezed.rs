//! Tables whose columns are separated by any number of spaces and tabs: one tab stands for them.

use std::io::{BufRead, Read, Result};

/// Reads text in which runs of spaces and tabs outside of quotes are one tab, and none stands at either end of a line.
pub(super) struct Squeezed<R> {
    inner: R,
    quote: u8,
    quoted: bool,
    /// Whether a cell of the present line was begun.
    in_line: bool,
    /// Whether whitespace was passed since the last cell.
    pending: bool,
    /// A byte that follows a tab.
    held: Option<u8>,
}

impl<R: BufRead> Squeezed<R> {
    pub(super) fn new(inner: R, quote: u8) -> Self {
        Self { inner, quote, quoted: false, in_line: false, pending: false, held: None }
    }

    /// What stands for the next byte, if anything does.
    fn take(&mut self, byte: u8) -> Option<u8> {
        self.quoted ^= byte == self.quote;
        match byte {
            b' ' | b'\t' if !self.quoted => {
                self.pending = self.in_line;
                None
            }
            b'\n' | b'\r' if !self.quoted => {
                (self.in_line, self.pending) = (false, false);
                Some(byte)
            }
            _ if self.pending => {
                (self.pending, self.held) = (false, Some(byte));
                Some(b'\t')
            }
            _ => {
                self.in_line = true;
                Some(byte)
            }
        }
    }
}

impl<R: BufRead> Read for Squeezed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut written = 0;
        while written < buffer.len() {
            if let Some(held) = self.held.take() {
                buffer[written] = held;
                written += 1;
                continue;
            }
            let mut byte = [0];
            if self.inner.read(&mut byte)? == 0 {
                break;
            }
            if let Some(byte) = self.take(byte[0]) {
                buffer[written] = byte;
                written += 1;
            }
        }
        Ok(written)
    }
}
