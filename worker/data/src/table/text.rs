//! The text of a table: UTF-8, whatever encoding and compression the file has, and what stands between its cells.

mod squeezed;
mod utf16;

use std::io::{BufRead, BufReader, Cursor, Read};

use super::parameters::{Delimiter, Dialect};
use crate::loading::Loading;
use crate::source::Source;
use crate::{DataError, FileProblem};
use squeezed::Squeezed;
use utf16::Utf16;

/// Bytes of the beginning in which the first line is looked for.
const START: usize = 1 << 16;
/// Delimiters that are looked for; the first of them if a line has as many of several.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Byte order marks.
const UTF8: [u8; 3] = [0xef, 0xbb, 0xbf];
const LITTLE: [u8; 2] = [0xff, 0xfe];
const BIG: [u8; 2] = [0xfe, 0xff];

/// The first bytes of a file of another kind of tables.
const PARQUET: &[u8] = b"PAR1";

type Reader = Box<dyn BufRead + Send>;

/// The text of a file, and the byte between its cells.
pub(super) struct Text {
    pub(super) reader: Reader,
    pub(super) delimiter: u8,
}

impl Text {
    /// Opens a file and finds out how it is written.
    pub(super) fn open(file: &Source, dialect: &Dialect, loading: &Loading) -> Result<Self, DataError> {
        let (start, reader) = peek(file, file.reader(loading)?, LITTLE.len())?;
        let reader: Reader = match start.as_slice() {
            start if start == LITTLE => Box::new(BufReader::new(Utf16::new(reader, u16::from_le_bytes))),
            start if start == BIG => Box::new(BufReader::new(Utf16::new(reader, u16::from_be_bytes))),
            _ => reader,
        };
        let (start, mut reader) = peek(file, reader, START)?;
        if start.starts_with(PARQUET) {
            let reason = "it is a Parquet file: kind = \"parquet\" reads it".to_owned();
            return Err(file.error(FileProblem::Damaged { format: "CSV", reason }));
        }
        let mark = if start.starts_with(&UTF8) { UTF8.len() } else { 0 };
        let line = start[mark..].split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        // Spreadsheets say what stands between cells in a line of its own.
        let (delimiter, skipped) = match (line, dialect.delimiter) {
            ([b's', b'e', b'p', b'=', delimiter], _) => (Delimiter::Byte(*delimiter), mark + line.len()),
            (line, Delimiter::Found) => (found(line, dialect), 0),
            (_, given) => (given, 0),
        };
        reader.consume(skipped);
        Ok(match delimiter {
            Delimiter::Byte(delimiter) => Self { reader, delimiter },
            Delimiter::Found | Delimiter::Whitespace => {
                let reader = Box::new(BufReader::new(Squeezed::new(reader, dialect.quote)));
                Self { reader, delimiter: b'\t' }
            }
        })
    }
}

/// The first bytes of a reader, at most `length`, and a reader that begins with them again.
fn peek(file: &Source, mut reader: Reader, length: usize) -> Result<(Vec<u8>, Reader), DataError> {
    let mut start = vec![0; length];
    let filled = file.fill(reader.as_mut(), &mut start)?;
    start.truncate(filled);
    Ok((start.clone(), Box::new(Cursor::new(start).chain(reader))))
}

/// The delimiter that a line has most of, outside of quotes; whitespace if it has none of those that are known.
fn found(line: &[u8], dialect: &Dialect) -> Delimiter {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for &byte in line {
        quoted ^= byte == dialect.quote;
        if let Some(place) = DELIMITERS.iter().position(|&known| known == byte && !quoted) {
            counts[place] += 1;
        }
    }
    let is_decimal = |delimiter: u8| char::from(delimiter) == dialect.decimal;
    let known =
        DELIMITERS.iter().zip(counts).filter(|&(&delimiter, count)| count > 0 && !is_decimal(delimiter));
    let most = known.rev().max_by_key(|&(_, count)| count);
    match most {
        Some((&delimiter, _)) => Delimiter::Byte(delimiter),
        None if line.trim_ascii().contains(&b' ') => Delimiter::Whitespace,
        None => Delimiter::Byte(DELIMITERS[0]),
    }
}

#[cfg(test)]
mod tests;
